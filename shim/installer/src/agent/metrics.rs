//! Counters of the agent.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::EncodeLabelValue;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::ledger::Ledger;

/// From a small artifact next door to a large one over a slow network.
const FETCH_SECONDS: [f64; 8] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0];

/// Counters of the agent.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    artifacts: Gauge,
    artifact_bytes: Gauge,
    missing: Gauge,
    fetches: Family<ResultLabel, Counter>,
    fetch_seconds: Histogram,
    removed: Counter,
    watch_failures: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: FetchResult,
}

/// How a fetch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
enum FetchResult {
    Fetched,
    Failed,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            artifacts: Gauge::default(),
            artifact_bytes: Gauge::default(),
            missing: Gauge::default(),
            fetches: Family::default(),
            fetch_seconds: Histogram::new(FETCH_SECONDS),
            removed: Counter::default(),
            watch_failures: Counter::default(),
        };
        let registry = registry.sub_registry_with_prefix("wisp_node");
        registry.register("artifacts", "Artifacts on this node", metrics.artifacts.clone());
        registry.register_with_unit("artifact", "Their size", Unit::Bytes, metrics.artifact_bytes.clone());
        registry.register(
            "artifacts_missing",
            "Artifacts that revisions name and this node lacks",
            metrics.missing.clone(),
        );
        registry.register("fetches", "Artifacts asked of the operator, by result", metrics.fetches.clone());
        let help = "Time from asking until the artifact is on disk";
        registry.register_with_unit("fetch", help, Unit::Seconds, metrics.fetch_seconds.clone());
        registry.register("removed", "Artifacts removed because no revision names them", metrics.removed.clone());
        registry.register("watch_failures", "Failed lists and watches of revisions", metrics.watch_failures.clone());
        metrics
    }

    pub(crate) fn fetched(&self, took: Duration) {
        self.fetches.get_or_create(&ResultLabel { result: FetchResult::Fetched }).inc();
        self.fetch_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn failed(&self) {
        self.fetches.get_or_create(&ResultLabel { result: FetchResult::Failed }).inc();
    }

    pub(crate) fn removed(&self) {
        self.removed.inc();
    }

    pub(crate) fn watch_failed(&self) {
        self.watch_failures.inc();
    }

    pub(crate) fn show(&self, ledger: &Ledger) {
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.artifacts.set(gauge(ledger.present().len() as u64));
        self.artifact_bytes.set(gauge(ledger.present().values().sum()));
        self.missing.set(gauge(ledger.missing().count() as u64));
    }
}
