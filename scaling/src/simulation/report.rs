//! What a simulation found.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::decision::Reason;

/// The result of one simulation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The seed that makes this report again.
    pub seed: u64,
    /// Requests in the trace.
    pub requests: usize,
    /// Requests answered. All of them, unless the simulation was cut off.
    pub served: usize,
    /// Requests that found no instance ready.
    pub cold_starts: usize,
    /// Instances started.
    pub instances_started: u64,
    /// Each change of the number of instances wanted.
    pub replicas: Vec<Point>,
    /// The highest number of instances wanted.
    pub peak_replicas: u32,
    /// How long requests waited for a slot.
    pub waits: Waits,
    /// Time that all instances existed, together.
    pub instance_hours: f64,
    /// Decisions made.
    pub decisions: usize,
    /// When nothing was left to happen.
    pub end_seconds: f64,
}

/// A change of the number of instances wanted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Point {
    /// When.
    pub at_seconds: f64,
    /// The number from then on.
    pub replicas: u32,
    /// Requests waiting and in flight at that moment.
    pub demand: u32,
    /// Why.
    pub reason: Reason,
}

/// Percentiles of the time that requests waited for a slot, over all requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Waits {
    /// Half of the requests waited no longer.
    pub p50_seconds: f64,
    /// 90 of 100 waited no longer.
    pub p90_seconds: f64,
    /// 99 of 100 waited no longer.
    pub p99_seconds: f64,
    /// The longest.
    pub max_seconds: f64,
}

impl Report {
    /// The number of instances wanted at a time.
    #[must_use]
    pub fn replicas_at(&self, seconds: f64) -> u32 {
        let after = self.replicas.partition_point(|point| point.at_seconds <= seconds);
        after.checked_sub(1).map_or(0, |last| self.replicas[last].replicas)
    }
}

impl Waits {
    /// The percentiles of `waits`, by nearest rank.
    pub(super) fn of(mut waits: Vec<Duration>) -> Self {
        waits.sort_unstable();
        let at = |percent: usize| {
            let rank = (waits.len() * percent).div_ceil(100).max(1);
            waits.get(rank - 1).map_or(0.0, Duration::as_secs_f64)
        };
        Self { p50_seconds: at(50), p90_seconds: at(90), p99_seconds: at(99), max_seconds: at(100) }
    }
}
