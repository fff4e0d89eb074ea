//! Revisions as the operator writes them.

use std::path::Path;

use serde_json::json;
use wisp_cluster::{Cluster, until};

use crate::PATIENCE;

/// As Kubernetes calls this machine's.
pub(crate) fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

/// Makes the API know Wisp's objects.
pub(crate) async fn define(cluster: &Cluster) {
    let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds").display().to_string();
    cluster.kubectl(["apply", "--server-side", "--filename", &crds]).await.unwrap();
    cluster.definitions_are_served().await.unwrap();
}

/// A revision that names `file` with this size for this node's architecture.
pub(crate) async fn name(cluster: &Cluster, revision: &str, file: &str, bytes: usize) {
    let object = json!({
        "apiVersion": "wisp.dev/v1alpha1", "kind": "WasmRevision", "metadata": {"name": revision},
        "spec": {
            "function": "hello", "digest": format!("sha256:{}", "0".repeat(64)),
            "template": {"component": {"image": "registry.test/hello:1"}},
        },
    });
    let applied = async || Ok(cluster.apply(&object.to_string()).await.ok());
    until("the revision is taken", PATIENCE, applied).await.unwrap();
    let artifact = json!({"architecture": architecture(), "file": file, "bytes": bytes});
    let other = json!({"architecture": "none", "file": "other.wisp", "bytes": 1});
    let status = json!({"status": {"artifacts": [other, artifact]}}).to_string();
    let patch = ["patch", "wasmrevision", revision, "--subresource=status", "--type=merge", "--patch", &status];
    cluster.kubectl(patch).await.unwrap();
}
