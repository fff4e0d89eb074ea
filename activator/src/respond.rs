//! The one map from what can go wrong to what the client gets: a status, a word, and a sentence with what to do.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use serde::Serialize;

use crate::admission::Full;
use crate::answer::AnswerBody;

/// The header that says why; see [`Refusal::word`].
const ERROR: HeaderName = HeaderName::from_static(wisp_api::names::HEADER_ERROR);

/// The wait that a client is advised to make when a line is full. Lines move within the time of a few requests.
const RETRY_AFTER_SECONDS: &str = "1";

/// What the activator answers by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the request names no host; send a Host header with the function's host")]
    NoHost,
    #[error("the request's host cannot be understood; send one Host header of the form name or name:port")]
    BadHost,
    #[error("no function answers to {host}{path}; check the address, and that the function is deployed and ready")]
    UnknownHost { host: String, path: String },
    #[error("the function was deleted while the request waited")]
    Deleted,
    #[error("functions do not take CONNECT requests; send an ordinary request")]
    Connect,
    #[error("functions do not take connection upgrades (asked for: {0}); use ordinary requests or streaming answers")]
    Upgrade(String),
    #[error(
        "the request body is larger than the function's limit of {limit_bytes} bytes; send less, or raise limits.requestBody"
    )]
    BodyTooLarge { limit_bytes: u64 },
    #[error("too many requests wait for this function ({}); try again in a moment, or raise scaling.max", match .0 { Full::Requests => "count", Full::Bytes => "bytes" })]
    QueueFull(Full),
    #[error("no instance of the function can start: {message} ({reason}); see the function's conditions")]
    StartFailed { reason: String, message: String },
    #[error(
        "the function did not answer within its timeout of {timeout_millis} ms; see its log, or raise limits.timeout"
    )]
    Timeout { timeout_millis: u128 },
    #[error(
        "the request waited longer than the function's timeout of {timeout_millis} ms; see its conditions, or raise scaling.max"
    )]
    TimeoutWaiting { timeout_millis: u128 },
    #[error(
        "the instance ended before it answered; see the function's log for the reason, and try again if that is safe"
    )]
    InstanceDied,
    #[error("no instance of the function took the request; try again in a moment")]
    Unreachable,
    #[error("the request body ended early")]
    BodyBroken,
}

#[derive(Serialize)]
struct JsonError<'a> {
    error: &'a str,
    message: &'a str,
}

impl Refusal {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::NoHost | Self::BadHost | Self::BodyBroken => StatusCode::BAD_REQUEST,
            Self::UnknownHost { .. } | Self::Deleted => StatusCode::NOT_FOUND,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Connect | Self::Upgrade(_) => StatusCode::NOT_IMPLEMENTED,
            Self::InstanceDied => StatusCode::BAD_GATEWAY,
            Self::QueueFull(_) | Self::StartFailed { .. } | Self::Unreachable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout { .. } | Self::TimeoutWaiting { .. } => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// One word of a closed set, for programs.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::NoHost | Self::BadHost => "bad-host",
            Self::UnknownHost { .. } => "unknown-host",
            Self::Deleted => "deleted",
            Self::Connect | Self::Upgrade(_) => "no-upgrade",
            Self::BodyTooLarge { .. } => "body-too-large",
            Self::QueueFull(_) => "queue-full",
            Self::StartFailed { .. } => "start-failed",
            Self::Timeout { .. } => "timeout",
            Self::TimeoutWaiting { .. } => "timeout-waiting",
            Self::InstanceDied => "instance-died",
            Self::Unreachable => "unreachable",
            Self::BodyBroken => "body-broken",
        }
    }

    /// The answer, in the form that the request's headers ask for.
    pub(crate) fn answer(&self, request: &HeaderMap) -> Response<AnswerBody> {
        let message = self.to_string();
        let (content_type, body) = if accepts_json(request) {
            let json = serde_json::to_vec(&JsonError { error: self.word(), message: &message });
            ("application/json", Bytes::from(json.unwrap_or_default()))
        } else {
            ("text/plain; charset=utf-8", Bytes::from(format!("{message}\n")))
        };
        let mut response = Response::new(AnswerBody::fixed(body));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(ERROR, HeaderValue::from_static(self.word()));
        if matches!(self, Self::QueueFull(_) | Self::StartFailed { .. } | Self::Unreachable) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
        }
        response
    }
}

fn accepts_json(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|kind| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("application/json") || kind.eq_ignore_ascii_case("application/problem+json")
    })
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn accept(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(value))])
    }

    #[tokio::test]
    async fn a_refusal_says_what_and_why_in_the_form_that_is_asked_for() {
        let answer = Refusal::QueueFull(Full::Requests).answer(&HeaderMap::new());
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()["x-wisp-error"], "queue-full");
        assert_eq!(answer.headers()["retry-after"], "1");
        let text = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(text.starts_with(b"too many requests wait"), "{text:?}");

        let answer = Refusal::NoHost.answer(&accept("text/html;q=0.5, Application/JSON;q=1"));
        assert_eq!(answer.headers()["content-type"], "application/json");
        let json = answer.into_body().collect().await.unwrap().to_bytes();
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(json["error"], "bad-host");
    }
}
