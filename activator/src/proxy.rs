//! The data path of one request: route → admit → forward → answer.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::request::Parts;
use http::uri::{Scheme, Uri};
use http::{HeaderValue, Method, Request, Response, Version, header};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use crate::admission::Bounds;
use crate::answer::{AnswerBody, Deadlines, Exchange};
use crate::forward::{self, Answered};
use crate::headers::{self, Origin};
use crate::index::{Hit, Index};
use crate::metrics::{Metrics, Outcome};
use crate::passage::{Again, Next, Passage};
use crate::respond::Refusal;
use crate::revision::{Admitted, Capacity, Dismissal, Permit};
use crate::route::{self, HostError};
use crate::traces::Traces;
use crate::upload::{ReadAhead, Upload};
use crate::workers::WorkerId;

/// Instances that may turn one request away. More dead ones than this in a row are no bad luck.
const REFUSALS_MAX: u32 = 16;

/// What every request of a worker needs.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Whose connections to instances it may use.
    pub worker: WorkerId,
    /// Where requests go.
    pub index: Arc<Index>,
    /// What became of them.
    pub metrics: Arc<Metrics>,
    /// Until when answers may take.
    pub deadlines: Arc<Deadlines>,
    /// Where spans go, if anywhere.
    pub traces: Option<Traces>,
}

impl Proxy {
    /// Answers a request, whatever happens.
    pub(crate) async fn handle(&self, origin: &Origin, request: Request<Incoming>) -> Response<AnswerBody> {
        let (mut head, incoming) = request.into_parts();
        match self.serve(origin, &mut head, incoming).await {
            Ok(response) => {
                let is_error = response.status().is_server_error();
                self.metrics.count(if is_error { Outcome::InstanceError } else { Outcome::Answered });
                response
            }
            Err(refusal) => {
                self.metrics.count(Outcome::from(&refusal));
                refusal.answer(&head.headers)
            }
        }
    }

    async fn serve(
        &self,
        origin: &Origin,
        head: &mut Parts,
        incoming: Incoming,
    ) -> Result<Response<AnswerBody>, Refusal> {
        let arrived = Instant::now();
        let authority = authority(head)?;
        let hit = self.find(&authority, head.uri.path())?;
        hit.revision.totals.requests.fetch_add(1, Ordering::Relaxed);
        check_length(head, hit.limits.request_body_bytes)?;
        let expects_to_be_asked = head.headers.contains_key(header::EXPECT);
        let reading = if expects_to_be_asked { ReadAhead::Forbidden } else { ReadAhead::Allowed };
        prepare(head, origin, &authority);
        let span = match &self.traces {
            Some(traces) => traces.begin(head, &hit),
            None => {
                headers::trace(&mut head.headers);
                None
            }
        };
        let body = Upload::new(incoming, hit.limits.request_body_bytes, reading);
        let mut passage = Passage::new(head, body, hit, arrived);
        let result = self.carry(&mut passage).await;
        note(&passage.hit, &result);
        if let Some(span) = span {
            span.end(result.as_ref().map_or_else(Refusal::status, Response::status), passage.timing);
        }
        result
    }

    fn find(&self, authority: &str, path: &str) -> Result<Hit, Refusal> {
        let host = route::normal_host(authority)?;
        self.index
            .find(&host, path, fastrand::u32(..))
            .ok_or_else(|| Refusal::UnknownHost { host: host.into_owned(), path: path.to_owned() })
    }

    /// Offers the request to one instance after the other, until one takes it.
    async fn carry(&self, passage: &mut Passage<'_>) -> Result<Response<AnswerBody>, Refusal> {
        let mut refusals = 0;
        while refusals < REFUSALS_MAX {
            let permit = self.slot(passage).await?;
            let sent = Instant::now();
            let attempt = forward::send(self.worker, &permit, passage.head, &passage.body);
            let result = timeout_at(passage.deadline, attempt).await.map_err(|_| passage.timeout())?;
            passage.timing.exec = sent.elapsed();
            match passage.judge(&permit, result)? {
                Next::Answer(answered) => return self.answer(passage, answered, permit).await,
                Next::Retry(again) => {
                    refusals += u32::from(again != Again::WhenFree);
                    passage.come_back(&permit, again);
                    self.metrics.retries.inc();
                }
            }
        }
        Err(Refusal::Unreachable)
    }

