//! Spacing out starts of a revision that fail.

use std::time::Duration;

/// The first wait after a failure; each further one doubles it. Short, because a start costs milliseconds and a
/// person may be repairing it.
const FAILURE_BASE: Duration = Duration::from_millis(500);

/// The longest wait. A start a minute of something broken costs next to nothing.
const FAILURE_CAP: Duration = Duration::from_secs(60);

/// Ready instances that may crash before their replacement waits.
const CRASHES_FREE: u32 = 3;

/// The first wait after a crash too many. Crashes are the guest's doing on certain requests: others wait for the
/// replacement, so that it must not take long.
const CRASH_BASE: Duration = Duration::from_millis(50);

/// The longest wait after a crash.
const CRASH_CAP: Duration = Duration::from_secs(1);

/// So long without a failure, and all are forgotten.
const FORGET: Duration = Duration::from_secs(120);

/// One start that came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The instance said why it cannot serve the revision: another one would say the same.
    Refused(Answer),
    /// Nothing could be started. A warm instance would still do.
    NoStart(Answer),
    /// The instance vanished before it was ready. The first time it may be the instance's own fault.
    Vanished(Answer),
    /// The instance crashed after it had been ready.
    Crashed,
}

/// What is told to those who wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// A word.
    pub(super) reason: String,
    /// A sentence.
    pub(super) message: String,
}

/// What a revision may start at present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Allowance {
    /// Anything.
    All,
    /// Warm instances may be claimed, but nothing started.
    ClaimsOnly { until: Duration, answer: Answer },
    /// Nothing. Those who wait are answered, where there is an answer.
    Nothing { until: Duration, answer: Option<Answer> },
}

/// A revision's failures.
#[derive(Clone, Debug, Default)]
pub(super) struct BackOff {
    failures: u32,
    crashes: u32,
    last: Duration,
    allowance: Option<Allowance>,
}

impl BackOff {
    /// Counts a failure.
    pub(super) fn record(&mut self, failure: Failure, now: Duration) {
        if now.saturating_sub(self.last) >= FORGET {
            *self = Self::default();
        }
        self.last = now;
        self.allowance = match failure {
            Failure::Crashed => {
                self.crashes += 1;
                let doublings = self.crashes.saturating_sub(CRASHES_FREE + 1);
                let wait = doubled(CRASH_BASE, doublings, CRASH_CAP);
                (self.crashes > CRASHES_FREE).then(|| Allowance::Nothing { until: now + wait, answer: None })
            }
            Failure::NoStart(answer) => Some(Allowance::ClaimsOnly { until: now + self.next_wait(), answer }),
            Failure::Refused(answer) => {
                Some(Allowance::Nothing { until: now + self.next_wait(), answer: Some(answer) })
            }
            Failure::Vanished(answer) => {
                let wait = self.next_wait();
                (self.failures > 1).then(|| Allowance::Nothing { until: now + wait, answer: Some(answer) })
            }
        };
    }

    /// What may be started at `now`.
    pub(super) fn allowance(&self, now: Duration) -> Allowance {
        match &self.allowance {
            Some(Allowance::ClaimsOnly { until, .. } | Allowance::Nothing { until, .. }) if *until <= now => {
                Allowance::All
            }
            Some(allowance) => allowance.clone(),
            None => Allowance::All,
        }
    }

    fn next_wait(&mut self) -> Duration {
        self.failures += 1;
        doubled(FAILURE_BASE, self.failures - 1, FAILURE_CAP)
    }
}

fn doubled(base: Duration, times: u32, cap: Duration) -> Duration {
    base.saturating_mul(1_u32.checked_shl(times.min(20)).unwrap_or(u32::MAX)).min(cap)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Answer {
        Answer { reason: "Broken".into(), message: "it is broken".into() }
    }

    fn until(backoff: &BackOff, now: Duration) -> Option<Duration> {
        match backoff.allowance(now) {
            Allowance::All => None,
            Allowance::ClaimsOnly { until, .. } | Allowance::Nothing { until, .. } => Some(until),
        }
    }

    #[test]
    fn waits_double_up_to_the_cap() {
        let mut backoff = BackOff::default();
        let waits: Vec<u128> = (0..9)
            .map(|_| {
                backoff.record(Failure::Refused(answer()), Duration::ZERO);
                until(&backoff, Duration::ZERO).unwrap().as_millis()
            })
            .collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(backoff.allowance(Duration::from_secs(60)), Allowance::All);
    }

    #[test]
    fn a_vanished_instance_is_replaced_at_once_the_first_time() {
        let mut backoff = BackOff::default();
        backoff.record(Failure::Vanished(answer()), Duration::ZERO);
        assert_eq!(backoff.allowance(Duration::ZERO), Allowance::All);
        backoff.record(Failure::Vanished(answer()), Duration::ZERO);
        assert_eq!(until(&backoff, Duration::ZERO), Some(Duration::from_secs(1)));
    }

    #[test]
    fn crashes_of_ready_instances_never_wait_more_than_a_second() {
        let mut backoff = BackOff::default();
        let waits: Vec<Option<u128>> = (0..10)
            .map(|_| {
                backoff.record(Failure::Crashed, Duration::ZERO);
                until(&backoff, Duration::ZERO).map(|wait| wait.as_millis())
            })
            .collect();
        let slow = [50, 100, 200, 400, 800, 1000, 1000].map(Some);
        assert_eq!(waits, [[None; 3].as_slice(), slow.as_slice()].concat());
    }

    #[test]
    fn failures_of_long_ago_do_not_count() {
        let mut backoff = BackOff::default();
        for _ in 0..9 {
            backoff.record(Failure::Refused(answer()), Duration::ZERO);
        }
        let later = FORGET * 2;
        backoff.record(Failure::Refused(answer()), later);
        assert_eq!(until(&backoff, later), Some(later + FAILURE_BASE));
    }
}
