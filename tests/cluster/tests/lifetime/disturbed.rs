//! A cluster without its API for a while, without what runs its pods, and without its power.

use wisp_cluster::{Cluster, Component, Settings, ask_until, until};

use crate::{PATIENCE, hello, start};

const RESTARTS: &str = "{.status.containerStatuses[0].restartCount}";

async fn nodes(cluster: &Cluster) -> anyhow::Result<String> {
    cluster.kubectl(["get", "nodes", "-o", "name", "--request-timeout=3s"]).await
}

#[tokio::test]
async fn an_api_server_that_stood_still_or_died_comes_back() {
    let Some(cluster) = start(Settings::default()).await else { return };
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
async fn pods_outlive_containerd_and_the_kubelet() {
    let Some(cluster) = start(Settings::default()).await else { return };
    hello(&cluster).await;
    let url = format!("http://{}:8080/", cluster.field("pod/hello", "{.status.podIP}").await.unwrap());
    let answers = async || assert_eq!(ask_until(&url, PATIENCE).await.unwrap(), "hello from hello\n");
    cluster.restart(Component::Containerd).await.unwrap();
    answers().await;
    cluster.kill(Component::Kubelet).await.unwrap();
    answers().await;
    cluster.start_component(Component::Kubelet).await.unwrap();
    // Both are back: it takes both to run something in the pod.
    let said = until("exec works again", PATIENCE, async || {
        Ok(cluster.kubectl(["exec", "hello", "--", "/hello", "say", "back"]).await.ok())
    });
    assert_eq!(said.await.unwrap(), "back\n");
    assert_eq!(cluster.field("pod/hello", RESTARTS).await.unwrap(), "0");
}

#[tokio::test]
async fn a_node_that_lost_its_power_starts_its_pods_again() {
    let Some(cluster) = start(Settings::default()).await else { return };
    hello(&cluster).await;
    let container = cluster.field("pod/hello", "{.status.containerStatuses[0].containerID}").await.unwrap();
    let container = container.trim_start_matches("containerd://").to_owned();
    assert!(tasks(&cluster).await.contains(&container));

    cluster.restart_node().await.unwrap();
    assert!(!tasks(&cluster).await.contains(&container));
    until("the pod is restarted", PATIENCE, async || {
        Ok((cluster.field("pod/hello", RESTARTS).await? == "1").then_some(()))
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