    /// A slot, at once or after waiting for it.
    async fn slot(&self, passage: &mut Passage<'_>) -> Result<Permit, Refusal> {
        let revision = Arc::clone(&passage.hit.revision);
        if passage.turn.is_none()
            && let Some(permit) = revision.try_admit()
        {
            return Ok(permit);
        }
        let bounds = Bounds { requests: passage.hit.limits.queue_requests, bytes: passage.hit.limits.queue_bytes };
        let began = Instant::now();
        let verdict = loop {
            let mut waiting = match revision.admit(passage.ask(), bounds).map_err(Refusal::QueueFull)? {
                Admitted::Now(permit) => break Ok((permit, Capacity::Some)),
                Admitted::Later(waiting) => waiting,
            };
            let (until, capacity) = (passage.waits_until(), waiting.capacity);
            let wait = std::future::poll_fn(|cx| {
                passage.body.read_ahead(cx);
                Pin::new(&mut waiting).poll(cx)
            });
            match timeout_at(until, wait).await {
                Ok(verdict) => break verdict.map(|permit| (permit, capacity)).map_err(Refusal::from),
                Err(_) => drop(waiting),
            }
            if let Err(refusal) = passage.look_around() {
                break Err(refusal);
            }
        };
        let waited = began.elapsed();
        self.metrics.queue_wait.observe(waited.as_secs_f64());
        let (permit, capacity) = verdict?;
        passage.waited(waited, capacity, permit.endpoint().start);
        if let Some(start) = passage.timing.start {
            self.metrics.start_wait.observe(start.as_secs_f64());
        }
        Ok(permit)
    }

    async fn answer(
        &self,
        passage: &Passage<'_>,
        (response, http1): Answered,
        permit: Permit,
    ) -> Result<Response<AnswerBody>, Refusal> {
        let (mut parts, incoming) = response.into_parts();
        headers::strip_answer(&mut parts.headers);
        headers::add_timing(&mut parts.headers, passage.timing);
        let exchange = Box::new(Exchange { incoming, http1, permit, worker: self.worker });
        let answer = self.deadlines.answer(Response::from_parts(parts, ()), exchange, passage.deadline);
        answer.await.map_err(|_| Refusal::InstanceDied)
    }
}

impl From<HostError> for Refusal {
    fn from(error: HostError) -> Self {
        match error {
            HostError::Missing => Self::NoHost,
            HostError::Malformed => Self::BadHost,
        }
    }
}

impl From<Dismissal> for Refusal {
    fn from(dismissal: Dismissal) -> Self {
        match dismissal {
            Dismissal::StartFailed { reason, message } => Self::StartFailed { reason, message },
            Dismissal::Deleted => Self::Deleted,
        }
    }
}

/// Refuses what cannot be forwarded at all, and says which host is asked for.
fn authority(head: &Parts) -> Result<String, Refusal> {
    if head.method == Method::CONNECT {
        return Err(Refusal::Connect);
    }
    if let Some(protocol) = headers::upgrade(&head.headers) {
        return Err(Refusal::Upgrade(String::from_utf8_lossy(protocol.as_bytes()).into_owned()));
    }
    Ok(route::authority(&head.uri, &head.headers)?.to_owned())
}

/// A body that says that it is too large is refused before anything starts for it.
fn check_length(head: &Parts, limit_bytes: u64) -> Result<(), Refusal> {
    let length = head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match length {
        Some(length) if length > limit_bytes => Err(Refusal::BodyTooLarge { limit_bytes }),
        _ => Ok(()),
    }
}

/// Makes the client's head the one that instances get.
fn prepare(head: &mut Parts, origin: &Origin, authority: &str) {
    headers::strip_request(&mut head.headers);
    origin.add_to(&mut head.headers, authority);
    if head.version != Version::HTTP_2 {
        if head.uri.authority().is_some()
            && let Ok(host) = HeaderValue::from_str(authority)
        {
            head.headers.insert(header::HOST, host);
        }
        head.uri = origin_form(&head.uri).unwrap_or_default();
    } else if head.uri.authority().is_none() {
        // HTTP/2 without :authority; the instance's side needs one.
        head.uri = absolute_form(&head.uri, authority).unwrap_or_default();
    }
}

fn origin_form(uri: &Uri) -> Option<Uri> {
    if uri.authority().is_none() {
        return Some(uri.clone());
    }
    Uri::builder().path_and_query(uri.path_and_query()?.clone()).build().ok()
}

fn absolute_form(uri: &Uri, authority: &str) -> Option<Uri> {
    let builder = Uri::builder().scheme(Scheme::HTTP).authority(authority);
    builder.path_and_query(uri.path_and_query()?.clone()).build().ok()
}

/// Counts for the revision what became of its request.
fn note(hit: &Hit, result: &Result<Response<AnswerBody>, Refusal>) {
    let totals = &hit.revision.totals;
    match result {
        Ok(response) if !response.status().is_server_error() => {}
        Err(Refusal::QueueFull(_) | Refusal::StartFailed { .. } | Refusal::Unreachable) => {
            totals.refused.fetch_add(1, Ordering::Relaxed);
        }
        Ok(_) | Err(Refusal::InstanceDied | Refusal::Timeout { .. } | Refusal::TimeoutWaiting { .. }) => {
            totals.failed.fetch_add(1, Ordering::Relaxed);
        }
        // The client's own doing.
        Err(_) => {}
    }
}
