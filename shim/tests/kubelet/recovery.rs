//! Containerd restarts, and the shim is killed.

use serde_json::Value;
use wisp_cluster::{Component, Settings, until};

use crate::fixture::{PATIENCE, cluster, field, get, server, until_field};

#[tokio::test]
async fn a_component_outlives_containerd_and_can_be_deleted_afterwards() {
    let Some(cluster) = cluster().await else { return };
    let url = server(&cluster, "outlives").serve(&cluster).await;
    get(&format!("{url}/hello")).await;
    cluster.restart(Component::Containerd).await.unwrap();
    assert_eq!(get(&format!("{url}/hello")).await, "hello\n");
    assert_eq!(field(&cluster, "pod/outlives", "{.status.containerStatuses[0].restartCount}").await, "0");
    until("the pod can be deleted", PATIENCE, async || {
        Ok(cluster.kubectl(["delete", "pod", "outlives", "--ignore-not-found"]).await.ok())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_pod_whose_shim_is_killed_is_started_again() {
    let Some(cluster) = cluster().await else { return };
    let url = server(&cluster, "shot").serve(&cluster).await;
    get(&format!("{url}/hello")).await;
    let container = field(&cluster, "pod/shot", "{.status.containerStatuses[0].containerID}").await;
    let container = container.trim_start_matches("containerd://");
    let info = cluster.exec(["ctr", "-n", "k8s.io", "containers", "info", container]).await.unwrap();
    let info: Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["Runtime"]["Name"], "io.containerd.wisp.v1", "{info}");
    let sandbox = info["Spec"]["annotations"]["io.kubernetes.cri.sandbox-id"].as_str().unwrap();
    // In the node's own process namespace; no other command line there has the pod's id in it.
    cluster.exec(["pkill", "-KILL", "-f", &format!("containerd-shim-wisp-v1 .*-id {sandbox}")]).await.unwrap();
    let restarted = "{.status.containerStatuses[0].restartCount}";
    until_field(&cluster, "pod/shot", restarted, |count| !count.is_empty() && count != "0").await;
    let url =
        format!("http://{}:8080", until_field(&cluster, "pod/shot", "{.status.podIP}", |ip| !ip.is_empty()).await);
    assert_eq!(get(&format!("{url}/hello")).await, "hello\n");
}

#[tokio::test]
async fn a_cluster_with_pods_of_components_goes_without_a_trace() {
    let Some(shared) = cluster().await else { return };
    let settings = Settings { shim: crate::fixture::programs(), ..Settings::default() };
    let own = wisp_cluster::Cluster::start(settings).await.unwrap();
    let reference = own.registry().push_component("guests:1", &crate::fixture::prebuilt("guests")).await.unwrap();
    let url = server(&shared, "brief").with("containers.0.image", reference).serve(&own).await;
    assert_eq!(get(&format!("{url}/hello")).await, "hello\n");
    let number = own.number();
    drop(own);
    until("nothing is left", PATIENCE, async || {
        let group = format!("wisp-test-{number}");
        let mounts = std::fs::read_to_string("/proc/mounts")?;
        let left = mounts
            .lines()
            .filter_map(|line| line.split(' ').nth(1))
            .filter(|mount| mount.starts_with("/sys/fs/cgroup") && std::path::Path::new(mount).join(&group).exists())
            .count();
        Ok((left == 0).then_some(()))
    })
    .await
    .unwrap();
}
