//! The numbers that the fleet goes by, each with its reason.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::actuation::Actuation;
use crate::metrics::Metrics;

/// What [`crate::Autoscaler::build`] needs.
pub struct Config {
    /// The fleet's numbers.
    pub settings: Settings,
    /// To whoever runs instances. Bounded; when it is full, requests wait inside the autoscaler.
    pub actuations: mpsc::Sender<Actuation>,
    /// Registered by the caller.
    pub metrics: Metrics,
}

/// The fleet's numbers. The defaults are for the embedded program.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which instances may connect.
    pub admission: Admission,
    /// Warm instances to ask for. 0: somebody else keeps them.
    pub warm_instances: u32,
    /// Artifacts that each warm instance holds ready.
    pub prepared_max: usize,
    /// Bytes of artifacts that each warm instance holds ready. They are mapped files, shared between instances.
    pub prepared_bytes_max: u64,
    /// What a new instance is taken to need until it is ready, before one was seen to.
    pub fresh_start: Duration,
    /// How long a new instance may take until it connects.
    pub start_deadline: Duration,
    /// How long a claimed instance may take until it is ready.
    pub specialize_deadline: Duration,
    /// How long activators may take to confirm a withdrawal. A host that is told to drain still refuses cleanly, so
    /// that going on without a confirmation costs a retry and no request.
    pub withdrawal_deadline: Duration,
    /// What a draining instance gets beyond its revision's request timeout.
    pub drain_margin: Duration,
    /// How long an instance whose stream broke stays an endpoint.
    pub instance_grace: Duration,
    /// How long a lost activator keeps revisions from going to zero.
    pub activator_grace: Duration,
    /// How long after the start hosts may take to report before anything is scaled down, withdrawn or kept at its
    /// minimum. Zero where no instance can outlive the autoscaler: then an instance of a revision that the catalog does
    /// not have is not wanted.
    pub settle: Duration,
}

/// Which instances may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Those that were announced with `instance_expected`, with the token that was announced.
    Expected,
    /// Whoever the transport lets in.
    Anyone,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            admission: Admission::Expected,
            warm_instances: 2,
            prepared_max: 64,
            prepared_bytes_max: 512 << 20,
            fresh_start: Duration::from_millis(20),
            start_deadline: Duration::from_secs(30),
            specialize_deadline: Duration::from_secs(10),
            withdrawal_deadline: Duration::from_secs(2),
            drain_margin: Duration::from_secs(5),
            instance_grace: Duration::from_secs(10),
            activator_grace: Duration::from_secs(60),
            settle: Duration::ZERO,
        }
    }
}
