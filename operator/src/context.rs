//! What all controllers of the operator share.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::runtime::events::Recorder;
use kube::runtime::reflector::Store;
use tokio::time::Instant;

use crate::component::Components;
use crate::functions::Functions;
use crate::known::Known;
use crate::metrics::Metrics;
use crate::pod::Installation;
use crate::surge::Surges;

/// The name under which the operator applies.
pub const MANAGER: &str = "wisp-operator";
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(300);
/// What fails and is deleted is not reset by anybody; beyond this many, those whose pause is over are forgotten.
const FAILING_MAX: usize = 4096;

/// What a reconciliation needs beside its object.
pub struct Context {
    /// Of the API server.
    pub client: Client,
    /// Where the platform lives.
    pub system: String,
    /// What public hosts end in.
    pub domain: String,
    /// What instances have in common.
    pub installation: Installation,
    /// Finds and compiles.
    pub components: Components,
    /// The activators' pods.
    pub activators: Store<Pod>,
    /// All functions.
    pub functions: Arc<Functions>,
    /// Their children, revisions and pods.
    pub known: Known,
    /// Whether the cluster has the Gateway API, as far as is known.
    pub has_http_routes: AtomicBool,
    /// Writes events of Kubernetes.
    pub recorder: Recorder,
    /// Who claimed warm instances lately.
    pub surges: Surges,
    /// Counters.
    pub metrics: Metrics,
    /// Who failed how often in a row.
    pub patience: Patience,
}

/// Why a reconciliation ended early; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused, or could not be asked.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// There is a watch that does not get what it asks for.
    #[error("the {0} of the cluster have not been seen yet; may the operator list and watch them?")]
    Unseen(&'static str),
    /// A child could not be applied.
    #[error(transparent)]
    Apply(#[from] wisp_kubernetes::ApplyError),
}

/// Pauses that grow while something goes on failing.
#[derive(Debug, Default)]
pub struct Patience(Mutex<HashMap<String, Failing>>);

#[derive(Debug)]
struct Failing {
    count: u32,
    until: Instant,
}

impl Patience {
    /// It failed once more: how long to wait.
    pub fn wait(&self, what: &str) -> Duration {
        let mut failing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if failing.len() >= FAILING_MAX {
            failing.retain(|_, found| found.until > now);
        }
        let found = failing.entry(what.to_owned()).or_insert(Failing { count: 0, until: now });
        let wait = FIRST.saturating_mul(1 << found.count.min(10)).min(LONGEST);
        // All that failed at once shall not come back at once.
        let wait = wait.mul_f64(0.8 + 0.4 * f64::from(fastrand::u8(..)) / 255.0);
        *found = Failing { count: found.count + 1, until: now + wait };
        wait
    }

    /// How much of its pause is left, if it has one.
    pub fn left(&self, what: &str) -> Option<Duration> {
        let failing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failing.get(what)?.until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }

    /// Whether it failed and has not gone well since.
    pub fn is_failing(&self, what: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(what)
    }

    /// All that failed and is tried again: how often in a row, and how much of its pause is left.
    pub fn queue(&self) -> Vec<(String, u32, Duration)> {
        let (failing, now) = (self.0.lock().unwrap_or_else(PoisonError::into_inner), Instant::now());
        let entry = |(what, found): (&String, &Failing)| {
            (what.clone(), found.count, found.until.saturating_duration_since(now))
        };
        let mut queue: Vec<_> = failing.iter().map(entry).collect();
        queue.sort_by_key(|(_, _, left)| *left);
        queue
    }

    /// It went well, or is gone.
    pub fn reset(&self, what: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_a_bound_and_begin_anew() {
        let patience = Patience::default();
        let first = patience.wait("a");
        assert!(first < Duration::from_millis(700), "{first:?}");
        assert_eq!(patience.left("a"), Some(first));
        tokio::time::advance(first).await;
        assert_eq!(patience.left("a"), None);
        let last = (0..20).map(|_| patience.wait("a")).last().unwrap();
        assert!(last > LONGEST / 2 && last < LONGEST * 2, "{last:?}");
        assert!(patience.wait("b") < Duration::from_secs(1));
        let queue = patience.queue();
        assert_eq!((queue[0].0.as_str(), queue[0].1, queue[1].1), ("b", 1, 21));
        assert!(patience.is_failing("a"));
        patience.reset("a");
        assert!(!patience.is_failing("a"));
        assert!(patience.wait("a") < Duration::from_secs(1));
    }
}
