//! When to report: at once on the edges of "in flight", every so often while busy, and rarely as a sign of life.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use wisp_api::wire::{HEARTBEAT_PERIOD, InstanceReport, REPORT_PERIOD};

use crate::metrics::Metrics;

/// Between two reports of edges: one client with short requests makes thousands of edges a second.
const GAP: Duration = Duration::from_millis(10);

pub(super) struct Reporter {
    metrics: Arc<Metrics>,
    reported: Instant,
    /// What the last report said.
    busy: bool,
}

impl Reporter {
    pub(super) fn new(metrics: Arc<Metrics>, now: Instant) -> Self {
        Self { metrics, reported: now, busy: false }
    }

    /// Waits until the next report is due. Nothing is lost when the wait is abandoned.
    pub(super) async fn due(&self) {
        let period = if self.busy { REPORT_PERIOD } else { HEARTBEAT_PERIOD };
        sleep_until(self.reported + GAP).await;
        tokio::select! {
            () = self.metrics.edge(self.busy) => {}
            () = sleep_until(self.reported + period) => {}
        }
    }

    pub(super) fn report(&mut self, now: Instant) -> InstanceReport {
        let report = self.metrics.report();
        self.busy = report.in_flight > 0;
        self.reported = now;
        report
    }
}
