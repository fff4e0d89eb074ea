//! What the autoscaler shows of itself: the fleet now, the decisions of a revision, the starts so far.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use wisp_scaling::{Decision, Reason};

use crate::catalog::Traffic;
use crate::event::{ColdStart, InstanceState, StartKind};

/// Upper bounds of the cold start buckets, in microseconds: 0.5 ms to 10 s, dense where the promises are.
pub(crate) const COLD_START_MICROS: [u64; 14] = [
    500, 1_000, 2_000, 3_000, 5_000, 8_000, 12_000, 20_000, 50_000, 100_000, 250_000, 1_000_000, 3_000_000, 10_000_000,
];

/// The whole fleet at one time.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// When it was taken.
    pub unix_millis: u64,
    /// True while hosts have yet to report after a start.
    pub settling: bool,
    /// Warm instances that nobody has claimed.
    pub warm: usize,
    /// Activators that are connected.
    pub activators: usize,
    /// How long starts took.
    pub cold_starts: ColdStarts,
    /// By name.
    pub revisions: Vec<RevisionView>,
    /// By name.
    pub instances: Vec<InstanceView>,
}

/// One revision.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RevisionView {
    /// `<namespace>/<name>`.
    pub revision: String,
    /// Whether a route leads to it.
    pub traffic: Traffic,
    /// The number that was decided.
    pub wanted: u32,
    /// Why; `None` before the first decision.
    pub reason: Option<Reason>,
    /// Instances that are endpoints.
    pub ready: u32,
    /// Instances on their way.
    pub starting: u32,
    /// Instances on their way out.
    pub draining: usize,
    /// Requests that wait.
    pub waiting: u32,
    /// Requests in flight.
    pub in_flight: u32,
    /// Requests per second.
    pub rps: f64,
}

/// One instance.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceView {
    /// Its name.
    pub instance: String,
    /// Where it is in its life.
    pub state: InstanceState,
    /// Whether its stream is up.
    pub connected: bool,
    /// Its revision, once it has one.
    pub revision: Option<String>,
    /// Where it serves requests.
    pub address: String,
    /// Requests at once.
    pub slots: u32,
    /// Requests in flight, by its own account.
    pub in_flight: u32,
    /// Artifacts that it holds ready.
    pub prepared: usize,
    /// Since it was first heard of.
    #[serde(rename = "ageMillis", serialize_with = "as_millis")]
    pub age: Duration,
}

/// One decision, with all that went into it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explained {
    /// When.
    pub unix_millis: u64,
    /// The number before.
    pub from: u32,
    /// The number, the reason, the inputs and each step.
    #[serde(flatten)]
    pub decision: Decision,
}

/// How long starts took, by where the instance came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ColdStarts {
    /// Of warm instances that had the code prepared.
    pub prepared: DurationCounts,
    /// Of warm instances that had to load it.
    pub warm: DurationCounts,
    /// Of new instances.
    pub fresh: DurationCounts,
}

/// How many durations fell into each bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DurationCounts {
    /// Upper bounds, in microseconds. What is longer than the last is only in `count`.
    pub bounds_micros: [u64; COLD_START_MICROS.len()],
    /// In each bucket, not cumulative.
    pub counts: [u64; COLD_START_MICROS.len()],
    /// In all.
    pub count: u64,
    /// Their sum.
    pub sum_micros: u64,
}

impl ColdStarts {
    pub(crate) fn record(&mut self, cold_start: &ColdStart) {
        let counts = match cold_start.start {
            StartKind::Prepared => &mut self.prepared,
            StartKind::Warm => &mut self.warm,
            StartKind::Fresh => &mut self.fresh,
        };
        counts.record(cold_start.total);
    }
}

impl DurationCounts {
    fn record(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.count += 1;
        self.sum_micros = self.sum_micros.saturating_add(micros);
        if let Some(bucket) = self.bounds_micros.iter().position(|bound| micros <= *bound) {
            self.counts[bucket] += 1;
        }
    }
}

impl Default for DurationCounts {
    fn default() -> Self {
        let counts = [0; COLD_START_MICROS.len()];
        Self { bounds_micros: COLD_START_MICROS, counts, count: 0, sum_micros: 0 }
    }
}

fn as_millis<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
