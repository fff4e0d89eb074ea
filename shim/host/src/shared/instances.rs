//! The shared wasm instances of a revision, and which of them takes the next request.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use crate::meter::Meter;
use crate::revision::{PARKED_FOR, Revision};

use super::driver::{self, Means};
use super::{Ledger, Line, Member, Shared};

/// All that may take a request, least recently made first.
#[derive(Default)]
pub struct SharedInstances {
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    instances: Vec<Arc<Shared>>,
    /// A task looks after those without requests.
    swept: bool,
}

/// What a shared wasm instance is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Requests in it.
    pub in_flight: u32,
    /// Requests that it may still be given in its life.
    pub left: u32,
    /// Whether it would take one now.
    pub takes_more: bool,
}

impl SharedInstances {
    /// A place for the request of `meter`: in a wasm instance that has room and is not computing, or in a new one.
    #[must_use]
    pub fn join(self: &Arc<Self>, revision: &Arc<Revision>, meter: &Arc<Meter>) -> Member {
        let (shared, id) = self.take().unwrap_or_else(|| self.another(revision, meter));
        shared.ledger.enter(id, Arc::clone(meter));
        Member { shared, instances: Arc::clone(self), id, meter: Arc::clone(meter), over: false }
    }

    /// What is there.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Snapshot> {
        self.open().instances.iter().map(|shared| shared.snapshot()).collect()
    }

    /// The youngest first, so that few are in use and the others grow old.
    fn take(&self) -> Option<(Arc<Shared>, u64)> {
        let instances = &mut self.open().instances;
        let (at, place) = (0..instances.len()).rev().find_map(|at| Some((at, instances[at].join()?)))?;
        let shared = if place.last { instances.remove(at) } else { Arc::clone(&instances[at]) };
        Some((shared, place.member))
    }

    fn another(&self, revision: &Arc<Revision>, meter: &Arc<Meter>) -> (Arc<Shared>, u64) {
        let (line, ledger) = (Arc::new(Line::default()), Arc::new(Ledger::new(Instant::now())));
        let means = Means { revision: Arc::clone(revision), line: Arc::clone(&line), ledger: Arc::clone(&ledger) };
        let driver = Box::pin(driver::serve(means, Arc::clone(meter)));
        let shared = Arc::new(Shared::new(revision, driver, line, ledger));
        let first = shared.state().enter().member;
        self.open().instances.push(Arc::clone(&shared));
        (shared, first)
    }

    /// Whoever is in it may finish; nobody else comes.
    pub(super) fn remove(&self, shared: &Arc<Shared>) {
        let mut open = self.open();
        let at = open.instances.iter().position(|other| Arc::ptr_eq(other, shared));
        let removed = at.map(|at| open.instances.remove(at));
        drop(open);
        // Memory is given back without the lock.
        drop(removed);
    }

    /// One has no requests any more.
    pub(super) fn sweep_later(self: &Arc<Self>) {
        if !std::mem::replace(&mut self.open().swept, true) {
            tokio::spawn(Arc::clone(self).sweep());
        }
    }

    /// Gives back what nobody came for. Ends when none is without requests.
    async fn sweep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(PARKED_FOR).await;
            let now = Instant::now();
            let mut open = self.open();
            let old: Vec<_> =
                open.instances.extract_if(.., |shared| shared.idle_for(now) >= Some(PARKED_FOR)).collect();
            open.swept = open.instances.iter().any(|shared| shared.idle_for(now).is_some());
            let finished = !open.swept;
            drop(open);
            drop(old);
            if finished {
                return;
            }
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().expect("no panic while held")
    }
}

impl Shared {
    /// How long it has had no request; none when it has one.
    fn idle_for(&self, now: Instant) -> Option<Duration> {
        let state = self.state();
        (state.members == 0).then(|| now.saturating_duration_since(state.idle_since))
    }
}
