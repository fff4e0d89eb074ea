//! What the shell saw of one revision.

use std::time::Duration;

use crate::policy::Metric;

/// A start is not overdue before twice this, however short starts usually are: a busy machine delays one by some ten
/// milliseconds, and a second instance for one request would only compete with the first.
const HICCUP: Duration = Duration::from_millis(25);

/// The state of one revision at one time, summed over everyone who reports on it.
/// Between two observations the last one counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// Requests that wait for a slot, over all activators.
    pub waiting: u32,
    /// Requests that an instance is serving.
    pub in_flight: u32,
    /// Requests started per second.
    pub rps: f64,
    /// Busy share summed over the instances: 1.5 is one and a half.
    pub cpu: f64,
    /// Instances that take requests. One that drains is not among them.
    pub ready: u32,
    /// Instances that have been asked for and are not ready yet.
    pub starting: u32,
    /// An activator with waiting requests has yet to hear of an instance that is ready: what it said is out of date.
    pub unannounced: bool,
    /// A reporter that matters is silent, so zero demand may not be true.
    pub out_of_touch: bool,
    /// Of the starts in progress, the one that is furthest beyond what is usual for it.
    pub slowest_start: Option<StartInProgress>,
    /// What a start usually takes from where the next instance would come: a new one takes longer than one that is warm.
    pub usual_start: Duration,
}

/// A start that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartInProgress {
    /// Time since it was asked for.
    pub age: Duration,
    /// What a start of its kind usually takes: a new instance takes longer than one that was warm.
    pub usual: Duration,
}

impl StartInProgress {
    /// How long it may take as a matter of course.
    pub(crate) fn patience(self) -> Duration {
        self.usual.max(HICCUP)
    }

    /// The one of the two that is later: whose age is the larger multiple of its patience.
    #[must_use]
    pub fn slower(self, other: Self) -> Self {
        let [own, others] = [(self.age, other.patience()), (other.age, self.patience())]
            .map(|(age, patience)| age.as_nanos().saturating_mul(patience.as_nanos()));
        if own >= others { self } else { other }
    }
}

impl Observation {
    /// Requests in flight plus requests waiting. It alone says whether a revision is idle, whatever the metric.
    #[must_use]
    pub fn demand(&self) -> u32 {
        self.waiting.saturating_add(self.in_flight)
    }

    /// The value of `metric`. A value that is no number, or negative, counts as zero: reports come from outside.
    pub(crate) fn value(&self, metric: Metric) -> f64 {
        let value = match metric {
            Metric::Concurrency => f64::from(self.demand()),
            Metric::Rps => self.rps,
            Metric::Cpu => self.cpu,
        };
        if value.is_finite() { value.max(0.0) } else { 0.0 }
    }
}
