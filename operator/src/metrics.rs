//! What the operator counts.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Counters of the controllers.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    reconciled: Family<Of, Counter>,
    children_applied: Counter,
    pods_created: Counter,
    pods_deleted: Counter,
}

/// How a reconciliation went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Outcome {
    /// It ended.
    Done,
    /// It is tried again.
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    kind: Kind,
    outcome: Outcome,
}

/// Whose controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Kind {
    /// Functions.
    Function,
    /// Revisions.
    Revision,
    /// Warm pools.
    Pool,
    /// NetworkPolicies.
    Policy,
}

impl Metrics {
    /// Registers all of them.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("wisp_operator_reconciled", "Objects looked at", metrics.reconciled.clone());
        let applied = metrics.children_applied.clone();
        registry.register(
            "wisp_operator_children_applied",
            "Services, endpoints, Ingresses and policies written",
            applied,
        );
        registry.register("wisp_operator_pods_created", "Pods created", metrics.pods_created.clone());
        registry.register("wisp_operator_pods_deleted", "Pods deleted", metrics.pods_deleted.clone());
        metrics
    }

    pub(crate) fn reconciled(&self, kind: Kind, outcome: Outcome) {
        self.reconciled.get_or_create(&Of { kind, outcome }).inc();
    }

    pub(crate) fn child_applied(&self) {
        self.children_applied.inc();
    }

    pub(crate) fn pods_created(&self, count: usize) {
        self.pods_created.inc_by(count as u64);
    }

    pub(crate) fn pod_deleted(&self) {
        self.pods_deleted.inc();
    }
}
