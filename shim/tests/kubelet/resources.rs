//! Limits, what is measured of them, and changing them while a pod runs.

use serde_json::{Value, json};
use wisp_cluster::{Cluster, until};

use crate::fixture::{PATIENCE, cluster, command, field, find, get, server, until_field};

#[tokio::test]
async fn a_guest_beyond_the_containers_memory_is_oom_killed_by_name() {
    let Some(cluster) = cluster().await else { return };
    let pod = server(&cluster, "bomb")
        .with("containers.0.env", json!([{"name": "WISP_MEMORY_BYTES", "value": "1073741824"}]))
        .with("containers.0.resources", json!({"limits": {"memory": "64Mi"}}))
        .with("restartPolicy", "Never");
    let url = pod.serve(&cluster).await;
    get(&format!("{url}/hello")).await;
    let _cut = crate::fixture::try_get(&format!("{url}/memory-bomb")).await;
    assert_eq!(crate::fixture::ended(&cluster, "bomb").await, (137, "OOMKilled".to_owned()));
}

#[tokio::test]
async fn what_a_pod_may_use_is_what_its_cgroups_say_on_the_node() {
    let Some(cluster) = cluster().await else { return };
    let resources = json!({"requests": {"cpu": "50m"}, "limits": {"cpu": "500m", "memory": "64Mi"}});
    let pod = server(&cluster, "limited").with("containers.0.resources", resources);
    pod.with("containers.0.args", json!(["--marked-limited"])).serve(&cluster).await;
    // Of either version, as the node itself sees them.
    let look = r#"
        cd /sys/fs/cgroup
        if [ -e cgroup.controllers ]; then
            cd ".$(cut -d: -f3 $guest/cgroup)"
            echo "Memory: $(cat memory.max)" && echo "Cpu: $(cat cpu.max)" && echo "Member: $(grep -cx ${guest#/proc/} cgroup.procs)"
        else
            of() { echo "./$1$(grep -E "^[0-9]+:([^:]*,)?$1(,[^:]*)?:" $guest/cgroup | cut -d: -f3)/$2"; }
            echo "Memory: $(cat $(of memory memory.limit_in_bytes))"
            echo "Cpu: $(cat $(of cpu cpu.cfs_quota_us)) $(cat $(of cpu cpu.cfs_period_us))"
            echo "Member: $(grep -cx ${guest#/proc/} $(of pids cgroup.procs))"
            [ ! -d devices ] || echo "All devices: $(grep -c '^a' $(of devices devices.list))"
        fi"#;
    let seen = cluster.exec(["bash", "-c", &(find("--marked-limited") + look)]).await.unwrap();
    let line = |name: &str| seen.lines().find_map(|line| line.strip_prefix(name));
    let limits = [line("Memory: "), line("Cpu: "), line("Member: ")];
    assert_eq!(limits, [Some("67108864"), Some("50000 100000"), Some("1")], "{seen}");
    assert!(line("All devices: ").is_none_or(|rules| rules == "0"), "{seen}");
}

#[tokio::test]
async fn a_pod_is_resized_in_place_up_and_down() {
    let Some(cluster) = cluster().await else { return };
    let pod = command(&cluster, "resized", &["sleep"]).with("restartPolicy", "Always").with(
        "containers.0.resources",
        json!({"requests": {"cpu": "50m", "memory": "32Mi"}, "limits": {"cpu": "100m", "memory": "64Mi"}}),
    );
    pod.start(&cluster).await;
    crate::fixture::wait_ready(&cluster, "resized").await;
    for (cpu, memory) in [("300m", "96Mi"), ("150m", "80Mi")] {
        let patch = json!({"spec": {"containers": [
            {"name": "guest", "resources": {"limits": {"cpu": cpu, "memory": memory}}}]}});
        let arguments = ["patch", "pod", "resized", "--subresource", "resize", "--patch", &patch.to_string()];
        cluster.kubectl(arguments).await.unwrap();
        let wanted = format!("{cpu} {memory}");
        let path = "{.status.containerStatuses[0].resources.limits.cpu} {.status.containerStatuses[0].resources.limits.memory}";
        until_field(&cluster, "pod/resized", path, |limits| limits == wanted).await;
    }
    assert_eq!(field(&cluster, "pod/resized", "{.status.containerStatuses[0].restartCount}").await, "0");
}

#[tokio::test]
async fn the_kubelet_sees_what_a_pod_uses() {
    let Some(cluster) = cluster().await else { return };
    let url = server(&cluster, "measured").serve(&cluster).await;
    // A hundred milliseconds of computing, and the host's own megabytes.
    let seen = until("figures", PATIENCE, async || {
        get(&format!("{url}/cpu?n=200000")).await;
        Ok(figures(&cluster, "measured").await.filter(|seen| seen.0 > 100_000_000))
    });
    let (cpu_ns, memory_bytes) = seen.await.unwrap();
    assert!(cpu_ns < 120_000_000_000, "{cpu_ns} ns");
    assert!((1 << 20..256 << 20).contains(&memory_bytes), "{memory_bytes} bytes");
}

/// CPU time in ns and the working set in bytes, of a pod's container by the kubelet's summary.
async fn figures(cluster: &Cluster, pod: &str) -> Option<(u64, u64)> {
    let path = format!("/api/v1/nodes/{}/proxy/stats/summary", cluster.node_name());
    let summary: Value = serde_json::from_str(&cluster.kubectl(["get", "--raw", &path]).await.ok()?).ok()?;
    let found = summary["pods"].as_array()?.iter().find(|seen| seen["podRef"]["name"] == pod)?;
    let container = found["containers"].get(0)?;
    Some((container["cpu"]["usageCoreNanoSeconds"].as_u64()?, container["memory"]["workingSetBytes"].as_u64()?))
}
