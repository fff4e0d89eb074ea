//! What requests and the driver of a shared wasm instance tell one another.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use futures::task::AtomicWaker;

use crate::guest::Call;

/// Calls on their way to the driver, and how the guest is.
#[derive(Default)]
pub(super) struct Line {
    inner: Mutex<Inner>,
    /// The driver, when it waits for a call.
    driver: AtomicWaker,
}

#[derive(Default)]
struct Inner {
    calls: VecDeque<(u64, Call)>,
    /// The guest has been made, and does not ask for fewer requests.
    ready: bool,
    /// It has nothing to do.
    idle: bool,
}

impl Line {
    /// A member's call.
    pub(super) fn push(&self, member: u64, call: Call) {
        let mut inner = self.inner();
        inner.calls.push_back((member, call));
        inner.idle = false;
        drop(inner);
        self.driver.wake();
    }

    /// The driver takes the next call.
    pub(super) fn pop(&self) -> Option<(u64, Call)> {
        self.inner().calls.pop_front()
    }

    /// The driver waits.
    pub(super) fn register(&self, driver: &std::task::Waker) {
        self.driver.register(driver);
    }

    /// The driver says how the guest is.
    pub(super) fn tell(&self, ready: bool, idle: bool) {
        let mut inner = self.inner();
        inner.ready = ready;
        inner.idle = idle && inner.calls.is_empty();
    }

    /// A call is about to come; until the driver has seen it, no other is wanted.
    pub(super) fn expect(&self) {
        self.inner().ready = false;
    }

    /// Whether a call would be taken at once.
    pub(super) fn accepts(&self) -> bool {
        let inner = self.inner();
        inner.ready && inner.calls.is_empty()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.inner().idle
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic while held")
    }
}
