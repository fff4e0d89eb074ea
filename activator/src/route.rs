//! From a host and a path to a claim, and from a function to one of its revisions. Pure.

use std::borrow::Cow;

use http::header::{self, HeaderMap};
use http::uri::{Authority, Uri};

/// Why a request's host cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostError {
    /// Neither a `Host` header nor an authority.
    Missing,
    /// More than one `Host` header, or one that is no host.
    Malformed,
}

/// The authority that a request names: of its URI where it has one, else of its `Host` header.
pub(crate) fn authority<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Result<&'a str, HostError> {
    if let Some(authority) = uri.authority() {
        return Ok(without_user(authority));
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next().ok_or(HostError::Missing)?;
    if hosts.next().is_some() {
        return Err(HostError::Malformed);
    }
    host.to_str().map_err(|_| HostError::Malformed)
}

fn without_user(authority: &Authority) -> &str {
    authority.as_str().rsplit('@').next().unwrap_or_default()
}

/// The form of a host in the index: lower case, without port and trailing dot.
pub(crate) fn normal_host(authority: &str) -> Result<Cow<'_, str>, HostError> {
    let host = match authority.strip_prefix('[') {
        // An IPv6 address keeps its brackets: its colons are no port.
        Some(rest) => &authority[..rest.find(']').ok_or(HostError::Malformed)? + 2],
        None => authority.split(':').next().unwrap_or_default(),
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.is_empty() {
        return Err(HostError::Missing);
    }
    let strange = |byte: u8| byte.is_ascii_control() || matches!(byte, b' ' | b'/' | b'@' | b'?' | b'#' | b'\\');
    if host.bytes().any(strange) {
        return Err(HostError::Malformed);
    }
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Ok(Cow::Owned(host.to_ascii_lowercase()));
    }
    Ok(Cow::Borrowed(host))
}

/// `*.example.com` for `shop.example.com`, as the index keeps it: what stands behind the first label.
pub(crate) fn behind_first_label(host: &str) -> Option<&str> {
    let (label, rest) = host.split_once('.')?;
    (!label.is_empty() && !rest.is_empty()).then_some(rest)
}

/// The form of a claimed prefix in the index: without trailing slash, so that `/` is empty.
pub(crate) fn normal_prefix(path: &str) -> &str {
    path.trim_end_matches('/')
}

/// All prefixes of whole segments of `path`, the longest first, none longer than `longest` bytes; the last is empty.
pub(crate) fn prefixes(path: &str, longest: usize) -> impl Iterator<Item = &str> {
    let path = normal_prefix(path);
    let mut next = Some(path);
    if path.len() > longest {
        // Cut to the last slash that leaves no more than `longest`, which also bounds the work for a path of many slashes.
        let end = path.as_bytes()[..=longest].iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        next = Some(&path[..end]);
    }
    std::iter::from_fn(move || {
        let this = next?;
        next = this.rfind('/').map(|end| &this[..end]);
        Some(this)
    })
}

/// The target that `random` falls on, by percent; `None` when no target has any share.
pub(crate) fn by_percent(percents: impl Iterator<Item = u8> + Clone, random: u32) -> Option<usize> {
    let sum: u32 = percents.clone().map(u32::from).sum();
    let mut left = random.checked_rem(sum)?;
    for (index, percent) in percents.enumerate() {
        if left < u32::from(percent) {
            return Some(index);
        }
        left -= u32::from(percent);
    }
    None
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn hosts_lose_port_case_and_trailing_dot() {
        for (given, normal) in [
            ("hello.default.localhost", "hello.default.localhost"),
            ("Hello.Default.localhost:8080", "hello.default.localhost"),
            ("a.example.com.", "a.example.com"),
            ("a.example.com.:443", "a.example.com"),
            ("[::1]:8080", "[::1]"),
            ("[::1]", "[::1]"),
        ] {
            assert_eq!(normal_host(given).as_deref(), Ok(normal));
        }
        assert_eq!(normal_host(""), Err(HostError::Missing));
        assert_eq!(normal_host(":80"), Err(HostError::Missing));
        for bad in ["[::1", "a b", "a/b", "a\\b"] {
            assert_eq!(normal_host(bad), Err(HostError::Malformed), "{bad}");
        }
    }

    #[test]
    fn the_authority_of_the_uri_goes_before_the_host_header() {
        let request = Request::get("http://user@a.example/").header("host", "b.example").body(()).unwrap();
        assert_eq!(authority(request.uri(), request.headers()), Ok("a.example"));
    }

    #[test]
    fn two_host_headers_are_refused() {
        let request = Request::get("/").header("host", "a").header("host", "b").body(()).unwrap();
        assert_eq!(authority(request.uri(), request.headers()), Err(HostError::Malformed));
    }

    #[test]
    fn prefixes_are_whole_segments_the_longest_first() {
        let all = |path, longest| prefixes(path, longest).collect::<Vec<_>>();
        assert_eq!(all("/a/b/c", 100), ["/a/b/c", "/a/b", "/a", ""]);
        assert_eq!(all("/", 100), [""]);
        assert_eq!(all("", 100), [""]);
        assert_eq!(all("/a/", 100), ["/a", ""]);
        assert_eq!(all("/abc/def", 4), ["/abc", ""]);
        assert_eq!(all("/abc/def", 3), [""]);
        assert_eq!(all("/abc/def", 0), [""]);
        assert_eq!(all("/é/é", 2), [""]);
        assert_eq!(all("*", 9), ["*"]);
    }

    #[test]
    fn wildcards_stand_for_exactly_one_label() {
        assert_eq!(behind_first_label("a.example.com"), Some("example.com"));
        assert_eq!(behind_first_label("localhost"), None);
        assert_eq!(behind_first_label(".com"), None);
    }

    #[test]
    fn shares_are_exact_over_a_hundred_draws() {
        let mut hits = [0; 3];
        for random in 0..100 {
            hits[by_percent([90, 0, 10].into_iter(), random).unwrap()] += 1;
        }
        assert_eq!(hits, [90, 0, 10]);
        assert_eq!(by_percent([0, 0].into_iter(), 7), None);
        assert_eq!(by_percent(std::iter::empty(), 7), None);
    }
}
