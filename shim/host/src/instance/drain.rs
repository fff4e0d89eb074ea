//! The steps of a drain: wait until traffic is withdrawn, until what was sent before is taken, until nothing is in flight.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::metrics::Metrics;
use crate::server::Stop;

/// How long the autoscaler has to withdraw the endpoint. It needs milliseconds; when it is away, activators find out
/// from refused connections, and the pod's grace period must not be used up here.
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_secs(3);
/// Beyond the request timeout, for answers that are being written.
const MARGIN: Duration = Duration::from_secs(2);

/// A drain in progress.
pub(super) enum Drain {
    /// The autoscaler was told; requests still arrive.
    Announced { until: Instant },
    // Announced => Withdrawn
    /// Nobody sends requests any more; what was sent is taken.
    Withdrawn { until: Instant },
    // Withdrawn => Refusing
    /// New requests are refused.
    Refusing { until: Instant },
}

impl Drain {
    pub(super) fn announced(now: Instant) -> Self {
        Self::Announced { until: now + ACKNOWLEDGE_WITHIN }
    }

    /// `deadline_millis` of 0 leaves requests their `timeout`.
    pub(super) fn withdrawn(now: Instant, deadline_millis: u64, timeout: Option<Duration>) -> Self {
        let wait = match deadline_millis {
            0 => timeout.unwrap_or_default() + MARGIN,
            millis => Duration::from_millis(millis),
        };
        Self::Withdrawn { until: now + wait }
    }

    /// Waits until this step is over: nobody acknowledged in time, all that was sent is taken, nothing is in flight, or
    /// the deadline has passed.
    pub(super) async fn step(&self, metrics: &Metrics, stop: &Stop) {
        match *self {
            Self::Announced { until } => sleep_until(until).await,
            Self::Withdrawn { until } => tokio::select! {
                () = stop.settled.cancelled() => {}
                () = sleep_until(until) => {}
            },
            Self::Refusing { until } => tokio::select! {
                () = metrics.edge(true) => {}
                () = sleep_until(until) => {}
            },
        }
    }
}
