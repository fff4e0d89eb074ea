//! Waits until the operator has put a function's spec into effect.

use std::fmt;
use std::time::Duration;

use anyhow::{bail, ensure};
use futures::StreamExt;
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Error, watch_object};
use wisp_api::status::Reason;
use wisp_api::{FunctionKey, WasmFunction};

use super::{Cluster, is_final, objects, said};
use crate::view::Ready;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// The function serves by its present spec.
    Ready,
    /// The operator has put into effect what it can of the present spec.
    Seen,
}

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
    /// Waits until a function serves by its present spec, or until the operator has only seen it, and calls `tell` with
    /// each step on the way.
    ///
    /// # Errors
    /// When it cannot, with what to do; when it takes longer than `patience`; when it is deleted.
    pub(crate) async fn until(
        &self,
        goal: Goal,
        key: &FunctionKey,
        (patience, mut tell): (Duration, impl FnMut(&str)),
    ) -> anyhow::Result<WasmFunction> {
        let api: Api<WasmFunction> = self.functions(key);
        let mut changes = std::pin::pin!(watch_object(api, &key.name).default_backoff());
        let mut last = "nothing is known of it yet".to_owned();
        let waiting = async {
            while let Some(change) = changes.next().await {
                let function = match change {
                    Ok(Some(function)) => function,
                    Ok(None) => bail!("{key} was deleted"),
                    Err(Error::InitialListFailed(error) | Error::WatchStartFailed(error)) if is_final(&error) => {
                        return Err(said(error).context(format!("{key} cannot be watched")));
                    }
                    // The watch begins again.
                    Err(error) => {
                        last = format!("the API server breaks off: {error}");
                        tell(&last);
                        continue;
                    }
                };
                match goal.progress(&function) {
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
        ensure!(waited.is_ok(), "{key} is not {goal} after {patience:?}: {last}");
        waited?
    }
}

impl Goal {
    fn progress(self, function: &WasmFunction) -> Progress {
        let (ready, reason, message) = objects::condition(function);
        let is_seen = objects::is_seen(function);
        match (ready, reason) {
            (Ready::True, _) => Progress::Done,
            (Ready::False, Reason::InvalidSpec) => Progress::Failed(message),
            // A component that cannot run keeps nobody from sending requests to one that can.
            _ if self == Self::Seen && is_seen => Progress::Done,
            (Ready::Unknown, _) => Progress::Waits(message),
            (Ready::False, Reason::NotAComponent | Reason::WorldUnsupported) => Progress::Failed(message),
            (Ready::False, Reason::CompileFailed | Reason::DigestMismatch) => Progress::Failed(message),
            // The operator tries again: what is missing may come, and who has the host may let it go.
            (Ready::False, _) => Progress::Waits(message),
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready => "ready",
            Self::Seen => "seen by the operator",
        })
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
            (function("False", "HostConflict"), Progress::Waits(why())),
        ];
        for (function, wanted) in table {
            assert_eq!(Goal::Ready.progress(&function), wanted, "{:?}", function.status);
        }
        assert_eq!(Goal::Seen.progress(&function("False", "NotAComponent")), Progress::Done);
        assert_eq!(Goal::Seen.progress(&function("False", "InvalidSpec")), Progress::Failed(why()));
        let mut later = function("True", "Ready");
        later.metadata.generation = Some(2);
        assert!(matches!(Goal::Seen.progress(&later), Progress::Waits(_)));
    }
}
