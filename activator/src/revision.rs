//! One revision's line, as requests meet it: the rules of [`crate::admission`] behind a lock, and futures that wait.
//!
//! Whoever holds a [`Permit`] has a slot; dropping it gives the slot to the next in line. Whoever drops a [`Waiting`]
//! leaves the line. So a client that goes away frees what it had, wherever its request was.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::admission::{Admission, Ask, Bounds, EndpointId, Full, Grant, Left, Offer, Trust, Turn};
use crate::demand::Demand;
use crate::endpoint::Endpoint;
use crate::snapshot::{EndpointSnapshot, RevisionSnapshot};

/// All of a process that dies is gone by then, on a busy machine too.
const BREAK_PAUSE: Duration = Duration::from_millis(100);

/// What the control link must look at.
#[derive(Debug)]
pub(crate) enum Signal {
    /// A revision's demand left zero or reached it.
    Edge(Arc<Revision>),
    /// A request waits where there is no capacity.
    Wake(Arc<Revision>),
}

/// Why a request that waited gets no slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dismissal {
    /// The autoscaler cannot start an instance.
    StartFailed {
        /// A word.
        reason: String,
        /// A sentence.
        message: String,
    },
    /// The function was deleted.
    Deleted,
}

/// A revision.
#[derive(Debug)]
pub(crate) struct Revision {
    /// `<namespace>/<name>`.
    pub name: Box<str>,
    /// What happened since the start.
    pub totals: Totals,
    /// How many functions route to it.
    pub routes: AtomicU32,
    line: Mutex<Admission<Waiter, Arc<Endpoint>>>,
    signals: mpsc::UnboundedSender<Signal>,
    /// Set while an [`Signal::Edge`] waits to be looked at, which bounds their number.
    edge_signalled: AtomicBool,
    /// Likewise for [`Signal::Wake`].
    wake_signalled: AtomicBool,
}

/// Counters since the activator started.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    /// Requests that were routed here.
    pub requests: AtomicU64,
    /// Of these, those that an instance failed.
    pub failed: AtomicU64,
    /// Of these, those that were refused because the line was full or nothing could be started.
    pub refused: AtomicU64,
}

type Waiter = oneshot::Sender<Result<Permit, Dismissal>>;

/// A slot. Dropping it hands it to the next in line.
#[derive(Debug)]
pub(crate) struct Permit {
    sent: AtomicBool,
    id: EndpointId,
    turn: Turn,
    endpoint: Arc<Endpoint>,
    revision: Arc<Revision>,
}

/// A place in line. Dropping it leaves the line.
#[derive(Debug)]
pub(crate) struct Waiting {
    turn: Turn,
    revision: Arc<Revision>,
    verdict: oneshot::Receiver<Result<Permit, Dismissal>>,
    /// Whether there was no capacity at all when it began.
    pub capacity: Capacity,
}

/// Whether a revision has any slots, taken or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Capacity {
    /// It has none: an instance must start.
    Zero,
    /// It has some.
    Some,
}

/// The answer to a request for a slot.
#[derive(Debug)]
pub(crate) enum Admitted {
    /// Here it is.
    Now(Permit),
    /// There is none yet.
    Later(Waiting),
}

