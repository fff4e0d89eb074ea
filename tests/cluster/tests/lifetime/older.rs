//! The containerd of older clusters.

use wisp_cluster::{Containerd, Settings};

use crate::{hello, start};

#[tokio::test]
async fn containerd_1_7_runs_pods_too() {
    let settings = Settings { containerd: Containerd::OneSeven, ..Settings::default() };
    let Some(cluster) = start(settings).await else { return };
    let version =
        cluster.kubectl(["get", "nodes", "-o", "jsonpath={.items[0].status.nodeInfo.containerRuntimeVersion}"]);
    let version = version.await.unwrap();
    assert!(version.starts_with("containerd://1.7."), "{version}");
    hello(&cluster).await;
}
