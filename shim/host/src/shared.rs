//! A wasm instance that serves several requests at once: `reuse: pooled` with a 0.3 component.
//!
//! Nobody runs it but its requests: whoever of them is polled drives all, so that a request that finds a parked wasm
//! instance costs no task and no hop between threads, and an instance without requests does nothing. In
//! `line` is what requests and the driver tell one another, in `driver` what runs inside the store, in `ledger` who pays
//! for what it computes, in `waking` who is woken, and in `instances` which of them takes the next request.

mod driver;
mod instances;
mod ledger;
mod line;
mod waking;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use tokio::time::Instant;

use crate::guest::Call;
use crate::meter::Meter;
use crate::respond::{Failure, Ticket};
use crate::revision::Revision;

pub use self::instances::{SharedInstances, Snapshot};
pub use self::ledger::Ledger;

use self::line::Line;
use self::waking::Wakers;

/// Requests at once in one wasm instance. They share its memory and its resource table, and one that traps takes the
/// others with it; what is gained by more is little, since whoever computes is given no neighbours at all.
pub const REQUESTS_AT_ONCE_MAX: u32 = 16;

/// Runs the guest; ends only by failing.
type Driver = Pin<Box<dyn Future<Output = wasmtime::Result<()>> + Send>>;

/// A wasm instance and the requests in it.
pub struct Shared {
    revision: String,
    /// None once it has failed, or was given up.
    driver: Mutex<Option<Driver>>,
    line: Arc<Line>,
    ledger: Arc<Ledger>,
    wakers: Arc<Wakers>,
    /// What the driver is polled with: `wakers`.
    waker: Waker,
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    members: u32,
    /// Requests that it may still be given.
    left: u32,
    /// When its last member left, while there is none.
    idle_since: Instant,
    next_member: u64,
}

enum Phase {
    Open,
    // Open => Retired
    /// Takes no further request: one of them was abandoned, and there is no way to stop a single one in the guest.
    Retired,
    // (Open | Retired) => Failed
    Failed(Lost),
}

/// What the requests in a wasm instance that failed are told. The log has the cause once, under the same id.
#[derive(Clone, Copy)]
enum Lost {
    Trapped(Ticket),
    CpuTime(Ticket),
    NoRoom,
    Panicked,
}

/// What was given to a request.
struct Place {
    member: u64,
    /// No other will be given.
    last: bool,
}

/// A request's place in a wasm instance. Dropping it before the request is over retires the wasm instance.
pub struct Member {
    shared: Arc<Shared>,
    instances: Arc<SharedInstances>,
    id: u64,
    meter: Arc<Meter>,
    over: bool,
}

impl Shared {
    /// A wasm instance that `driver` makes and runs.
    fn new(revision: &Revision, driver: Driver, line: Arc<Line>, ledger: Arc<Ledger>) -> Self {
        let wakers = Arc::new(Wakers::default());
        let state = State {
            phase: Phase::Open,
            members: 0,
            left: revision.limits.reuse_requests,
            idle_since: Instant::now(),
            next_member: 0,
        };
        Self {
            revision: revision.name.clone(),
            driver: Mutex::new(Some(driver)),
            line,
            ledger,
            waker: Waker::from(Arc::clone(&wakers)),
            wakers,
            state: Mutex::new(state),
        }
    }

    /// A place for one more request, if it would be served at once: nobody computes, and nothing else is in the way.
    fn join(&self) -> Option<Place> {
        let mut state = self.state();
        if !state.takes_more() || !self.is_at_rest() {
            return None;
        }
        self.line.expect();
        Some(state.enter())
    }

    /// Whether the guest waits for something, and not for a thread.
    fn is_at_rest(&self) -> bool {
        self.line.accepts() && !self.wakers.is_due() && !self.ledger.is_computing()
    }

    /// Lets the guest work if it has anything to do and nobody else is at it.
    fn drive(&self) {
        if !self.wakers.is_due() {
            return;
        }
        // Whoever holds it began before it became due, and looks again when done.
        let Ok(mut slot) = self.driver.try_lock() else { return };
        let Some(driver) = slot.as_mut() else { return };
        self.ledger.poll_begins(Instant::now());
        self.wakers.taken();
        let polled = catch_unwind(AssertUnwindSafe(|| driver.as_mut().poll(&mut Context::from_waker(&self.waker))));
        self.ledger.poll_ends(Instant::now());
        let failure = match polled {
            Ok(Poll::Pending | Poll::Ready(Ok(()))) => None,
            Ok(Poll::Ready(Err(error))) => Some(Failure::from_guest(error)),
            Err(_) => Some(Failure::Panic),
        };
        if let Some(failure) = failure {
            *slot = None;
            drop(slot);
            self.failed(&failure);
            return;
        }
        drop(slot);
        if self.wakers.is_due() {
            // Others may have found it held in the meantime, and this one may not be polled again soon.
            self.wakers.wake_all();
        }
    }

