//! Which origins a function may call: the patterns of `capabilities.outbound`.

use http::Uri;
use http::uri::Scheme;

/// Patterns; an origin is allowed when one of them matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy(Vec<Pattern>);

/// A pattern that cannot be understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "outbound pattern {pattern:?}: {problem}; write scheme://host or scheme://*.suffix, with :port if it is not the usual"
)]
pub struct PolicyError {
    /// As given.
    pub pattern: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    scheme: Scheme,
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Any,
    /// `.example.com`: every name that ends with it, at any depth, but not `example.com` itself.
    Under(String),
    Exactly(String),
}

impl Policy {
    /// Reads `patterns`.
    ///
    /// # Errors
    /// At the first that is wrong.
    pub fn parse<S: AsRef<str>>(patterns: &[S]) -> Result<Self, PolicyError> {
        patterns.iter().map(|pattern| Pattern::parse(pattern.as_ref())).collect::<Result<_, _>>().map(Self)
    }

    /// Whether nothing at all is allowed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a request to `uri` is allowed.
    #[must_use]
    pub fn allows(&self, uri: &Uri) -> bool {
        let (Some(scheme), Some(host)) = (uri.scheme(), uri.host()) else { return false };
        let Some(port) = uri.port_u16().or_else(|| usual_port(scheme)) else { return false };
        let host = normal(host);
        self.0.iter().any(|pattern| pattern.matches(scheme, &host, port))
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, PolicyError> {
        let wrong = |problem| PolicyError { pattern: text.to_owned(), problem };
        let (scheme, rest) = text.split_once("://").ok_or(wrong("has no scheme"))?;
        let scheme = match scheme {
            "http" => Scheme::HTTP,
            "https" => Scheme::HTTPS,
            _ => return Err(wrong("its scheme is neither http nor https")),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#', '@']) {
            return Err(wrong("has more than a host and a port"));
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (
                host,
                port.parse().ok().filter(|&port| port != 0).ok_or(wrong("its port is not a number from 1 to 65535"))?,
            ),
            _ => (authority, usual_port(&scheme).ok_or(wrong("has no port"))?),
        };
        Ok(Self { scheme, host: Host::parse(host).ok_or(wrong("its host is not a name, *.suffix, or *"))?, port })
    }

    fn matches(&self, scheme: &Scheme, host: &str, port: u16) -> bool {
        self.scheme == *scheme
            && self.port == port
            && match &self.host {
                Host::Any => true,
                Host::Under(suffix) => {
                    host.len() > suffix.len() && host.ends_with(suffix.as_str()) && !host.starts_with('.')
                }
                Host::Exactly(name) => name == host,
            }
    }
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        let is_name = |name: &str| {
            !name.is_empty()
                && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':' | '[' | ']'))
        };
        match text.strip_prefix('*') {
            Some("") => Some(Self::Any),
            Some(suffix) if suffix.starts_with('.') && is_name(&suffix[1..]) => Some(Self::Under(normal(suffix))),
            None if is_name(text) => Some(Self::Exactly(normal(text))),
            _ => None,
        }
    }
}

/// Names are compared without case and without the dot of the root.
fn normal(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

fn usual_port(scheme: &Scheme) -> Option<u16> {
    match scheme.as_str() {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(patterns: &[&str], uri: &str) -> bool {
        Policy::parse(patterns).unwrap().allows(&uri.parse().unwrap())
    }

    #[test]
    fn nothing_is_allowed_by_default() {
        assert!(!allows(&[], "http://example.com/"));
    }

    #[test]
    fn scheme_host_and_port_must_all_match() {
        let granted = ["https://api.example.com", "http://*.shop.svc:8080"];
        for (uri, allowed) in [
            ("https://api.example.com/v1?x", true),
            ("https://API.EXAMPLE.COM./", true),
            ("https://api.example.com:443/", true),
            ("https://api.example.com:8443/", false),
            ("http://api.example.com/", false),
            ("https://evil-api.example.com/", false),
            ("https://api.example.com.evil.org/", false),
            ("http://cart.shop.svc:8080/", true),
            ("http://a.b.shop.svc:8080/", true),
            ("http://shop.svc:8080/", false),
            ("http://.shop.svc:8080/", false),
            ("http://myshop.svc:8080/", false),
            ("http://cart.shop.svc/", false),
        ] {
            assert_eq!(allows(&granted, uri), allowed, "{uri}");
        }
    }

    #[test]
    fn literals_and_any_host_can_be_granted() {
        assert!(allows(&["http://127.0.0.1:9000"], "http://127.0.0.1:9000/"));
        assert!(allows(&["http://[::1]:9000"], "http://[::1]:9000/"));
        assert!(allows(&["https://*"], "https://anything.test/"));
        assert!(!allows(&["https://*"], "http://anything.test/"));
    }

    #[test]
    fn wrong_patterns_are_refused() {
        for wrong in
            ["example.com", "ftp://a", "http://", "http://a/b", "http://*a", "http://a:0", "http://a b", "http://u@a"]
        {
            assert!(Policy::parse(&[wrong]).is_err(), "{wrong}");
        }
    }
}
