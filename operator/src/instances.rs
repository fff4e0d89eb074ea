//! What to do about the pods of a revision or a pool. Pure.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use wisp_api::names;

/// A pod that fails within this time of its creation was broken from its beginning.
pub const EARLY: Duration = Duration::from_secs(30);

/// Pods by what is to become of them.
#[derive(Debug, Default)]
pub struct Sorted<'a> {
    /// They run, or are about to.
    pub live: Vec<&'a Pod>,
    /// They have ended, or must: to be deleted.
    pub over: Vec<&'a Pod>,
    /// How many of those failed soon after their beginning, with what they said.
    pub failed: Vec<String>,
}

/// Sorts pods. Those that are being deleted or drain already are in neither list.
pub fn sort<'a>(pods: impl IntoIterator<Item = &'a Pod>) -> Sorted<'a> {
    let mut sorted = Sorted::default();
    for pod in pods {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
        if pod.metadata.deletion_timestamp.is_some() {
            continue;
        }
        match phase {
            "Succeeded" => sorted.over.push(pod),
            "Failed" => {
                sorted.failed.extend(failure(pod));
                sorted.over.push(pod);
            }
            _ if pod.annotations().contains_key(names::ANNOTATION_STOP) => sorted.over.push(pod),
            // It finishes what it has and ends by itself; another serves in its place already.
            _ if pod.annotations().contains_key(names::ANNOTATION_LEAVING) => {}
            _ => sorted.live.push(pod),
        }
    }
    sorted
}

/// What an early failure says.
fn failure(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let ended = status.container_statuses.as_ref()?.first()?.state.as_ref()?.terminated.as_ref();
    let lived = |until: Timestamp| {
        let began = pod.creation_timestamp().map_or(until, |time| time.0);
        Duration::try_from(until.duration_since(began)).unwrap_or_default()
    };
    let Some(ended) = ended else { return Some(status.message.clone().unwrap_or_else(|| "it never ran".to_owned())) };
    let early = ended.finished_at.as_ref().is_none_or(|time| lived(time.0) < EARLY);
    let words = ended.message.clone().or_else(|| ended.reason.clone()).unwrap_or_default();
    early.then(|| format!("exit code {}: {words}", ended.exit_code))
}

/// Whether a pod runs long enough for it to have begun well.
#[must_use]
pub fn has_lasted(pod: &Pod, now: Timestamp) -> bool {
    let runs = pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
    let age = pod.creation_timestamp().map(|time| Duration::try_from(now.duration_since(time.0)).unwrap_or_default());
    runs && age.is_some_and(|age| age >= EARLY)
}

/// Why pods that should run do not, where Kubernetes says it and waiting alone will not help.
#[must_use]
pub fn stuck(pods: &[&Pod]) -> Option<String> {
    pods.iter().find_map(|pod| {
        let status = pod.status.as_ref()?;
        let waiting =
            status.container_statuses.iter().flatten().find_map(|found| found.state.as_ref()?.waiting.as_ref());
        let bad = waiting.filter(|waiting| {
            let reason = waiting.reason.as_deref().unwrap_or_default();
            [
                "ErrImagePull",
                "ImagePullBackOff",
                "CreateContainerError",
                "CreateContainerConfigError",
                "InvalidImageName",
            ]
            .contains(&reason)
        });
        if let Some(waiting) = bad {
            return Some(format!("{}: {}", waiting.reason.as_deref()?, waiting.message.as_deref().unwrap_or_default()));
        }
        let scheduled = status.conditions.iter().flatten().find(|found| found.type_ == "PodScheduled")?;
        (scheduled.status == "False").then(|| scheduled.message.clone().unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(metadata: &Value, status: &Value) -> Pod {
        let mut metadata = metadata.clone();
        metadata["name"] = json!("p");
        metadata["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        serde_json::from_value(json!({"metadata": metadata, "status": status})).unwrap()
    }

    #[test]
    fn the_finished_and_the_stopped_are_over_and_the_terminating_are_nobodys() {
        let pods = [
            pod(&json!({}), &json!({"phase": "Running"})),
            pod(&json!({}), &json!({})),
            pod(&json!({}), &json!({"phase": "Succeeded"})),
            pod(&json!({"annotations": {"wisp.dev/stop": "no answer"}}), &json!({"phase": "Running"})),
            pod(&json!({"deletionTimestamp": "2026-01-01T00:00:01Z"}), &json!({"phase": "Running"})),
            pod(&json!({"annotations": {"wisp.dev/leaving": "drains"}}), &json!({"phase": "Running"})),
        ];
        let sorted = sort(&pods);
        assert_eq!((sorted.live.len(), sorted.over.len(), sorted.failed.len()), (2, 2, 0));
    }

    #[test]
    fn only_early_failures_count_against_a_revision() {
        let failed = |at: &str| {
            let ended = json!({"exitCode": 70, "reason": "Error", "finishedAt": at});
            let status = json!({"phase": "Failed", "containerStatuses": [{
                "name": "instance", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"terminated": ended}}]});
            pod(&json!({}), &status)
        };
        assert_eq!(sort(&[failed("2026-01-01T00:00:01Z")]).failed, ["exit code 70: Error"]);
        assert!(sort(&[failed("2026-01-01T01:00:00Z")]).failed.is_empty());
    }

    #[test]
    fn what_does_not_get_a_node_says_why() {
        let unscheduled = pod(
            &json!({}),
            &json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}]}),
        );
        assert_eq!(stuck(&[&unscheduled]).as_deref(), Some("0/1 nodes are available"));
        assert_eq!(stuck(&[&pod(&json!({}), &json!({"phase": "Running"}))]), None);
    }
}
