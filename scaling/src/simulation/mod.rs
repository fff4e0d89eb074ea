//! The same decider against a model of instances, on a trace: what a policy would have done, before anyone deploys.
//!
//! - [`Trace`]: when requests arrive; read from a file or generated.
//! - [`Model`]: how long starts and requests take.
//! - `fleet`: instances that start, serve and drain. `run`: the events in their order.
//! - [`Report`]: replicas over time, cold starts, waits, instance-hours.
//!
//! Time is simulated and randomness is seeded: one seed, one report.

mod fleet;
mod report;
mod run;
mod trace;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use report::{Point, Report, Waits};
pub use run::simulate;
pub use trace::{ARRIVALS_MAX, Phase, Trace, TraceError};

/// How long things take in the simulation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Median time from the decision to an instance that is ready. Single starts take between half and one and a half of it.
    pub start: Duration,
    /// Mean time that an instance works on a request; single ones are distributed exponentially.
    pub service: Duration,
    /// Share of an instance's processors that one request keeps busy, for policies that scale by CPU.
    pub cpu_per_request: f64,
    /// The seed of everything that is random.
    pub seed: u64,
}

impl Default for Model {
    /// A small function on a warm pool: starts in 4 ms, answers in 20 ms.
    fn default() -> Self {
        Self { start: Duration::from_millis(4), service: Duration::from_millis(20), cpu_per_request: 0.01, seed: 1 }
    }
}
