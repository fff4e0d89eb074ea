//! What pods leave on a node. Nothing is what it should be.
//!
//! What the kubelet itself keeps of pods for a minute, their logs and containerd's records of them, is not looked at.

use std::time::Duration;

use anyhow::Result;
use wisp_cluster::{Cluster, until};

/// Each line is a kind and what was found of it. In the node, with the names of its `node.env`.
const LOOK: &str = r#"
shopt -s nullglob dotglob
say() { local kind=$1 thing; shift; for thing; do echo "$kind $thing"; done; }
for process in /proc/[0-9]*; do
    words=$(tr '\0' ' ' 2>/dev/null < "$process/cmdline") || continue
    # This script has these words in it too.
    case $words in "bash -c "*) ;; *containerd-shim-*|*wisp-host*) say process "$words" ;; esac
    grep -qs "$GROUP/kubepods.*/pod" "$process/cgroup" && say member "$words"
    for file in "$process"/fd/*; do
        case $(readlink "$file") in net:*|mnt:*|pid:*) say namespace "$file" ;; esac
    done
done
while read -r _ mount _; do
    case $mount in "$STATE"/kubelet/pods/*|"$STATE"/containerd.state/*|/run/netns/*|/run/wisp/*) say mount "$mount" ;; esac
done < /proc/self/mounts
say group $(find /sys/fs/cgroup -type d -path "*$GROUP/kubepods/*/pod*" 2>/dev/null)
say link $(ip -o link show type veth | awk -F': ' '$2 !~ /^eth0/ { print $2 }')
say address "$STATE"/cni/podnet/10.*
say file /run/wisp/k8s.io/{oci,tasks}/* /run/containerd/s/* "$STATE"/kubelet/pods/* \
    "$STATE"/containerd.state/io.containerd.runtime.v2.task/k8s.io/*
"#;

/// What a pod of a component has while it is there, by the words of [`LOOK`]; a namespace is held by its mount.
pub(crate) const OF_A_POD: [&str; 7] = ["process", "member", "mount", "group", "link", "address", "file"];

/// Everything by which a node could tell that there were pods on it, as lines of a kind and a name.
pub(crate) async fn of(cluster: &Cluster) -> Result<Vec<String>> {
    Ok(cluster.exec(["bash", "-c", LOOK]).await?.lines().map(str::to_owned).collect())
}

/// Waits until nothing is left of any pod.
pub(crate) async fn expect_none(cluster: &Cluster, patience: Duration) {
    let mut left = Vec::new();
    let gone = until("nothing is left of the pods", patience, async || {
        left = of(cluster).await?;
        Ok(left.is_empty().then_some(()))
    });
    gone.await.unwrap_or_else(|error| panic!("{error}: {left:#?}"));
}
