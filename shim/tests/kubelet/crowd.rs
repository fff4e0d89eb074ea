//! As many pods at once as a node takes.

use std::collections::BTreeSet;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use serde_json::json;
use wisp_cluster::{Cluster, until};

use crate::fixture::{get, own_cluster, server};
use crate::traces;

/// The kubelet takes 110 pods.
const PODS: usize = 100;
/// All of them together take a minute on two idle cores; these may be building next door.
const PATIENCE: Duration = Duration::from_secs(400);

#[tokio::test]
async fn a_hundred_pods_at_once_are_compiled_once_serve_and_leave_nothing() {
    let Some(cluster) = own_cluster().await else { return };
    traces::expect_none(&cluster, PATIENCE).await;
    let store = Store::watch(&cluster).await;
    let spec = json!({
        "replicas": PODS,
        "selector": {"matchLabels": {"app": "crowd"}},
        "template": {"metadata": {"labels": {"app": "crowd"}}, "spec": server(&cluster, "crowd").spec()},
    });
    let deployment =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "crowd"}, "spec": spec});
    cluster.apply(&deployment.to_string()).await.unwrap();

    let addresses = addresses(&cluster).await;
    for address in &addresses {
        assert_eq!(get(&format!("http://{address}:8080/hello")).await, "hello\n");
    }
    assert_eq!(store.artifacts_made(), 1);
    let up = traces::of(&cluster).await.unwrap();
    for kind in traces::OF_A_POD {
        // Or the look afterwards would prove nothing.
        let found = up.iter().filter(|line| line.starts_with(&format!("{kind} "))).count();
        assert!(found >= PODS, "{found} of {kind}: {up:#?}");
    }

    cluster.kubectl(["delete", "deployment", "crowd", "--cascade=foreground"]).await.unwrap();
    traces::expect_none(&cluster, PATIENCE).await;
}

/// Of all pods, when all are ready.
async fn addresses(cluster: &Cluster) -> BTreeSet<String> {
    let ready = until("all pods are ready", PATIENCE, async || {
        let ready = cluster.field("deployment/crowd", "{.status.readyReplicas}").await?;
        Ok((ready == PODS.to_string()).then_some(()))
    });
    if let Err(error) = ready.await {
        panic!("{error}\n{}", cluster.kubectl(["get", "pods", "-o", "wide"]).await.unwrap_or_default());
    }
    let found = cluster.field("pods", "{.items[*].status.podIP}").await.unwrap();
    let found: BTreeSet<String> = found.split_whitespace().map(str::to_owned).collect();
    assert_eq!(found.len(), PODS, "{found:?}");
    found
}

/// The node's folder of compiled code, of which each new file is seen.
struct Store(OwnedFd);

impl Store {
    async fn watch(cluster: &Cluster) -> Self {
        let store = "/var/lib/wisp/store";
        cluster.exec(["install", "-d", "-m", "700", store]).await.unwrap();
        let first = std::fs::read_to_string(cluster.logs().with_file_name("pid")).unwrap();
        let folder = PathBuf::from(format!("/proc/{}/root{store}", first.trim()));
        let seen = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).unwrap();
        // A file gets its name when all of it is written.
        inotify::add_watch(&seen, &folder, WatchFlags::MOVED_TO).unwrap();
        Self(seen)
    }

    fn artifacts_made(&self) -> usize {
        let mut space = [MaybeUninit::uninit(); 4096];
        let mut events = Reader::new(&self.0, &mut space);
        let is_artifact = |name: &std::ffi::CStr| name.to_bytes().ends_with(b".wisp");
        std::iter::from_fn(|| events.next().ok().map(|event| event.file_name().is_some_and(is_artifact)))
            .filter(|is_artifact| *is_artifact)
            .count()
    }
}
