//! The admin port: `/live`, `/ready`, `/metrics` and `/dump`, and a small server for those who have more to show.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections to the admin port at once: scrapers, probes and a few people.
const CONNECTIONS_MAX: usize = 256;
/// A client that has not sent its request's head by then is dropped.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// The body of an admin answer.
pub type Body = BoxBody<Bytes, Infallible>;

/// What a process shows on its admin port.
pub struct Admin {
    /// All metrics of the process.
    pub registry: Registry,
    /// Whether it can do its work now.
    pub ready: Box<dyn Fn() -> bool + Send + Sync>,
    /// Its whole state, for people who look for a fault.
    pub dump: Box<dyn Fn() -> serde_json::Value + Send + Sync>,
}

impl Admin {
    /// Answers the paths that every process has, and nothing else.
    #[must_use]
    pub fn respond<B>(&self, request: &Request<B>) -> Option<Response<Body>> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return None;
        }
        match request.uri().path() {
            "/live" => Some(text(StatusCode::OK, "live\n")),
            "/ready" if (self.ready)() => Some(text(StatusCode::OK, "ready\n")),
            "/ready" => Some(text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n")),
            "/metrics" => Some(self.metrics()),
            "/dump" => Some(json(&(self.dump)())),
            _ => None,
        }
    }

    fn metrics(&self) -> Response<Body> {
        let mut out = String::new();
        if prometheus_client::encoding::text::encode(&mut out, &self.registry).is_err() {
            return text(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be written\n");
        }
        body("application/openmetrics-text; version=1.0.0; charset=utf-8", out)
    }
}

/// A plain text answer.
pub fn text(status: StatusCode, message: impl Into<Bytes>) -> Response<Body> {
    let mut response = body("text/plain; charset=utf-8", message);
    *response.status_mut() = status;
    response
}

/// A JSON answer.
pub fn json<T: serde::Serialize>(value: &T) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => body("application/json", bytes),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("the answer cannot be written: {error}\n")),
    }
}

/// An answer of some content type.
pub fn body(content_type: &'static str, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(bytes.into()).boxed());
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

/// Serves `handler` on `listener` until `shutdown`, then closes what is idle and waits for the rest.
pub async fn serve<F, R>(listener: TcpListener, handler: F, shutdown: CancellationToken)
where
    F: Fn(Request<Incoming>) -> R + Send + Sync + 'static,
    R: Future<Output = Response<Body>> + Send,
{
    let handler = Arc::new(handler);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "admin port cannot accept; waiting a moment");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (handler, shutdown) = (Arc::clone(&handler), shutdown.clone());
        connections.spawn(async move {
            serve_connection(TokioIo::new(stream), handler, shutdown).await;
            drop(place);
        });
    }
    connections.close();
    connections.wait().await;
}

async fn serve_connection<F, R>(stream: TokioIo<tokio::net::TcpStream>, handler: Arc<F>, shutdown: CancellationToken)
where
    F: Fn(Request<Incoming>) -> R + Send + Sync + 'static,
    R: Future<Output = Response<Body>> + Send,
{
    let service = service_fn(move |request| {
        let handler = Arc::clone(&handler);
        async move { Ok::<_, Infallible>(handler(request).await) }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    let mut connection = std::pin::pin!(builder.serve_connection(stream, service));
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "an admin connection ended early");
    }
}
