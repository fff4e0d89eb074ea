//! Counters of the whole activator. What concerns one function is in the snapshot: a label for each would be too many.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::respond::Refusal;

/// From half a millisecond, about what a start takes, to half a minute, the usual timeout.
const WAIT_SECONDS: [f64; 15] =
    [0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// An instance answered, and not with a server error.
    Answered,
    /// An instance answered with a server error.
    InstanceError,
    /// The activator answered; the word is that of its answer.
    Refused(&'static str),
}

/// Counters, gauges and histograms.
#[derive(Debug)]
pub(crate) struct Metrics {
    requests: Family<OutcomeLabel, Counter>,
    /// Kept apart from the family, whose look-up takes a lock.
    answered: Counter,
    /// Seconds in line, of requests that had to wait.
    pub queue_wait: Histogram,
    /// Seconds of that for which an instance was starting.
    pub start_wait: Histogram,
    /// Attempts beyond the first.
    pub retries: Counter,
    /// Client connections now.
    pub connections: Gauge,
    /// Client connections that were closed at once because there were too many.
    pub connections_refused: Counter,
    /// Wakes sent, repeated ones included.
    pub wakes: Counter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: Outcome,
}

impl Metrics {
    /// Metrics that `registry` shows.
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("wisp_activator");
        let requests = Family::<OutcomeLabel, Counter>::default();
        let answered = requests.get_or_create(&OutcomeLabel { outcome: Outcome::Answered }).clone();
        let metrics = Self {
            requests,
            answered,
            queue_wait: Histogram::new(WAIT_SECONDS),
            start_wait: Histogram::new(WAIT_SECONDS),
            retries: Counter::default(),
            connections: Gauge::default(),
            connections_refused: Counter::default(),
            wakes: Counter::default(),
        };
        registry.register("requests", "Requests by what became of them", metrics.requests.clone());
        registry.register(
            "queue_wait_seconds",
            "Time in line of requests that had to wait",
            metrics.queue_wait.clone(),
        );
        registry.register("start_wait_seconds", "Time waited for an instance to start", metrics.start_wait.clone());
        registry.register("retries", "Attempts at another instance", metrics.retries.clone());
        registry.register("connections", "Client connections now", metrics.connections.clone());
        registry.register(
            "connections_refused",
            "Client connections closed because there were too many",
            metrics.connections_refused.clone(),
        );
        registry.register("wakes", "Wakes sent, repeated ones included", metrics.wakes.clone());
        metrics
    }

    pub(crate) fn count(&self, outcome: Outcome) {
        if outcome == Outcome::Answered {
            self.answered.inc();
            return;
        }
        self.requests.get_or_create(&OutcomeLabel { outcome }).inc();
    }
}

impl From<&Refusal> for Outcome {
    fn from(refusal: &Refusal) -> Self {
        Self::Refused(refusal.word())
    }
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let word = match self {
            Self::Answered => "answered",
            Self::InstanceError => "instance-error",
            Self::Refused(word) => word,
        };
        word.encode(encoder)
    }
}
