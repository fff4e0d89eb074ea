//! What wasmtime calls when a guest sends a request.

use std::error::Error as _;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, timeout};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::connect::{ConnectError, Upstreams};
use super::undelivered::{Lent, discard};

type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sent = Result<(Response<WasiBody>, Io), Error>;

/// A guest's way out.
pub struct OutboundHooks {
    /// None when the spec allows nothing.
    upstreams: Option<Arc<Upstreams>>,
    /// When the guest's own request ends: no call of its lasts longer.
    deadline: Instant,
}

impl OutboundHooks {
    /// The way out of a guest whose request ends at `deadline`.
    #[must_use]
    pub fn new(upstreams: Option<Arc<Upstreams>>, deadline: Instant) -> Self {
        Self { upstreams, deadline }
    }

    /// The guest serves another request now.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }

    /// The guest serves one more request. Whose a call is cannot be told, so it may last as long as the longest of them.
    pub fn extend_deadline(&mut self, deadline: Instant) {
        self.deadline = self.deadline.max(deadline);
    }
}

impl WasiHttpHooks for OutboundHooks {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _received: Io,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let allowed = self.upstreams.as_ref().filter(|upstreams| upstreams.policy.allows(request.uri()));
        let left = self.deadline.saturating_duration_since(Instant::now());
        let Some(upstreams) = allowed else {
            tracing::debug!(uri = %request.uri(), "outgoing request denied; grant it with capabilities.outbound");
            return Box::new(async move {
                discard(request.into_body(), left).await;
                Err(Error::HttpRequestDenied)
            });
        };
        let times = Times::new(options.unwrap_or_default(), left);
        Box::new(send(Arc::clone(upstreams), request, times))
    }

    fn p2_error_from_hyper(
        &mut self,
        error: &hyper::Error,
    ) -> wasmtime_wasi_http::p2::bindings::http::types::ErrorCode {
        // What the default does, but a client that goes away is no reason for a warning.
        tracing::debug!(%error, "a body ended early");
        wasmtime_wasi_http::p2::bindings::http::types::ErrorCode::HttpProtocolError
    }

    fn p3_error_from_hyper(
        &mut self,
        error: &hyper::Error,
    ) -> wasmtime_wasi_http::p3::bindings::http::types::ErrorCode {
        tracing::debug!(%error, "a body ended early");
        wasmtime_wasi_http::p3::bindings::http::types::ErrorCode::HttpProtocolError
    }
}

/// The guest's timeouts, none longer than what is left of its own request.
#[derive(Clone, Copy)]
struct Times {
    first_byte: Duration,
    between_bytes: Duration,
}

impl Times {
    fn new(options: RequestOptions, left: Duration) -> Self {
        let clamp = |wanted: Option<Duration>| wanted.unwrap_or(left).min(left);
        // The pool does not tell when it dials, so connecting counts towards the first byte.
        let first_byte = clamp(options.connect_timeout).saturating_add(clamp(options.first_byte_timeout)).min(left);
        Self { first_byte, between_bytes: clamp(options.between_bytes_timeout) }
    }
}

async fn send(upstreams: Arc<Upstreams>, request: Request<WasiBody>, times: Times) -> Sent {
    let (head, body) = request.into_parts();
    let (body, mut returned) = Lent::lend(body);
    let answered = timeout(times.first_byte, upstreams.client.request(Request::from_parts(head, body))).await;
    let response = match answered.map_err(|_| Error::ConnectionReadTimeout)? {
        Ok(response) => response,
        Err(error) => {
            if let Ok(Some(body)) = returned.try_recv() {
                discard(body, times.between_bytes).await;
            }
            return Err(code(&error));
        }
    };
    let body = |inner| TimedBody { inner, between_bytes: times.between_bytes, alarm: None }.boxed_unsync();
    Ok((response.map(body), Box::new(std::future::ready(Ok(())))))
}

/// The guest's error for what the client reports.
fn code(error: &hyper_util::client::legacy::Error) -> Error {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<ConnectError>() {
            return connect_code(error);
        }
        if let Some(error) = error.downcast_ref::<Error>() {
            return Error::InternalError(Some(error.to_string()));
        }
        cause = error.source();
    }
    tracing::debug!(?error, "outgoing request failed");
    Error::ConnectionTerminated
}

fn connect_code(error: &ConnectError) -> Error {
    tracing::debug!(%error, "outgoing request failed");
    match error {
        ConnectError::Prohibited(_) => Error::DestinationIpProhibited,
        ConnectError::Resolve(_, error) => Error::DnsError { rcode: Some(error.to_string()), info_code: None },
        ConnectError::Connect(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            Error::ConnectionRefused
        }
        ConnectError::Connect(_) => Error::DestinationUnavailable,
        ConnectError::Tls(error) => tls_code(error),
        ConnectError::NoHost => Error::HttpRequestUriInvalid,
        ConnectError::Roots(_) => Error::ConfigurationError,
    }
}

/// A certificate that is not trusted is something else than a server that speaks no TLS.
fn tls_code(error: &std::io::Error) -> Error {
    match error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            Error::TlsCertificateError
        }
        Some(rustls::Error::AlertReceived(alert)) => {
            Error::TlsAlertReceived { alert_id: Some(u8::from(*alert)), alert_message: Some(format!("{alert:?}")) }
        }
        _ => Error::TlsProtocolError,
    }
}

/// A received body that fails when no frame comes for too long.
struct TimedBody {
    inner: Incoming,
    between_bytes: Duration,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Body for TimedBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) {
            self.alarm = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Error::from)));
        }
        let wait = self.between_bytes;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep(wait)));
        alarm.as_mut().poll(context).map(|()| Some(Err(Error::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
}