    fn failed(&self, failure: &Failure) {
        let lost = match failure {
            Failure::CpuTime(ticket, _) => Lost::CpuTime(*ticket),
            Failure::Trapped(ticket, _) => Lost::Trapped(*ticket),
            Failure::NoRoom => Lost::NoRoom,
            _ => Lost::Panicked,
        };
        if matches!(lost, Lost::CpuTime(_) | Lost::Trapped(_)) {
            failure.log(&self.revision);
        }
        self.state().phase = Phase::Failed(lost);
        self.wakers.wake_all();
    }

    fn snapshot(&self) -> Snapshot {
        let state = self.state();
        Snapshot { in_flight: state.members, left: state.left, takes_more: state.takes_more() && self.is_at_rest() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while held")
    }
}

impl State {
    fn takes_more(&self) -> bool {
        matches!(self.phase, Phase::Open) && self.left > 0 && self.members < REQUESTS_AT_ONCE_MAX
    }

    fn enter(&mut self) -> Place {
        self.members += 1;
        self.left -= 1;
        self.next_member += 1;
        Place { member: self.next_member, last: self.left == 0 }
    }
}

impl Member {
    /// Gives the guest its request.
    pub fn give(&self, call: Call) {
        self.shared.line.push(self.id, call);
    }

    /// Lets the guest work on this and all other requests; ready when it has nothing more to do, or has failed.
    pub fn poll(&self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.shared.wakers.register(self.id, context.waker());
        self.shared.drive();
        if let Phase::Failed(lost) = self.shared.state().phase {
            return Poll::Ready(Err(self.failure(lost)));
        }
        if self.is_idle() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Whether the guest has nothing more to do, for any of its requests.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.shared.line.is_idle()
    }

    /// The request has its whole answer. Whoever is the last in a guest that still works has to stay until it is done.
    ///
    /// # Errors
    /// Gives itself back when it has to stay.
    pub fn leave(mut self) -> Result<(), Self> {
        // The guest may only have to see that its answer was taken.
        self.shared.drive();
        let mut state = self.shared.state();
        // In a retired one, what still works may be for the request that was abandoned, and for nobody.
        if state.members == 1 && matches!(state.phase, Phase::Open) && !self.is_idle() {
            drop(state);
            return Err(self);
        }
        state.members -= 1;
        state.idle_since = Instant::now();
        let idle = state.members == 0 && state.left > 0;
        drop(state);
        self.over = true;
        if idle {
            self.instances.sweep_later();
        }
        Ok(())
    }

    /// Ends the guest if this is the only request in it, so that an answer that it left incomplete breaks off. Whoever
    /// is not alone is woken when it is.
    pub fn end_if_alone(&self) {
        let mut state = self.shared.state();
        if state.members > 1 {
            return;
        }
        state.phase = Phase::Retired;
        drop(state);
        self.instances.remove(&self.shared);
        if let Ok(mut driver) = self.shared.driver.lock() {
            *driver = None;
        }
    }

    fn failure(&self, lost: Lost) -> Failure {
        self.instances.remove(&self.shared);
        match lost {
            Lost::CpuTime(ticket) if self.meter.is_cpu_time_used_up() => Failure::Stopped(ticket),
            Lost::CpuTime(ticket) | Lost::Trapped(ticket) => Failure::Lost(ticket),
            Lost::NoRoom => Failure::NoRoom,
            Lost::Panicked => Failure::Panic,
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if !self.over {
            // The guest would go on with it for nobody: let the others finish, and give the instance up.
            let mut state = self.shared.state();
            state.members -= 1;
            if matches!(state.phase, Phase::Open) {
                state.phase = Phase::Retired;
            }
            drop(state);
            self.instances.remove(&self.shared);
        }
        self.shared.ledger.leave(self.id);
        // It may have been woken for the sake of all.
        self.shared.wakers.leave(self.id);
    }
}