impl Revision {
    pub(crate) fn new(name: &str, signals: mpsc::UnboundedSender<Signal>) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            totals: Totals::default(),
            routes: AtomicU32::new(0),
            line: Mutex::default(),
            signals,
            edge_signalled: AtomicBool::new(false),
            wake_signalled: AtomicBool::new(false),
        })
    }

    /// A slot for a request that has just arrived, if one is free.
    pub(crate) fn try_admit(self: &Arc<Self>) -> Option<Permit> {
        let mut line = self.lock();
        let permit = self.permit(line.try_take(None, &mut dice)?);
        let demand = Demand::of(&line);
        drop(line);
        self.tell_edge(demand);
        Some(permit)
    }

    /// A slot, or a place in line.
    pub(crate) fn admit(self: &Arc<Self>, ask: Ask, bounds: Bounds) -> Result<Admitted, Full> {
        let mut line = self.lock();
        if let Some(grant) = line.try_take(Some(&ask), &mut dice) {
            let permit = self.permit(grant);
            let demand = Demand::of(&line);
            drop(line);
            self.tell_edge(demand);
            return Ok(Admitted::Now(permit));
        }
        let (sender, verdict) = oneshot::channel();
        let turn = line.wait(ask, bounds, sender)?;
        let (demand, capacity) = (Demand::of(&line), line.capacity());
        drop(line);
        self.tell_edge(demand);
        let capacity = if capacity == 0 { Capacity::Zero } else { Capacity::Some };
        if capacity == Capacity::Zero {
            self.tell_wake();
        }
        Ok(Admitted::Later(Waiting { turn, revision: Arc::clone(self), verdict, capacity }))
    }

    /// Whether a request that tried these endpoints can get no other of those that are there.
    pub(crate) fn is_exhausted(&self, tried: &[EndpointId]) -> bool {
        self.lock().exhausted(tried)
    }

    /// Takes over what the autoscaler says of its endpoints. Returns those withdrawn to which a request is about to be sent.
    pub(crate) fn offer(self: &Arc<Self>, offers: Vec<Offer<Arc<Endpoint>>>) -> Vec<Arc<Endpoint>> {
        let mut line = self.lock();
        let served = line.offer(offers, &mut dice);
        let served = self.permits(served);
        let wanting = line.waiting() > 0 && line.capacity() == 0;
        let withdrawn = line.entries().filter(|entry| entry.trust == Trust::Withdrawn).map(|entry| entry.endpoint);
        let unsent = withdrawn.filter(|endpoint| endpoint.has_unsent()).cloned().collect();
        drop(line);
        hand_out(served);
        if wanting {
            self.tell_wake();
        }
        unsent
    }

    /// Uses endpoints again that were set aside.
    pub(crate) fn trust_again(self: &Arc<Self>) {
        let mut line = self.lock();
        let served = line.trust_again(&mut dice);
        let served = self.permits(served);
        drop(line);
        hand_out(served);
    }

    /// The endpoint that this instance has at this address already: its connections are kept.
    pub(crate) fn known(&self, instance: &str, address: &str) -> Option<Arc<Endpoint>> {
        let line = self.lock();
        let mut known = line.entries().filter(|entry| entry.instance == instance).map(|entry| entry.endpoint);
        known.find(|endpoint| endpoint.is_at(address)).cloned()
    }

    /// Answers all that wait with this.
    pub(crate) fn dismiss(&self, dismissal: &Dismissal) {
        let waiters = self.lock().dismiss();
        for waiter in waiters {
            // The receiver is gone when its client is: nobody to tell.
            let _gone = waiter.send(Err(dismissal.clone()));
        }
    }

    /// What it asks for now.
    pub(crate) fn demand(&self) -> Demand {
        Demand::of(&self.lock())
    }

    /// Whether requests wait where there is no capacity.
    pub(crate) fn wants_wake(&self) -> bool {
        let line = self.lock();
        line.waiting() > 0 && line.capacity() == 0
    }

    /// Whether it can be forgotten: nobody routes to it, and nothing is left of it.
    pub(crate) fn is_unused(&self) -> bool {
        let line = self.lock();
        self.routes.load(Ordering::Relaxed) == 0 && Demand::of(&line).is_zero() && line.entries().next().is_none()
    }

    /// Whether it has no endpoint, not even one that is going.
    pub(crate) fn has_no_endpoints(&self) -> bool {
        self.lock().entries().next().is_none()
    }

    /// Closes connections that a revision at rest does not need.
    pub(crate) fn rest(&self) {
        self.lock().entries().for_each(|entry| entry.endpoint.rest());
    }

    /// Its state, for people.
    pub(crate) fn snapshot(&self) -> RevisionSnapshot {
        let line = self.lock();
        let endpoints = line.entries().map(|entry| EndpointSnapshot {
            instance: entry.instance.to_owned(),
            address: entry.endpoint.address().to_owned(),
            slots: entry.slots,
            in_flight: entry.in_flight,
            trust: entry.trust.into(),
        });
        RevisionSnapshot {
            revision: self.name.to_string(),
            waiting: line.waiting(),
            in_flight: line.in_flight(),
            requests_total: self.totals.requests.load(Ordering::Relaxed),
            failed_total: self.totals.failed.load(Ordering::Relaxed),
            refused_total: self.totals.refused.load(Ordering::Relaxed),
            endpoints: endpoints.collect(),
        }
    }

    /// The control link has seen the edge: the next one signals again.
    pub(crate) fn edge_seen(&self) {
        self.edge_signalled.store(false, Ordering::Release);
    }

    /// The control link has seen the wake: the next one signals again.
    pub(crate) fn wake_seen(&self) {
        self.wake_signalled.store(false, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Admission<Waiter, Arc<Endpoint>>> {
        // No code panics while it holds the lock; if it did, the counts would still be the best there is.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Must be called with the lock held: an endpoint that is withdrawn next must know of its unsent requests.
    fn permit(self: &Arc<Self>, grant: Grant<Arc<Endpoint>>) -> Permit {
        grant.endpoint.unsent.fetch_add(1, Ordering::Relaxed);
        let sent = AtomicBool::new(false);
        Permit { sent, id: grant.id, turn: grant.turn, endpoint: grant.endpoint, revision: Arc::clone(self) }
    }

    fn permits(self: &Arc<Self>, served: Vec<(Waiter, Grant<Arc<Endpoint>>)>) -> Vec<(Waiter, Permit)> {
        served.into_iter().map(|(waiter, grant)| (waiter, self.permit(grant))).collect()
    }

    /// Demand of exactly one has just left zero, or may have: the link sorts it out.
    fn tell_edge(self: &Arc<Self>, demand: Demand) {
        if demand.waiting + demand.in_flight <= 1 {
            self.signal_edge();
        }
    }

    fn signal_edge(self: &Arc<Self>) {
        if !self.edge_signalled.swap(true, Ordering::AcqRel) {
            // Without a link, as in tests of the data path alone, nobody listens.
            let _nobody = self.signals.send(Signal::Edge(Arc::clone(self)));
        }
    }

    fn tell_wake(self: &Arc<Self>) {
        if !self.wake_signalled.swap(true, Ordering::AcqRel) {
            let _nobody = self.signals.send(Signal::Wake(Arc::clone(self)));
        }
    }

    fn release(self: &Arc<Self>, id: EndpointId) {
        let mut line = self.lock();
        let served = line.release(id).map(|(waiter, grant)| (waiter, self.permit(grant)));
        let demand = Demand::of(&line);
        drop(line);
        // Whoever believes that somebody still waits would start more instances.
        let is_last_in_line = served.is_some() && demand.waiting == 0;
        if demand.is_zero() || is_last_in_line {
            self.signal_edge();
        }
        hand_out(served);
    }

    fn leave(self: &Arc<Self>, turn: Turn) {
        let mut line = self.lock();
        let left = line.leave(turn);
        let demand = Demand::of(&line);
        drop(line);
        if left == Left::Line && demand.is_zero() {
            self.tell_edge(demand);
        }
    }
}

impl Permit {
    /// Where the request goes.
    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Sets the endpoint aside: nobody listens there.
    pub(crate) fn suspect(&self) {
        self.revision.lock().suspect(self.id);
    }

    /// Sets the endpoint aside for a moment: a process that dies closes its connections one after the other.
    pub(crate) fn broke(&self) {
        if self.revision.lock().broke(self.id) {
            let revision = Arc::clone(&self.revision);
            let pause = tokio::time::sleep(BREAK_PAUSE);
            tokio::spawn(futures::FutureExt::map(pause, move |()| revision.trust_again()));
        }
    }

    /// The request's place in line, if it has to come back.
    pub(crate) fn turn(&self) -> Turn {
        self.turn
    }

    /// The request is on its way.
    pub(crate) fn sent(&self) {
        if !self.sent.swap(true, Ordering::Relaxed) {
            self.endpoint.unsent.fetch_sub(1, Ordering::Release);
        }
    }

    /// Which endpoint this is a slot of.
    pub(crate) fn id(&self) -> EndpointId {
        self.id
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.sent();
        self.revision.release(self.id);
    }
}

impl Future for Waiting {
    type Output = Result<Permit, Dismissal>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // A waiter is dropped unanswered only together with its revision, which this future holds.
        Pin::new(&mut self.verdict).poll(cx).map(|verdict| verdict.unwrap_or(Err(Dismissal::Deleted)))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // A permit that is on its way stays in the channel, and is released when the receiver is dropped.
        self.revision.leave(self.turn);
    }
}

/// Must be called without the lock: a permit that nobody takes is released at once.
fn hand_out(served: impl IntoIterator<Item = (Waiter, Permit)>) {
    for (waiter, permit) in served {
        // A client that has just gone drops the permit here, which hands the slot on.
        let _gone = waiter.send(Ok(permit));
    }
}

fn dice() -> u32 {
    fastrand::u32(..)
}
