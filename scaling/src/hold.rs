//! What keeps a number up for some time: the highest of what was wanted within the scale-down delay, and what a restart found.

use std::collections::VecDeque;
use std::time::Duration;

/// Entries of a [`Peak`]. More distinct falling numbers within one span merge with the newest, which then stays a little longer.
const ENTRIES_MAX: usize = 32;

/// The highest of what was wanted in the last while.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peak {
    /// When each number was last wanted; the numbers fall from front to back, because a lower one before a higher one
    /// can never be the highest again.
    entries: VecDeque<(Duration, u32)>,
}

impl Peak {
    /// Adds what is wanted at `now`, and gives the highest of the last `span`.
    pub(crate) fn push(&mut self, now: Duration, wanted: u32, span: Duration) -> u32 {
        if span.is_zero() {
            self.clear();
            return wanted;
        }
        while self.entries.back().is_some_and(|(_, lower)| *lower <= wanted) {
            self.entries.pop_back();
        }
        if self.entries.len() < ENTRIES_MAX {
            self.entries.push_back((now, wanted));
        } else if let Some(newest) = self.entries.back_mut() {
            newest.0 = now;
        }
        while self.entries.front().is_some_and(|(at, _)| *at + span < now) {
            self.entries.pop_front();
        }
        self.entries.front().map_or(wanted, |(_, highest)| *highest)
    }

    /// Forgets everything and frees the memory.
    pub(crate) fn clear(&mut self) {
        self.entries = VecDeque::new();
    }

    /// Memory beside the struct itself.
    #[cfg(test)]
    pub(crate) fn heap_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<(Duration, u32)>()
    }

    /// When the highest number leaves, if a lower one was wanted after it.
    #[must_use]
    pub(crate) fn falls_at(&self, span: Duration) -> Option<Duration> {
        // One nanosecond more, because at the end of its span a number still counts.
        (self.entries.len() > 1).then(|| self.entries[0].0 + span + Duration::from_nanos(1))
    }
}

/// What the first observation found running: a restarted autoscaler knows no averages, and must not shrink for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inherited {
    /// Instances that were ready.
    pub(crate) replicas: u32,
    /// Until when they stay: one stable window.
    pub(crate) until: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_highest_number_stays_for_the_span() {
        let mut peak = Peak::default();
        let wanted = [(0, 4), (2, 9), (4, 3), (8, 1), (12, 1), (13, 1), (15, 1), (20, 1)];
        let held: Vec<u32> = wanted.iter().map(|&(time, wanted)| peak.push(at(time), wanted, at(10))).collect();
        assert_eq!(held, [4, 9, 9, 9, 9, 3, 1, 1]);
    }

    #[test]
    fn its_memory_is_bounded() {
        let mut peak = Peak::default();
        for step in 0..10_000_u32 {
            assert_eq!(peak.push(at(u64::from(step)), 20_000 - step, at(20_000)), 20_000);
        }
        assert_eq!(peak.entries.len(), ENTRIES_MAX);
    }
}
