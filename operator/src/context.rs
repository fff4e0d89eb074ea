//! What all controllers of the operator share.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::runtime::reflector::Store;
use tokio::time::Instant;

use crate::component::Components;
use crate::metrics::Metrics;
use crate::pod::Installation;

/// The name under which the operator applies.
pub const MANAGER: &str = "wisp-operator";
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(300);

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
        patience.reset("a");
        assert!(patience.wait("a") < Duration::from_secs(1));
    }
}
