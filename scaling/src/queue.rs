//! What the queue asks for, at once and not at the next tick: the wake of a revision without capacity, and more instances
//! when requests go on waiting.

use std::time::Duration;

use crate::observation::{Observation, StartInProgress};
use crate::policy::Policy;

/// Since when requests have waited without a new instance.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    waiting_since: Option<Duration>,
    ready: u32,
}

/// What the queue wants, as a number of instances in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pull {
    /// Nothing waits, or what waits will soon be served by what is there and starting.
    None,
    /// Requests wait and no instance is ready.
    Wake(u32),
    /// Requests go on waiting though instances are ready.
    Growth(u32),
}

impl Pull {
    /// The number of instances in all, or 0.
    pub(crate) fn replicas(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Wake(replicas) | Self::Growth(replicas) => replicas,
        }
    }
}

impl Queue {
    /// Takes in one observation. The wait counts anew when an instance has become ready, and while activators have yet to
    /// hear of it: it is given time to drain the queue.
    pub(crate) fn observe(&mut self, now: Duration, seen: &Observation) {
        let relieved = seen.ready > self.ready || seen.unannounced;
        self.ready = seen.ready;
        if seen.waiting == 0 {
            self.waiting_since = None;
        } else if relieved || self.waiting_since.is_none() {
            self.waiting_since = Some(now);
        }
    }

    /// What the queue asks for at `now`.
    #[must_use]
    pub(crate) fn pull(&self, now: Duration, policy: &Policy, seen: &Observation) -> Pull {
        let Some(since) = self.waiting_since else { return Pull::None };
        let needed = seen.waiting.div_ceil(policy.slots);
        let replacements = overdue_doublings(seen).min(needed);
        if seen.ready == 0 {
            return Pull::Wake(policy.activation.max(needed.saturating_add(replacements)));
        }
        if now.saturating_sub(since) < seen.usual_start {
            return Pull::None;
        }
        Pull::Growth(seen.ready.saturating_add(needed).saturating_add(replacements))
    }

    /// When the pull grows by itself, if nothing else happens.
    #[must_use]
    pub(crate) fn next_due(&self, now: Duration, seen: &Observation) -> Option<Duration> {
        let outlives = self.waiting_since? + seen.usual_start;
        let overdue = seen.slowest_start.map(|start| {
            let doublings = overdue_doublings(seen).min(30);
            let next_age = start.patience().saturating_mul(1 << (doublings + 1));
            now + next_age.saturating_sub(start.age)
        });
        [Some(outlives), overdue].into_iter().flatten().filter(|due| *due > now).min()
    }
}

/// How many times the patience with the slowest start in progress has doubled in its age. Each time, one start more
/// is granted: half of the healthy starts take longer than the typical one, and a start that hangs must not hold the
/// queue up; nor may a slow node make a hundred starts of one.
fn overdue_doublings(seen: &Observation) -> u32 {
    let doublings = |start: StartInProgress| (start.age.as_nanos() / start.patience().as_nanos()).checked_ilog2();
    seen.slowest_start.and_then(doublings).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn seen(waiting: u32, ready: u32, oldest_start: Option<u64>) -> Observation {
        Observation {
            waiting,
            ready,
            slowest_start: oldest_start.map(|age| StartInProgress { age: at(age), usual: at(4) }),
            usual_start: at(4),
            ..Observation::default()
        }
    }

    #[test]
    fn a_wake_asks_for_what_the_queue_needs() {
        // (waiting, slots, activation, age of the oldest start in ms, instances)
        let table = [
            (1, 100, 1, None, 1),
            (1, 100, 3, None, 3),
            (100, 100, 1, None, 1),
            (101, 100, 1, None, 2),
            (5, 1, 1, None, 5),
            (1, 100, 1, Some(49), 1),
            (1, 100, 1, Some(50), 2),
            (1, 100, 1, Some(60_000), 2),
            (5, 1, 1, Some(100), 7),
        ];
        for (waiting, slots, activation, oldest, instances) in table {
            let policy = Policy { slots, activation, ..Policy::default() };
            let seen = seen(waiting, 0, oldest);
            let mut queue = Queue::default();
            queue.observe(at(0), &seen);
            assert_eq!(queue.pull(at(0), &policy, &seen), Pull::Wake(instances), "{waiting} waiting, start {oldest:?}");
        }
    }

    #[test]
    fn the_slowest_start_is_the_one_furthest_beyond_what_is_usual() {
        let start = |age, usual| StartInProgress { age: at(age), usual: at(usual) };
        assert_eq!(start(300, 400).slower(start(50, 10)), start(50, 10));
        assert_eq!(start(50, 10).slower(start(300, 400)), start(50, 10));
        assert_eq!(start(900, 400).slower(start(15, 10)), start(900, 400));
        // A warm start that a busy machine delays hides no new instance that is overdue.
        assert_eq!(start(20, 2).slower(start(900, 400)), start(900, 400));
    }

    #[test]
    fn a_start_is_overdue_by_what_is_usual_for_its_kind() {
        let policy = Policy { slots: 1, ..Policy::default() };
        let fresh = |age| StartInProgress { age: at(age), usual: at(400) };
        let seen = |age| Observation { slowest_start: Some(fresh(age)), ..seen(1, 0, None) };
        let mut queue = Queue::default();
        queue.observe(at(0), &seen(0));
        assert_eq!(queue.pull(at(799), &policy, &seen(799)), Pull::Wake(1));
        assert_eq!(queue.next_due(at(799), &seen(799)), Some(at(800)));
        assert_eq!(queue.pull(at(800), &policy, &seen(800)), Pull::Wake(2));
    }

    #[test]
    fn the_queue_grows_only_when_it_outlives_a_start() {
        let policy = Policy { slots: 1, ..Policy::default() };
        let mut queue = Queue::default();
        queue.observe(at(0), &seen(3, 2, None));
        assert_eq!(queue.pull(at(3), &policy, &seen(3, 2, None)), Pull::None);
        assert_eq!(queue.next_due(at(3), &seen(3, 2, None)), Some(at(4)));
        assert_eq!(queue.pull(at(4), &policy, &seen(3, 2, None)), Pull::Growth(5));
    }

    #[test]
    fn nothing_grows_while_activators_have_yet_to_hear_of_an_instance() {
        let policy = Policy { slots: 1, ..Policy::default() };
        let unannounced = Observation { unannounced: true, ..seen(3, 2, None) };
        let mut queue = Queue::default();
        queue.observe(at(0), &unannounced);
        queue.observe(at(50), &unannounced);
        assert_eq!(queue.pull(at(50), &policy, &unannounced), Pull::None);
        queue.observe(at(51), &seen(3, 2, None));
        assert_eq!(queue.pull(at(54), &policy, &seen(3, 2, None)), Pull::Growth(5));
    }

    #[test]
    fn an_instance_that_became_ready_is_given_time_to_drain_the_queue() {
        let policy = Policy { slots: 1, ..Policy::default() };
        let mut queue = Queue::default();
        queue.observe(at(0), &seen(3, 2, None));
        queue.observe(at(4), &seen(2, 3, None));
        assert_eq!(queue.pull(at(7), &policy, &seen(2, 3, None)), Pull::None);
        assert_eq!(queue.pull(at(8), &policy, &seen(2, 3, None)), Pull::Growth(5));
    }
}
