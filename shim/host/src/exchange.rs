//! One request and its guest, driven by whoever waits for the answer: first hyper's service future, then the answer's
//! body. No task is spawned for a request, and a client that goes away drops the exchange, which stops the guest.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use futures::channel::oneshot;
use tokio::time::{Instant, Sleep};
use wasmtime_wasi_http::WasiBody;
use wasmtime_wasi_http::handler::{Request, Response};

use crate::guest::{self, Call, GuestFuture};
use crate::meter::Meter;
use crate::respond::Failure;
use crate::revision::{Instance, Revision};
use crate::shared::Member;

/// A guest at work on a request.
pub struct Exchange {
    guest: Work,
    response: oneshot::Receiver<wasmtime::Result<Response>>,
    meter: Arc<Meter>,
    deadline: Instant,
    /// Made when the guest first has to wait: most never do.
    alarm: Option<Pin<Box<Sleep>>>,
    admitted: Admitted,
}

/// The guest, or what it left.
enum Work {
    Running(GuestFuture),
    /// In a wasm instance with other requests.
    Shared(Member),
    // Running => (Returned | Over), Shared => Over
    /// It has returned; its instance may serve again, once its answer's body is complete.
    Returned(Box<Instance>),
    // Returned => Over
    Over,
}

/// A request's place among the slots; gives it back, and counts how it ended, when dropped.
pub struct Admitted {
    revision: Arc<Revision>,
    meter: Arc<Meter>,
}

impl Admitted {
    /// Takes a slot, unless all are taken.
    #[must_use]
    pub fn take(revision: &Arc<Revision>) -> Option<Self> {
        if !revision.metrics.try_enter(revision.limits.slots) {
            return None;
        }
        revision.request_admitted();
        revision.metrics.started.fetch_add(1, Relaxed);
        let meter = Arc::new(Meter::new(Instant::now(), revision.limits.cpu_time));
        Some(Self { revision: Arc::clone(revision), meter })
    }

    /// The request's counters.
    #[must_use]
    pub fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let metrics = &self.revision.metrics;
        let cpu = u64::try_from(self.meter.cpu_time().as_nanos()).unwrap_or(u64::MAX);
        metrics.cpu_nanos.fetch_add(cpu, Relaxed);
        metrics.execute.record(self.meter.origin().elapsed());
        metrics.finished.fetch_add(1, Relaxed);
        metrics.leave();
    }
}

impl Exchange {
    /// Gives `request` to a guest; nothing happens until it is polled.
    #[must_use]
    pub fn new(admitted: Admitted, request: Request) -> Self {
        let (sender, response) = oneshot::channel();
        let meter = Arc::clone(&admitted.meter);
        let deadline = meter.origin() + admitted.revision.limits.timeout;
        let call = Call { request, response: sender, meter: Arc::clone(&meter), deadline };
        let guest = match admitted.revision.shared() {
            Some(shared) => {
                let member = shared.join(&admitted.revision, &meter);
                member.give(call);
                Work::Shared(member)
            }
            None => Work::Running(guest::run(Arc::clone(&admitted.revision), call)),
        };
        Self { guest, response, meter, deadline, alarm: None, admitted }
    }

