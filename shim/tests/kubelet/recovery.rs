//! Containerd restarts, the shim is killed, the node loses its power.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wisp_cluster::{Component, until};

use crate::fixture::{PATIENCE, cluster, field, get, own_cluster, server, until_field};
use crate::traces;

#[tokio::test]
async fn a_component_outlives_containerd_and_can_be_deleted_afterwards() {
    // Whoever shares a cluster may be talking to containerd just then.
    let Some(cluster) = own_cluster().await else { return };
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
    let Some(cluster) = own_cluster().await else { return };
    let url = server(&cluster, "brief").serve(&cluster).await;
    assert_eq!(get(&format!("{url}/hello")).await, "hello\n");
    let number = cluster.number();
    drop(cluster);
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

#[tokio::test]
async fn pods_come_back_after_a_loss_of_power_and_nothing_of_the_old_ones_is_left() {
    let Some(cluster) = own_cluster().await else { return };
    let spec = json!({
        "replicas": 3,
        "selector": {"matchLabels": {"app": "powered"}},
        "template": {"metadata": {"labels": {"app": "powered"}}, "spec": server(&cluster, "powered").spec()},
    });
    let deployment =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "powered"}, "spec": spec});
    cluster.apply(&deployment.to_string()).await.unwrap();
    until_field(&cluster, "deployment/powered", "{.status.readyReplicas}", |count| count == "3").await;
    let node = format!("node/{}", cluster.node_name());
    let boot = field(&cluster, &node, "{.status.nodeInfo.bootID}").await;
    let ids = cluster.exec(["ctr", "tasks", "ls", "--quiet"]).await.unwrap();
    let of_old = |lines: &[String]| lines.iter().filter(|line| ids.lines().any(|id| line.contains(id))).count();
    let old = traces::of(&cluster).await.unwrap();
    assert!(of_old(&old) >= 6, "a pod and a container, thrice: {old:#?}");

    cluster.restart_node().await.unwrap();

    until_field(&cluster, &node, "{.status.nodeInfo.bootID}", |now| now != boot).await;
    let restarts = "{.items[*].status.containerStatuses[0].restartCount}";
    until_field(&cluster, "pods", restarts, |counts| counts == "1 1 1").await;
    until_field(&cluster, "deployment/powered", "{.status.readyReplicas}", |count| count == "3").await;
    for address in field(&cluster, "pods", "{.items[*].status.podIP}").await.split_whitespace() {
        assert_eq!(get(&format!("http://{address}:8080/hello")).await, "hello\n");
    }
    until("there is as much as before, and nothing of the old pods", PATIENCE, async || {
        let now = traces::of(&cluster).await?;
        Ok((of_old(&now) == 0 && counts(&now) == counts(&old)).then_some(()))
    })
    .await
    .unwrap();
    cluster.kubectl(["delete", "deployment", "powered", "--cascade=foreground"]).await.unwrap();
    traces::expect_none(&cluster, PATIENCE).await;
}

/// How many there are of each kind.
fn counts(lines: &[String]) -> BTreeMap<&str, usize> {
    let kinds = lines.iter().filter_map(|line| line.split(' ').next());
    kinds.fold(BTreeMap::new(), |mut counts, kind| {
        *counts.entry(kind).or_default() += 1;
        counts
    })
}
