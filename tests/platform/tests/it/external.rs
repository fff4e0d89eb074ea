//! `scaling.class: external`: the number is somebody else's, here a HorizontalPodAutoscaler's.

use std::time::Duration;

use serde_json::json;
use wisp_cluster::until;
use wisp_platform::{Load, PATIENCE, Platform, hello};

use crate::metrics::Queue;
use crate::platform::platform;

#[tokio::test]
async fn a_horizontal_pod_autoscaler_sets_the_number_of_instances() {
    let Some(platform) = platform().await else { return };
    let function = hello(&platform, "external").with("scaling", json!({"class": "external"}));
    function.deploy(&platform).await;
    let queue = Queue::serve(&platform).await;
    queue.set_length(30);
    platform.apply(&autoscaler().to_string()).await.unwrap();
    // It leaves alone what is at zero, as is its way; KEDA, or somebody, makes one of it.
    platform.kubectl(["scale", "wr/external-00001", "--replicas=1"]).await.unwrap();
    until_ready(&platform, 3).await;
    let load = Load::start(&function.client(&platform).await, "/", Duration::from_millis(20));
    load.until_more(50).await.unwrap();
    queue.set_length(10);
    until_ready(&platform, 1).await;
    load.until_more(50).await.unwrap();
    load.end_without_loss().await;
    platform.kubectl(["delete", "hpa/external"]).await.unwrap();
    queue.end(&platform).await;
}

/// Ten of the queue for each instance, up and down at once.
fn autoscaler() -> serde_json::Value {
    let metric = json!({"type": "External", "external": {
        "metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "10"}}});
    json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "external"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "wisp.dev/v1alpha1", "kind": "WasmRevision", "name": "external-00001"},
            "minReplicas": 1, "maxReplicas": 5, "metrics": [metric],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}}})
}

/// As many pods of the revision run, and no other: what drains is gone.
async fn until_ready(platform: &Platform, wanted: usize) {
    let pods = ["get", "pods", "-l", "wisp.dev/revision=external-00001", "-o", "jsonpath={.items[*].status.phase}"];
    let ready = until("the wanted number of pods runs", PATIENCE, async || {
        let phases = platform.kubectl(pods).await?;
        let phases: Vec<&str> = phases.split_whitespace().collect();
        Ok((phases == vec!["Running"; wanted]).then_some(()))
    });
    if let Err(error) = ready.await {
        let hpa = platform.kubectl(["describe", "hpa/external"]).await.unwrap_or_default();
        panic!("{error:#}\n{hpa}\n{}", wisp_platform::look(platform).await);
    }
}
