//! Who pays for what a shared wasm instance computes.
//!
//! A request that is alone in it pays for every poll, as elsewhere. Among several it is seen at each tick of the epoch
//! who computes, and that one pays for the time since the last look; what is between is paid by all alike. So whoever
//! computes for long pays for it, and whoever waits does not.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;
use wasmtime::component::GuestTaskId;

use crate::meter::{CpuTimeExceeded, Meter};

/// Requests that are answered, but whose guest task may still run, as long as the guest is never without work.
const FINISHED_MAX: usize = 64;

/// The accounts of one wasm instance.
pub struct Ledger {
    accounts: Mutex<Accounts>,
    /// The guest is being polled, or the last poll ended in the middle of a computation.
    computing: AtomicBool,
    /// It was seen computing in this poll.
    ticked: AtomicBool,
}

struct Accounts {
    /// Everything before this is paid.
    paid_until: Instant,
    /// Oldest first.
    of: Vec<Account>,
}

struct Account {
    member: u64,
    task: Option<GuestTaskId>,
    meter: Arc<Meter>,
    finished: bool,
}

impl Ledger {
    /// Without accounts.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let accounts = Mutex::new(Accounts { paid_until: now, of: Vec::new() });
        Self { accounts, computing: AtomicBool::new(false), ticked: AtomicBool::new(false) }
    }

    pub(super) fn enter(&self, member: u64, meter: Arc<Meter>) {
        self.accounts().of.push(Account { member, task: None, meter, finished: false });
    }

    /// The guest works on a member's request in `task`.
    pub(super) fn begins(&self, member: u64, task: GuestTaskId) {
        if let Some(account) = self.accounts().of.iter_mut().find(|account| account.member == member) {
            account.task = Some(task);
        }
    }

    /// A member is gone; it still pays for what its task goes on to do.
    pub(super) fn leave(&self, member: u64) {
        let mut accounts = self.accounts();
        if let Some(account) = accounts.of.iter_mut().find(|account| account.member == member) {
            account.finished = true;
        }
        if accounts.of.iter().filter(|account| account.finished).count() > FINISHED_MAX
            && let Some(oldest) = accounts.of.iter().position(|account| account.finished)
        {
            accounts.of.remove(oldest);
        }
    }

    /// The guest has no task left.
    pub(super) fn settle(&self) {
        self.accounts().of.retain(|account| !account.finished);
    }

    pub(super) fn is_computing(&self) -> bool {
        self.computing.load(SeqCst)
    }

    pub(super) fn poll_begins(&self, now: Instant) {
        self.computing.store(true, SeqCst);
        self.ticked.store(false, SeqCst);
        self.accounts().paid_until = now;
    }

    /// Called from inside a poll, while `task` computes: may it go on?
    ///
    /// # Errors
    /// When the CPU time of its request is used up.
    pub fn tick(&self, task: Option<GuestTaskId>, now: Instant) -> Result<(), CpuTimeExceeded> {
        self.ticked.store(true, SeqCst);
        let mut accounts = self.accounts();
        let took = accounts.paid_until(now);
        // Before a task is known the guest is being made, for the first; afterwards it is the work of one long gone.
        let account = accounts.of.iter().find(|account| account.task == task).or(accounts.of.first());
        account.map_or(Ok(()), |account| account.meter.charge(took))
    }

    pub(super) fn poll_ends(&self, now: Instant) {
        self.computing.store(self.ticked.load(SeqCst), SeqCst);
        let mut accounts = self.accounts();
        let took = accounts.paid_until(now);
        let present = || accounts.of.iter().filter(|account| !account.finished);
        let Ok(count @ 1..) = u32::try_from(present().count()) else { return };
        for account in present() {
            // Too much is noticed at the next tick.
            let _ = account.meter.charge(took / count);
        }
    }

    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().expect("no panic while held")
    }
}

impl Accounts {
    fn paid_until(&mut self, now: Instant) -> Duration {
        now.saturating_duration_since(std::mem::replace(&mut self.paid_until, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_alone_pays_all_and_several_share_what_nobody_saw() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let meters = [(); 2].map(|()| Arc::new(Meter::new(start, Duration::from_millis(20))));
        let used = || meters.each_ref().map(|meter| meter.cpu_time().as_millis());
        let ledger = Ledger::new(start);
        ledger.enter(0, Arc::clone(&meters[0]));
        ledger.poll_begins(at(100));
        ledger.poll_ends(at(110));
        assert_eq!(used(), [10, 0]);
        ledger.enter(1, Arc::clone(&meters[1]));
        ledger.poll_begins(at(200));
        ledger.poll_ends(at(204));
        assert_eq!(used(), [12, 2]);
        assert!(!ledger.is_computing());
        // Nobody's task: the oldest pays.
        ledger.poll_begins(at(300));
        assert!(ledger.tick(None, at(307)).is_ok());
        assert!(ledger.is_computing() && ledger.tick(None, at(308)).is_err());
        assert_eq!(used(), [20, 2]);
        assert!(meters[0].is_cpu_time_used_up() && !meters[1].is_cpu_time_used_up());
    }

    #[test]
    fn accounts_of_those_who_left_are_bounded_and_settled() {
        let now = Instant::now();
        let ledger = Ledger::new(now);
        for member in 0..1000 {
            ledger.enter(member, Arc::new(Meter::new(now, Duration::from_secs(1))));
            ledger.leave(member);
        }
        assert_eq!(ledger.accounts().of.len(), FINISHED_MAX);
        ledger.settle();
        assert!(ledger.accounts().of.is_empty());
    }
}
