//! Waits until the operator has put a function's spec into effect.

use std::time::Duration;

use anyhow::{bail, ensure};
use futures::StreamExt;
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use wisp_api::status::Reason;
use wisp_api::{FunctionKey, WasmFunction};

use super::{Cluster, objects};
use crate::view::Ready;

/// How far a function is.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    /// It serves by its present spec.
    Done,
    /// It is worked on, or may be well without a change of the function.
    Waits(String),
    /// It stays as it is until the function changes.
    Failed(String),
}

impl Cluster {
    /// Waits until a function serves by its present spec, and calls `tell` with each step on the way.
    ///
    /// # Errors
    /// When it cannot, with what to do; when it takes longer than `patience`; when it is deleted.
    pub(crate) async fn until_ready(
        &self,
        key: &FunctionKey,
        patience: Duration,
        mut tell: impl FnMut(&str),
    ) -> anyhow::Result<WasmFunction> {
        let api: Api<WasmFunction> = self.functions(key);
        let mut changes = std::pin::pin!(watch_object(api, &key.name).default_backoff());
        let mut last = "nothing is known of it yet".to_owned();
        let waiting = async {
            while let Some(change) = changes.next().await {
                let function = match change {
                    Ok(Some(function)) => function,
                    Ok(None) => bail!("{key} was deleted"),
                    // The watch begins again.
                    Err(error) => {
                        tell(&format!("the API server breaks off: {error}"));
                        continue;
                    }
                };
                match progress(&function) {
                    Progress::Done => return Ok(function),
                    Progress::Failed(message) => bail!("{key} cannot run: {message}"),
                    Progress::Waits(message) if message == last => {}
                    Progress::Waits(message) => {
                        tell(&message);
                        last = message;
                    }
                }
            }
            bail!("the API server tells no more")
        };
        let waited = tokio::time::timeout(patience, waiting).await;
        ensure!(waited.is_ok(), "{key} is not ready after {patience:?}: {last}");
        waited?
    }
}

fn progress(function: &WasmFunction) -> Progress {
    let (ready, reason, message) = objects::condition(function);
    match (ready, reason) {
        (Ready::True, _) => Progress::Done,
        (Ready::Unknown, _) => Progress::Waits(message),
        (Ready::False, Reason::InvalidSpec | Reason::NotAComponent | Reason::WorldUnsupported) => {
            Progress::Failed(message)
        }
        (Ready::False, Reason::CompileFailed | Reason::DigestMismatch | Reason::HostConflict) => {
            Progress::Failed(message)
        }
        // The operator tries again, and what is missing may come.
        (Ready::False, _) => Progress::Waits(message),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_needs_another_spec_ends_the_wait() {
        let function = |status: &str, reason: &str| -> WasmFunction {
            let condition = json!({"type": "Ready", "status": status, "reason": reason, "message": "why",
                                   "lastTransitionTime": "1970-01-01T00:03:00Z"});
            serde_json::from_value(json!({
                "apiVersion": "wisp.dev/v1alpha1", "kind": "WasmFunction", "metadata": {"name": "hello", "generation": 1},
                "spec": {"component": {"image": "r/hello:1"}},
                "status": {"observedGeneration": 1, "replicas": 0, "conditions": [condition]},
            }))
            .unwrap()
        };
        let why = || "why".to_owned();
        let table = [
            (function("True", "Ready"), Progress::Done),
            (function("False", "Progressing"), Progress::Waits(why())),
            (function("False", "ImageNotFound"), Progress::Waits(why())),
            (function("False", "SomethingLater"), Progress::Waits(why())),
            (function("False", "NotAComponent"), Progress::Failed(why())),
            (function("False", "HostConflict"), Progress::Failed(why())),
        ];
        for (function, wanted) in table {
            assert_eq!(progress(&function), wanted, "{:?}", function.status);
        }
    }
}
