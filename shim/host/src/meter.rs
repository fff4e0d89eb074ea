//! What one request has used so far. Shared by whoever drives the guest and by the hooks inside its store.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

/// The guest computed for longer than its revision allows.
#[derive(Debug, thiserror::Error)]
#[error("the request used more than its CPU time of {} ms; raise limits.cpuTime or do less per request", .0.as_millis())]
pub struct CpuTimeExceeded(pub Duration);

/// Counters of one request.
///
/// CPU time is the time spent polling the guest's future: the guest computes nowhere else, and asking the kernel for the
/// thread's CPU time would cost a system call at each poll. On a crowded machine it errs against the guest.
pub struct Meter {
    origin: Instant,
    cpu_time_max: Duration,
    polled_nanos: AtomicU64,
    /// When the poll that runs now began, in nanoseconds after `origin`.
    poll_began_nanos: AtomicU64,
    body_too_large: AtomicBool,
    instantiate_nanos: AtomicU64,
}

impl Meter {
    /// A meter for a request that begins at `now`.
    #[must_use]
    pub fn new(now: Instant, cpu_time_max: Duration) -> Self {
        Self {
            origin: now,
            cpu_time_max,
            polled_nanos: AtomicU64::new(0),
            poll_began_nanos: AtomicU64::new(0),
            body_too_large: AtomicBool::new(false),
            instantiate_nanos: AtomicU64::new(0),
        }
    }

    /// When the request began.
    #[must_use]
    pub fn origin(&self) -> Instant {
        self.origin
    }

    /// The guest is polled from `now` on.
    pub fn poll_begins(&self, now: Instant) {
        self.poll_began_nanos.store(self.nanos_at(now), Relaxed);
    }

    /// The poll that began last ends at `now`.
    pub fn poll_ends(&self, now: Instant) {
        let nanos = self.nanos_at(now).saturating_sub(self.poll_began_nanos.load(Relaxed));
        self.polled_nanos.fetch_add(nanos, Relaxed);
    }

    /// CPU time of all polls that ended.
    #[must_use]
    pub fn cpu_time(&self) -> Duration {
        Duration::from_nanos(self.polled_nanos.load(Relaxed))
    }

    /// Asked from inside a poll: may the guest go on?
    ///
    /// # Errors
    /// When its CPU time is used up.
    pub fn check_cpu_time(&self, now: Instant) -> Result<(), CpuTimeExceeded> {
        let this_poll = self.nanos_at(now).saturating_sub(self.poll_began_nanos.load(Relaxed));
        let used = self.cpu_time() + Duration::from_nanos(this_poll);
        if used < self.cpu_time_max { Ok(()) } else { Err(CpuTimeExceeded(self.cpu_time_max)) }
    }

    /// The guest computed for `took` outside of polls that are this request's alone.
    ///
    /// # Errors
    /// When its CPU time is used up.
    pub fn charge(&self, took: Duration) -> Result<(), CpuTimeExceeded> {
        self.polled_nanos.fetch_add(nanos(took), Relaxed);
        if self.is_cpu_time_used_up() { Err(CpuTimeExceeded(self.cpu_time_max)) } else { Ok(()) }
    }

    /// Whether the polls that ended have used all of its CPU time.
    #[must_use]
    pub fn is_cpu_time_used_up(&self) -> bool {
        self.cpu_time() >= self.cpu_time_max
    }

    /// The request's body turned out to be larger than allowed.
    pub fn set_body_too_large(&self) {
        self.body_too_large.store(true, Relaxed);
    }

    /// Whether the request's body turned out to be too large.
    #[must_use]
    pub fn is_body_too_large(&self) -> bool {
        self.body_too_large.load(Relaxed)
    }

    /// Making the wasm instance took this long.
    pub fn set_instantiate(&self, took: Duration) {
        self.instantiate_nanos.store(nanos(took), Relaxed);
    }

    /// How long it took to make the wasm instance; zero when one was reused.
    #[must_use]
    pub fn instantiate(&self) -> Duration {
        Duration::from_nanos(self.instantiate_nanos.load(Relaxed))
    }

    fn nanos_at(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.origin))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_time_in_polls_counts() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let meter = Meter::new(start, Duration::from_millis(10));
        meter.poll_begins(at(100));
        meter.poll_ends(at(106));
        meter.poll_begins(at(900));
        assert!(meter.check_cpu_time(at(903)).is_ok());
        assert!(meter.check_cpu_time(at(904)).is_err());
        meter.poll_ends(at(904));
        assert_eq!(meter.cpu_time(), Duration::from_millis(10));
    }
}
