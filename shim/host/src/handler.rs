//! From a request to an answer: admit it or refuse it, give it to a guest, send what comes back.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::task::Poll;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Version};
use http_body::Body;
use wasmtime_wasi_http::Error;

use crate::body::{Answer, HostBody, LimitedBody};
use crate::exchange::{Admitted, Exchange};
use crate::metrics::Metrics;
use crate::respond::{FAILED, Failure, REFUSED, Refusal};
use crate::revision::Revision;

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// A host: warm until it is given its revision, then serving it.
#[derive(Default)]
pub struct Host {
    revision: OnceLock<Arc<Revision>>,
    metrics: Arc<Metrics>,
    leaving: AtomicBool,
    draining: AtomicBool,
}

/// The host has a revision, and never gets another.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("this instance serves {0} already; an instance is specialized once")]
pub struct AlreadySpecialized(pub String);

impl Host {
    /// Counters of this host.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The revision that it serves, if it is not warm.
    #[must_use]
    pub fn revision(&self) -> Option<&Arc<Revision>> {
        self.revision.get()
    }

    /// Serves `revision` from now on.
    ///
    /// # Errors
    /// When it serves one already.
    pub fn specialize(&self, revision: Revision) -> Result<(), AlreadySpecialized> {
        // Warm => Serving
        self.revision
            .set(Arc::new(revision))
            .map_err(|_| AlreadySpecialized(self.revision().map(|serving| serving.name.clone()).unwrap_or_default()))
    }

    /// Says that it is about to end. Requests are still served, since some may be on their way.
    pub fn leave(&self) {
        // (Warm | Serving) => Leaving
        self.leaving.store(true, SeqCst);
    }

    /// Whether it is about to end.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(SeqCst)
    }

    /// Whether it serves a revision and is not about to end.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.revision.get().is_some() && !self.is_leaving()
    }

    /// Refuses new requests from now on; those in flight are not touched.
    pub fn drain(&self) {
        self.leave();
        // (Warm | Serving | Leaving) => Draining
        self.draining.store(true, SeqCst);
    }

    /// Answers `request`. Dropping the future stops the guest.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<HostBody>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Error>,
    {
        let (revision, admitted) = match self.admit() {
            Ok(admitted) => admitted,
            Err(refusal) => {
                self.metrics.refused.fetch_add(1, Relaxed);
                return refusal.respond();
            }
        };
        let request = match check(request, revision.limits.request_body_bytes) {
            Ok(request) => request,
            Err(failure) => {
                self.metrics.failed.fetch_add(1, Relaxed);
                failure.log(&revision.name);
                return failure.respond();
            }
        };
        let meter = Arc::clone(admitted.meter());
        let request = request.map(|body| LimitedBody::boxed(body, revision.limits.request_body_bytes, meter));
        let mut exchange = Exchange::new(admitted, request);
        let (mut head, body) = match poll_fn(|context| exchange.poll_response(context)).await {
            Ok(response) => response.into_parts(),
            Err(failure) => return failure.respond(),
        };
        mark(&mut head.headers, &exchange);
        let mut begun = Some((exchange, Answer { body, length: content_length(&head.headers) }));
        let body = poll_fn(|context| {
            let (exchange, answer) = begun.take().expect("ready at the first poll");
            Poll::Ready(HostBody::of(exchange, answer, context))
        });
        match body.await {
            Ok(body) => Response::from_parts(head, body),
            Err(failure) => failure.respond(),
        }
    }

    fn admit(&self) -> Result<(&Arc<Revision>, Admitted), Refusal> {
        if self.draining.load(Relaxed) {
            return Err(Refusal::Draining);
        }
        let revision = self.revision.get().ok_or(Refusal::Warm)?;
        let admitted = Admitted::take(revision).ok_or(Refusal::Slots)?;
        Ok((revision, admitted))
    }
}

/// What can be refused before a guest sees anything of it.
fn check<B>(mut request: Request<B>, body_bytes_max: u64) -> Result<Request<B>, Failure> {
    if content_length(request.headers()).is_some_and(|length| length > body_bytes_max) {
        return Err(Failure::BodyTooLarge);
    }
    if request.uri().authority().is_none() && !request.headers().contains_key(HOST) {
        // HTTP/1.0 clients need not name a host, but wasi:http has no request without one.
        if request.version() >= Version::HTTP_11 {
            return Err(Failure::NoAuthority);
        }
        request.headers_mut().insert(HOST, HeaderValue::from_static("localhost"));
    }
    Ok(request)
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok())
}

/// Adds what the host knows, and takes away what only a host may say.
fn mark(headers: &mut HeaderMap, exchange: &Exchange) {
    headers.remove(REFUSED);
    headers.remove(FAILED);
    let millis = exchange.meter().instantiate().as_secs_f64() * 1e3;
    if let Ok(timing) = HeaderValue::try_from(format!("instantiate;dur={millis:.3}")) {
        headers.append(SERVER_TIMING, timing);
    }
}
