//! Wakes that are open: one for each revision that has requests waiting and no capacity, repeated while that lasts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use wisp_chassis::backoff::Backoff;

use crate::revision::Revision;

/// The first repetition. Starts take milliseconds, so that by then either a message or an instance was lost.
const REPEAT_FIRST: Duration = Duration::from_millis(500);
/// The longest wait between repetitions: a new leader must hear of it soon, by the full report at the latest.
const REPEAT_CAP: Duration = Duration::from_secs(5);

/// The open wakes.
#[derive(Debug, Default)]
pub(crate) struct Wakes {
    open: HashMap<Box<str>, Open>,
}

#[derive(Debug)]
struct Open {
    revision: Arc<Revision>,
    repeat_at: Instant,
    backoff: Backoff,
}

/// Whether a wake was open already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// It was not: send it.
    New,
    /// It was: it will be repeated in time.
    Before,
}

impl Wakes {
    /// A request waits where there is no capacity.
    pub(crate) fn open(&mut self, revision: &Arc<Revision>, now: Instant) -> Opened {
        if self.open.contains_key(&revision.name) {
            return Opened::Before;
        }
        let mut backoff = Backoff::new(REPEAT_FIRST, REPEAT_CAP);
        let repeat_at = now + backoff.wait();
        self.open.insert(revision.name.clone(), Open { revision: Arc::clone(revision), repeat_at, backoff });
        Opened::New
    }

    /// Closes those whose revision has capacity again, or nobody who waits.
    pub(crate) fn close_served(&mut self) {
        self.open.retain(|_, open| open.revision.wants_wake());
    }

    /// The same for one revision.
    pub(crate) fn close_if_served(&mut self, revision: &Revision) {
        if !self.open.is_empty() && !revision.wants_wake() {
            self.open.remove(&revision.name);
        }
    }

    /// Those to be repeated now.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Arc<Revision>> {
        let due = self.open.values_mut().filter(|open| open.repeat_at <= now);
        due.map(|open| {
            open.repeat_at = now + open.backoff.wait();
            Arc::clone(&open.revision)
        })
        .collect()
    }

    /// All that are open.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Revision>> {
        self.open.values().map(|open| &open.revision)
    }

    /// When the next repetition is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.open.values().map(|open| open.repeat_at).min()
    }
}
