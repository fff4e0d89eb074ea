//! The containerd of older clusters.

use wisp_cluster::{Containerd, Settings, can_run};

use crate::start;

#[tokio::test]
async fn containerd_1_7_runs_pods_too() {
    if can_run().is_err() {
        return;
    }
    let settings = Settings { containerd: Containerd::OneSeven, ..Settings::default() };
    let cluster = start(settings).await;
    let version =
        cluster.kubectl(["get", "nodes", "-o", "jsonpath={.items[0].status.nodeInfo.containerRuntimeVersion}"]);
    let version = version.await.unwrap();
    assert!(version.starts_with("containerd://1.7."), "{version}");
    let image = cluster.registry().push("hello:1", &cluster.hello()).await.unwrap();
    cluster.kubectl(["run", "hello", "--image", &image, "--restart=Never"]).await.unwrap();
    cluster.kubectl(["wait", "--for=condition=Ready", "pod/hello", "--timeout=90s"]).await.unwrap();
}
