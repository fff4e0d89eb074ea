//! The one map from what went wrong to what the client sees and what the log says.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use wasmtime::{PoolConcurrencyLimitError, Trap};

use crate::body::HostBody;
use crate::meter::CpuTimeExceeded;

/// On answers to requests that no guest was given: another instance may take them. Its value is a [`Refusal`].
pub const REFUSED: HeaderName = HeaderName::from_static(wisp_api::names::HEADER_REFUSED);
/// On answers that the host made in the guest's place. Its value is a word for the failure.
pub const FAILED: HeaderName = HeaderName::from_static(wisp_api::names::HEADER_ERROR);

/// Why a request was not given to a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The instance is warm: it has no revision.
    Warm,
    /// All slots are taken.
    Slots,
    /// Traffic has been withdrawn.
    Draining,
}

/// Why a request that a guest was given has no good end.
#[derive(Debug)]
pub enum Failure {
    /// Names neither a host nor an authority.
    NoAuthority,
    /// The request's body is larger than allowed.
    BodyTooLarge,
    /// The request's deadline has passed.
    TimedOut,
    /// The guest used more CPU time than it may.
    CpuTime(Ticket, CpuTimeExceeded),
    /// As before, in a wasm instance with other requests: already in the log.
    Stopped(Ticket),
    /// The wasm instance that it shared with another request failed: already in the log.
    Lost(Ticket),
    /// There is no room for another wasm instance.
    NoRoom,
    /// The guest trapped, or could not be instantiated.
    Trapped(Ticket, wasmtime::Error),
    /// The guest answered with an error.
    Answered(Ticket, wasmtime::Error),
    /// The guest returned without an answer.
    NoResponse,
    /// A bug on our side.
    Panic,
}

/// Connects what the client sees with what the log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

impl Ticket {
    /// The next one: unique in this process, and most likely over all instances whose logs one reads together.
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let process = u64::from(std::process::id());
        Self(process << 32 | NEXT.fetch_add(1, Relaxed) & 0xffff_ffff)
    }
}

impl std::fmt::Display for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}-{:x}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

impl Refusal {
    /// The answer.
    #[must_use]
    pub fn respond(self) -> http::Response<HostBody> {
        let (word, text) = match self {
            Self::Warm => ("warm", "this instance has no function yet\n"),
            Self::Slots => ("slots", "all slots of this instance are taken\n"),
            Self::Draining => ("draining", "this instance is about to end\n"),
        };
        plain(StatusCode::SERVICE_UNAVAILABLE, (REFUSED, word), Bytes::from_static(text.as_bytes()))
    }
}

impl Failure {
    /// What a guest's future that ended with `error` means.
    #[must_use]
    pub fn from_guest(error: wasmtime::Error) -> Self {
        if error.is::<PoolConcurrencyLimitError>() {
            return Self::NoRoom;
        }
        match error.downcast::<CpuTimeExceeded>() {
            Ok(exceeded) => Self::CpuTime(Ticket::next(), exceeded),
            Err(error) => Self::Trapped(Ticket::next(), error),
        }
    }

    /// What it means that `error` arrived where the answer should.
    #[must_use]
    pub fn from_answer(error: wasmtime::Error) -> Self {
        if error.is::<Trap>() || error.is::<CpuTimeExceeded>() {
            return Self::from_guest(error);
        }
        Self::Answered(Ticket::next(), error)
    }

    /// What it means that the answer's body broke off with `error`.
    #[must_use]
    pub fn from_body(error: wasmtime_wasi_http::Error) -> Self {
        Self::Answered(Ticket::next(), wasmtime::Error::new(error))
    }

    /// A word from a closed set, for the header and for counting.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::NoAuthority => "no-authority",
            Self::BodyTooLarge => "body-too-large",
            Self::TimedOut => "timeout",
            Self::CpuTime(..) | Self::Stopped(_) => "cpu-time",
            Self::NoRoom => "no-room",
            Self::Trapped(..) | Self::Lost(_) => "trap",
            Self::Answered(..) => "guest-error",
            Self::NoResponse => "no-response",
            Self::Panic => "panic",
        }
    }

    /// The answer, when its head was not sent yet.
    #[must_use]
    pub fn respond(&self) -> http::Response<HostBody> {
        let (status, text) = match self {
            Self::NoAuthority => (StatusCode::BAD_REQUEST, "the request names no host\n".to_owned()),
            Self::BodyTooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, "the request's body is larger than the function takes\n".to_owned())
            }
            Self::TimedOut => (StatusCode::GATEWAY_TIMEOUT, "the function took too long\n".to_owned()),
            Self::NoRoom => {
                (StatusCode::SERVICE_UNAVAILABLE, "there is no room for another wasm instance\n".to_owned())
            }
            Self::NoResponse => (StatusCode::BAD_GATEWAY, "the function returned without an answer\n".to_owned()),
            Self::Panic => (StatusCode::BAD_GATEWAY, "the host failed; its log says how\n".to_owned()),
            Self::CpuTime(ticket, _) | Self::Stopped(ticket) => {
                (StatusCode::GATEWAY_TIMEOUT, format!("the function computed for too long; its log has id {ticket}\n"))
            }
            Self::Trapped(ticket, _) | Self::Lost(ticket) | Self::Answered(ticket, _) => {
                (StatusCode::BAD_GATEWAY, format!("the function failed; its log tells why under id {ticket}\n"))
            }
        };
        plain(status, (FAILED, self.word()), Bytes::from(text))
    }

    /// Says in the log what the operator of `revision` needs, and the client must not see.
    pub fn log(&self, revision: &str) {
        match self {
            Self::CpuTime(id, error) => tracing::warn!(revision, %id, %error, "request stopped"),
            Self::Trapped(id, error) => {
                tracing::warn!(revision, %id, error = format!("{error:?}"), "guest trapped");
            }
            Self::Answered(id, error) => {
                tracing::warn!(revision, %id, error = format!("{error:#}"), "guest answered with an error");
            }
            Self::NoResponse => tracing::warn!(revision, "guest returned without an answer"),
            Self::NoRoom => tracing::warn!(revision, "no room for another wasm instance; lower concurrency.slots"),
            Self::Panic => tracing::error!(revision, "panic while running a guest; please report it"),
            Self::Stopped(id) | Self::Lost(id) => {
                tracing::debug!(revision, %id, "request ended with the wasm instance that it shared");
            }
            Self::NoAuthority | Self::BodyTooLarge | Self::TimedOut => {
                tracing::debug!(revision, reason = self.word(), "request ended by the host");
            }
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

impl std::error::Error for Failure {}

fn plain(status: StatusCode, (name, word): (HeaderName, &'static str), text: Bytes) -> http::Response<HostBody> {
    let mut response = http::Response::new(HostBody::full(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(name, HeaderValue::from_static(word));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
