//! A cluster without its API for a while.

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
