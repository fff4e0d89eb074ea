//! Headers that a proxy takes away and adds. Pure, but for the random numbers of a trace.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use http::header::{self, Entry, HeaderMap, HeaderName, HeaderValue};

/// Whether the client's own `forwarded` headers are believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedTrust {
    /// Clients connect directly: what they say of earlier hops is replaced.
    #[default]
    Replace,
    /// An ingress stands before the activator: its entries are kept, and added to.
    Extend,
}

/// What is known of a client, made once for each connection.
#[derive(Debug)]
pub(crate) struct Origin {
    for_value: HeaderValue,
    proto: HeaderValue,
    /// `for=…;proto=…;host=`
    forwarded_prefix: String,
    trust: ForwardedTrust,
}

/// How long the parts of a request took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timing {
    /// Waiting for a slot, without the start.
    pub queue: Duration,
    /// Waiting for an instance to start.
    pub start: Option<Duration>,
    /// From sending the request to the head of its answer.
    pub exec: Duration,
}

/// Set by a host on an answer by which it says that it did not begin the request.
pub(crate) const REFUSED: HeaderName = HeaderName::from_static(wisp_api::names::HEADER_REFUSED);
/// Its value when all of the instance's slots are taken.
pub(crate) const REFUSED_SLOTS: &str = "slots";

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Headers between two neighbours only (RFC 9110, section 7.6.1). `te` and `trailer` are dealt with apart.
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

impl Origin {
    pub(crate) fn new(client: IpAddr, proto: &'static str, trust: ForwardedTrust) -> Self {
        // An IPv4 client of a socket that takes both is written the way it is known elsewhere.
        let client = client.to_canonical();
        let node = match client {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => format!("\"[{v6}]\""),
        };
        Self {
            for_value: HeaderValue::try_from(client.to_string()).expect("an address is a header value"),
            proto: HeaderValue::from_static(proto),
            forwarded_prefix: format!("for={node};proto={proto};host="),
            trust,
        }
    }

    /// Tells the function who asked, by what and for what.
    pub(crate) fn add_to(&self, headers: &mut HeaderMap, authority: &str) {
        let forwarded = self.forwarded(authority);
        if self.trust == ForwardedTrust::Extend {
            extend(headers, header::FORWARDED, forwarded);
            extend(headers, FORWARDED_FOR, Some(self.for_value.clone()));
            headers.entry(FORWARDED_PROTO).or_insert_with(|| self.proto.clone());
            if let (Entry::Vacant(entry), Ok(host)) = (headers.entry(FORWARDED_HOST), HeaderValue::from_str(authority))
            {
                entry.insert(host);
            }
            return;
        }
        replace(headers, header::FORWARDED, forwarded);
        headers.insert(FORWARDED_FOR, self.for_value.clone());
        headers.insert(FORWARDED_PROTO, self.proto.clone());
        replace(headers, FORWARDED_HOST, HeaderValue::from_str(authority).ok());
    }

    fn forwarded(&self, authority: &str) -> Option<HeaderValue> {
        let mut text = String::with_capacity(self.forwarded_prefix.len() + authority.len() + 2);
        text.push_str(&self.forwarded_prefix);
        // A colon, as before a port, is not allowed outside quotes.
        if authority.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')) {
            text.push_str(authority);
        } else if !authority.contains(['"', '\\']) {
            let _infallible = write!(text, "\"{authority}\"");
        } else {
            return None;
        }
        HeaderValue::try_from(text).ok()
    }
}

/// Sets a header, or removes it.
fn replace(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    match value {
        Some(value) => _ = headers.insert(name, value),
        None => _ = headers.remove(name),
    }
}

/// Adds an element to a header that is a list.
fn extend(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    let Some(value) = value else { return };
    let mut all: Vec<u8> = Vec::new();
    for earlier in headers.get_all(&name) {
        all.extend_from_slice(earlier.as_bytes());
        all.extend_from_slice(b", ");
    }
    all.extend_from_slice(value.as_bytes());
    headers.insert(name, HeaderValue::try_from(all).unwrap_or(value));
}

