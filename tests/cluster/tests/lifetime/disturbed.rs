//! A cluster without its API for a while, and without its power.

use std::time::Duration;

use wisp_cluster::{Cluster, Component, Settings, can_run, until};

/// The API server takes three seconds to start on an idle machine; this one may be building next door.
const PATIENCE: Duration = Duration::from_secs(90);

async fn nodes(cluster: &Cluster) -> anyhow::Result<String> {
    cluster.kubectl(["get", "nodes", "-o", "name", "--request-timeout=3s"]).await
}

#[tokio::test]
async fn an_api_server_that_stood_still_or_died_comes_back() {
    if can_run().is_err() {
        return;
    }
    let cluster = Cluster::start(Settings::default()).await.unwrap();
    cluster.pause(Component::ApiServer).await.unwrap();
    nodes(&cluster).await.unwrap_err();
    cluster.resume(Component::ApiServer).await.unwrap();
    until("the API answers", PATIENCE, async || Ok(nodes(&cluster).await.ok())).await.unwrap();

    cluster.kubectl(["create", "configmap", "kept"]).await.unwrap();
    cluster.kill(Component::ApiServer).await.unwrap();
    nodes(&cluster).await.unwrap_err();
    cluster.start_component(Component::ApiServer).await.unwrap();
    until("the API answers", PATIENCE, async || Ok(nodes(&cluster).await.ok())).await.unwrap();
    cluster.kubectl(["get", "configmap", "kept"]).await.unwrap();
}

#[tokio::test]
async fn a_node_that_lost_its_power_starts_its_pods_again() {
    if can_run().is_err() {
        return;
    }
    let cluster = Cluster::start(Settings::default()).await.unwrap();
    let image = cluster.registry().push("hello:1", &cluster.hello()).await.unwrap();
    cluster.kubectl(["run", "hello", "--image", &image]).await.unwrap();
    cluster.wait_ready("hello", PATIENCE).await.unwrap();
    let container = cluster.field("pod/hello", "{.status.containerStatuses[0].containerID}").await.unwrap();
    let container = container.trim_start_matches("containerd://").to_owned();
    assert!(tasks(&cluster).await.contains(&container));

    cluster.restart_node().await.unwrap();
    assert!(!tasks(&cluster).await.contains(&container));
    let restarts = "{.status.containerStatuses[0].restartCount}";
    until("the pod is restarted", PATIENCE, async || {
        Ok((cluster.field("pod/hello", restarts).await? == "1").then_some(()))
    })
    .await
    .unwrap();
    cluster.wait_ready("hello", PATIENCE).await.unwrap();
}

/// The containers that containerd runs, when it answers.
async fn tasks(cluster: &Cluster) -> String {
    let list = async || Ok(cluster.exec(["ctr", "tasks", "ls", "--quiet"]).await.ok());
    until("containerd answers", PATIENCE, list).await.expect("it was started")
}
