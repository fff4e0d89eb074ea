//! How much of a guest's output is written, and when it is said that some was not.

use std::time::Duration;

use tokio::time::Instant;

/// A line of 200 bytes for each of five thousand requests a second. A function that writes more fills the node's disk
/// faster than logs are rotated: kubelets look every ten seconds and keep ten mebibytes.
pub(super) const BYTES_PER_PERIOD_MAX: u64 = 1 << 20;
/// What is dropped is said once in this time.
pub(super) const PERIOD: Duration = Duration::from_secs(1);

/// Bytes that may still be written in the present period.
pub(super) struct Allowance {
    began: Instant,
    left: u64,
}

/// What was not written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    pub(super) lines: u64,
    pub(super) bytes: u64,
}

/// What of it was said.
#[derive(Default)]
pub(super) struct Said {
    dropped: Dropped,
    at: Option<Instant>,
}

impl Allowance {
    pub(super) fn new(now: Instant) -> Self {
        Self { began: now, left: BYTES_PER_PERIOD_MAX }
    }

    /// Whether a line of `bytes` may be written; if so, it counts.
    pub(super) fn admits(&mut self, bytes: u64, now: Instant) -> bool {
        if now.saturating_duration_since(self.began) >= PERIOD {
            *self = Self::new(now);
        }
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                true
            }
            // Nor is anything after it: who reads a log wants to see where it has a hole.
            None => {
                self.left = 0;
                false
            }
        }
    }
}

impl Said {
    /// What has to be said of `dropped`, the sum since the start.
    pub(super) fn due(&mut self, dropped: Dropped, now: Instant) -> Option<Dropped> {
        let early = self.at.is_some_and(|at| now.saturating_duration_since(at) < PERIOD);
        if early || !self.lacks(dropped) {
            return None;
        }
        let said = std::mem::replace(&mut self.dropped, dropped);
        self.at = Some(now);
        Some(Dropped { lines: dropped.lines - said.lines, bytes: dropped.bytes - said.bytes })
    }

    /// Whether something of `dropped` was not said yet.
    pub(super) fn lacks(&self, dropped: Dropped) -> bool {
        self.dropped != dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_has_its_bytes_and_the_next_one_has_them_again() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        assert!(allowance.admits(BYTES_PER_PERIOD_MAX - 10, start));
        assert!(!allowance.admits(11, start));
        assert!(!allowance.admits(1, start + PERIOD / 2));
        assert!(allowance.admits(BYTES_PER_PERIOD_MAX, start + PERIOD));
        assert!(!allowance.admits(1, start + PERIOD));
    }

    #[test]
    fn what_is_dropped_is_said_once_in_a_period_and_nothing_is_left_out() {
        let start = Instant::now();
        let dropped = |lines| Dropped { lines, bytes: lines * 100 };
        let mut said = Said::default();
        assert_eq!(said.due(Dropped::default(), start), None);
        assert_eq!(said.due(dropped(1), start), Some(dropped(1)));
        assert_eq!(said.due(dropped(5), start + PERIOD / 2), None);
        assert!(said.lacks(dropped(5)));
        assert_eq!(said.due(dropped(7), start + PERIOD), Some(dropped(6)));
        assert!(!said.lacks(dropped(7)));
        assert_eq!(said.due(dropped(7), start + PERIOD * 9), None);
    }
}