/// Removes what concerns only the client's connection, `expect` included: it is answered here, once the body is asked for.
pub(crate) fn strip_request(headers: &mut HeaderMap) {
    let wants_trailers = lists(headers, &header::TE, "trailers");
    strip_hop_by_hop(headers);
    headers.remove(header::EXPECT);
    if headers.remove(header::TE).is_some() && wants_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// Removes what concerns only the instance's connection.
pub(crate) fn strip_answer(headers: &mut HeaderMap) {
    strip_hop_by_hop(headers);
    headers.remove(REFUSED);
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = elements(headers, &header::CONNECTION)
            .filter_map(|name| name.parse().ok())
            .filter(|name| *name != header::TE && *name != header::HOST && *name != header::CONTENT_LENGTH)
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    if headers.contains_key(header::TRANSFER_ENCODING) {
        // A length beside it is void (RFC 9112, section 6.3), and must not reach anybody who might believe it.
        headers.remove(header::CONTENT_LENGTH);
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Whether a header that is a list has this element.
fn lists(headers: &HeaderMap, name: &HeaderName, element: &str) -> bool {
    elements(headers, name).any(|found| found.eq_ignore_ascii_case(element))
}

fn elements<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// The protocol that a client wants to change to, unless it is one that may be left unanswered.
pub(crate) fn upgrade(headers: &HeaderMap) -> Option<&HeaderValue> {
    let upgrade = headers.get(header::UPGRADE)?;
    // Some clients offer h2c with each first request, and go on without.
    let is_asked = lists(headers, &header::CONNECTION, "upgrade") && !upgrade.as_bytes().eq_ignore_ascii_case(b"h2c");
    is_asked.then_some(upgrade)
}

/// Continues the client's trace, or begins one (W3C Trace Context).
pub(crate) fn trace(headers: &mut HeaderMap) {
    if traceparent(headers).is_none() {
        drop_trace(headers);
        set_traceparent(headers, new_traceparent(fastrand::u128(1..), fastrand::u64(1..)));
    }
}

/// The client's span, if it names one.
pub(crate) fn traceparent(headers: &HeaderMap) -> Option<&str> {
    let mut given = headers.get_all(TRACEPARENT).iter();
    match (given.next(), given.next()) {
        (Some(parent), None) => parent.to_str().ok().filter(|parent| is_traceparent(parent.as_bytes())),
        _ => None,
    }
}

/// Takes away what belongs to no trace.
pub(crate) fn drop_trace(headers: &mut HeaderMap) {
    headers.remove(TRACEPARENT);
    headers.remove(TRACESTATE);
}

/// Makes `parent` the span that the instance's work is part of.
pub(crate) fn set_traceparent(headers: &mut HeaderMap, parent: HeaderValue) {
    headers.insert(TRACEPARENT, parent);
}

/// Not sampled: nobody here records spans then, so that the decision is the function's.
fn new_traceparent(trace: u128, span: u64) -> HeaderValue {
    HeaderValue::try_from(format!("00-{trace:032x}-{span:016x}-00")).expect("hexadecimal digits and dashes")
}

fn is_traceparent(text: &[u8]) -> bool {
    let is_hex = |bytes: &[u8]| bytes.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == b'0');
    if text.len() < 55 || [text[2], text[35], text[52]] != *b"---" {
        return false;
    }
    let (version, trace, span, flags) = (&text[..2], &text[3..35], &text[36..52], &text[53..55]);
    // Later versions may have more behind another dash.
    let end_is_right = if version == b"00" { text.len() == 55 } else { text.len() == 55 || text[55] == b'-' };
    end_is_right
        && version != b"ff"
        && [version, trace, span, flags].into_iter().all(is_hex)
        && !is_zero(trace)
        && !is_zero(span)
}

/// Tells the client where the time went.
pub(crate) fn add_timing(headers: &mut HeaderMap, timing: Timing) {
    let mut text = String::with_capacity(64);
    text.push_str("queue;dur=");
    push_millis(&mut text, timing.queue);
    if let Some(start) = timing.start {
        text.push_str(", start;dur=");
        push_millis(&mut text, start);
    }
    text.push_str(", exec;dur=");
    push_millis(&mut text, timing.exec);
    headers.append(SERVER_TIMING, HeaderValue::try_from(text).expect("digits and punctuation"));
}

fn push_millis(text: &mut String, duration: Duration) {
    let micros = duration.as_micros();
    let _infallible = write!(text, "{}.{:03}", micros / 1000, micros % 1000);
}

#[cfg(test)]
#[path = "headers_tests.rs"]
mod tests;