    /// The request's counters.
    #[must_use]
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Whether its guest works for other requests as well.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self.guest, Work::Shared(_))
    }

    /// Whether the guest has nothing more to do.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        match &self.guest {
            Work::Running(_) => false,
            Work::Shared(member) => member.is_idle(),
            Work::Returned(_) | Work::Over => true,
        }
    }

    /// Lets the guest work until it has begun its answer.
    pub fn poll_response(&mut self, context: &mut Context<'_>) -> Poll<Result<http::Response<WasiBody>, Failure>> {
        if let Poll::Ready(Err(failure)) = self.poll_guest(context) {
            return Poll::Ready(Err(failure));
        }
        if self.meter.is_body_too_large() {
            // Whatever the guest made of its cut body: the client is told what is wrong with it.
            return Poll::Ready(Err(self.fail(Failure::BodyTooLarge)));
        }
        match Pin::new(&mut self.response).poll(context) {
            Poll::Ready(Ok(Ok(response))) => Poll::Ready(Ok(response)),
            Poll::Ready(Ok(Err(error))) => {
                let failure = Failure::from_answer(error);
                if let (Failure::Answered(..), Work::Shared(_)) = (&failure, &self.guest) {
                    self.leave();
                }
                Poll::Ready(Err(self.fail(failure)))
            }
            // The sender lives in the guest's store or future: gone only when the guest is.
            Poll::Ready(Err(oneshot::Canceled)) if self.is_finished() => {
                Poll::Ready(Err(self.fail(Failure::NoResponse)))
            }
            Poll::Ready(Err(oneshot::Canceled)) | Poll::Pending => self.poll_limits(context).map(Err),
        }
    }

    /// Lets the guest work; ready when it has nothing more to do, or has failed.
    pub fn poll_guest(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let future = match &mut self.guest {
            Work::Running(future) => future,
            Work::Shared(member) => return member.poll(context).map_err(|failure| self.fail(failure)),
            Work::Returned(_) | Work::Over => return Poll::Ready(Ok(())),
        };
        self.meter.poll_begins(Instant::now());
        // A panic is a bug of the host or of wasmtime; it must cost this request and nobody else.
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        self.meter.poll_ends(Instant::now());
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(Ok(instance))) => {
                self.guest = Work::Returned(Box::new(instance));
                Poll::Ready(Ok(()))
            }
            Ok(Poll::Ready(Err(error))) => Poll::Ready(Err(self.fail(Failure::from_guest(error)))),
            Err(_) => Poll::Ready(Err(self.fail(Failure::Panic))),
        }
    }

    /// Ready when the request has exceeded a limit that its guest's own hooks do not see.
    pub fn poll_limits(&mut self, context: &mut Context<'_>) -> Poll<Failure> {
        if self.meter.is_body_too_large() {
            return Poll::Ready(self.fail(Failure::BodyTooLarge));
        }
        let deadline = self.deadline;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        match alarm.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(self.fail(Failure::TimedOut)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// The answer's body is complete: the instance that made it may serve again. A guest that still works may finish on
    /// its own, within its deadline; it keeps its slot.
    pub fn body_complete(mut self) {
        self.guest = match std::mem::replace(&mut self.guest, Work::Over) {
            Work::Returned(instance) => return self.admitted.revision.park(*instance),
            Work::Shared(member) => match member.leave() {
                Ok(()) => return,
                Err(member) => Work::Shared(member),
            },
            Work::Over => return,
            Work::Running(guest) => Work::Running(guest),
        };
        // Owned by its slot: a drain waits for it, and its deadline bounds it. Without a runtime the process ends.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(self.finish());
        }
    }

    /// The guest has returned but its answer is not complete, and never will be while its store holds the other end.
    pub fn discard_instance(&mut self) {
        match &self.guest {
            Work::Shared(member) => member.end_if_alone(),
            _ => self.guest = Work::Over,
        }
    }

    /// The guest has answered with an error, as it may: nobody else in its wasm instance need notice.
    fn leave(&mut self) {
        if let Work::Shared(member) = std::mem::replace(&mut self.guest, Work::Over) {
            // Where it still works, and for this request alone, it is stopped as elsewhere.
            drop(member.leave());
        }
    }

    async fn finish(mut self) {
        let ended = std::future::poll_fn(|context| match self.poll_guest(context) {
            Poll::Ready(ended) => Poll::Ready(ended),
            Poll::Pending => self.poll_limits(context).map(Err),
        });
        if ended.await.is_ok() {
            self.body_complete();
        }
    }

    /// Stops the guest and counts the failure. A guest that fails because its body was cut is not to blame.
    pub fn fail(&mut self, failure: Failure) -> Failure {
        let failure = if self.meter.is_body_too_large() { Failure::BodyTooLarge } else { failure };
        self.guest = Work::Over;
        self.admitted.revision.metrics.failed.fetch_add(1, Relaxed);
        failure.log(&self.admitted.revision.name);
        failure
    }
}
