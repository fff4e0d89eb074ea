//! Clusters beside one another.

use wisp_cluster::{Cluster, Settings};

use crate::start;

#[tokio::test]
async fn two_clusters_do_not_meet() {
    let (Some(one), Some(other)) = tokio::join!(start(Settings::default()), start(Settings::default())) else { return };
    assert_ne!(one.number(), other.number());
    one.kubectl(["create", "configmap", "mine"]).await.unwrap();
    other.kubectl(["get", "configmap", "mine"]).await.unwrap_err();
    let node = |cluster: &Cluster| format!("node/{}\n", cluster.node_name());
    assert_eq!(one.kubectl(["get", "nodes", "-o", "name"]).await.unwrap(), node(&one));
    assert_eq!(other.kubectl(["get", "nodes", "-o", "name"]).await.unwrap(), node(&other));
    // One goes, and the other stays.
    drop(one);
    assert_eq!(other.kubectl(["get", "nodes", "-o", "name"]).await.unwrap(), node(&other));
}
