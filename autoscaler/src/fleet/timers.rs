//! What is to happen later. Only what waits for something has a timer, so that an idle revision costs nothing.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::Name;
use crate::event::StreamId;

/// What a timer is for. Each has at most one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Timer {
    /// A stream that has not said hello.
    Hello(StreamId),
    /// An activator that may have fallen silent.
    Activator(Name),
    /// An instance's deadline in its present state.
    Instance(Name),
    /// A revision's next decision.
    Revision(Name),
    /// The next request for warm instances in place of claimed ones.
    Replace,
    /// The next look at what warm instances hold ready.
    Prepare,
    /// The end of the settle period.
    Settle,
}

/// Timers in the order in which they are due.
#[derive(Debug, Default)]
pub(super) struct Timers {
    order: BTreeSet<(Duration, Timer)>,
    due: HashMap<Timer, Duration>,
}

impl Timers {
    /// Sets, moves or, with `None`, clears a timer.
    pub(super) fn set(&mut self, timer: Timer, at: Option<Duration>) {
        let before = match at {
            Some(at) => self.due.insert(timer.clone(), at),
            None => self.due.remove(&timer),
        };
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.order.remove(&(before, timer.clone()));
        }
        if let Some(at) = at {
            self.order.insert((at, timer));
        }
    }

    /// Sets a timer, or brings it forward.
    pub(super) fn no_later(&mut self, timer: Timer, at: Duration) {
        if self.due.get(&timer).is_none_or(|&due| due > at) {
            self.set(timer, Some(at));
        }
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Duration> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes the next one that is due at `now`.
    pub(super) fn pop(&mut self, now: Duration) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        let (_, timer) = self.order.pop_first()?;
        self.due.remove(&timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_that_was_moved_is_due_once() {
        let mut timers = Timers::default();
        timers.set(Timer::Settle, Some(Duration::from_secs(5)));
        timers.set(Timer::Settle, Some(Duration::from_secs(9)));
        timers.no_later(Timer::Settle, Duration::from_secs(7));
        timers.no_later(Timer::Settle, Duration::from_secs(8));
        assert_eq!(timers.next(), Some(Duration::from_secs(7)));
        assert_eq!(timers.pop(Duration::from_secs(6)), None);
        assert_eq!(timers.pop(Duration::from_secs(7)), Some(Timer::Settle));
        assert_eq!(timers.pop(Duration::from_secs(99)), None);
    }
}
