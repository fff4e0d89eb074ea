//! What the node runs.

use std::fs;

use wisp_cluster::Component;

use crate::fixture::CLUSTER;

#[tokio::test]
async fn the_log_of_each_component_can_be_kept() {
    let Some(cluster) = CLUSTER.get().await else { return };
    let kept = cluster.keep_logs();
    for component in Component::ALL {
        assert!(kept.join(format!("{component}.log")).exists(), "{component}");
    }
    fs::remove_dir_all(kept).unwrap();
}
