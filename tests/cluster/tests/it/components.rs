//! Components that stop and die below running pods.

use std::fs;

use wisp_cluster::{Component, until};

use crate::fixture::{CLUSTER, PATIENCE, field, get, run_hello};

#[tokio::test]
async fn pods_outlive_their_components() {
    let Some(cluster) = CLUSTER.get().await else { return };
    run_hello(&cluster, "outlives").await;
    let pod_ip = field(&cluster, "pod/outlives", "{.status.podIP}").await;
    let url = format!("http://{pod_ip}:8080/");

    cluster.restart(Component::Containerd).await.unwrap();
    assert_eq!(get(&url).await, "hello from outlives\n");
    cluster.kill(Component::Kubelet).await.unwrap();
    assert_eq!(get(&url).await, "hello from outlives\n");
    cluster.start_component(Component::Kubelet).await.unwrap();
    // Both are back: it takes both to run something in the pod.
    let said = until("exec works again", PATIENCE, async || {
        Ok(cluster.kubectl(["exec", "outlives", "--", "/hello", "say", "back"]).await.ok())
    });
    assert_eq!(said.await.unwrap(), "back\n");
    assert_eq!(field(&cluster, "pod/outlives", "{.status.containerStatuses[0].restartCount}").await, "0");
}

#[tokio::test]
async fn the_log_of_each_component_can_be_kept() {
    let Some(cluster) = CLUSTER.get().await else { return };
    let kept = cluster.keep_logs();
    for component in Component::ALL {
        assert!(kept.join(format!("{component}.log")).exists(), "{component}");
    }
    fs::remove_dir_all(kept).unwrap();
}
