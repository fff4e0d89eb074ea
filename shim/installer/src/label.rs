//! The node's label that the runtime class selects by.

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

/// Set while pods with the runtime class can start here.
const LABEL: &str = "wisp.dev/shim";

/// Whether the shim is on the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Installed,
    Absent,
}

/// Sets or removes the label of `node`.
pub(crate) async fn set(node: &str, state: State) -> Result<()> {
    let client =
        kube::Client::try_default().await.context("cannot find the cluster; leave --node out to label by hand")?;
    let label = match state {
        State::Installed => json!("installed"),
        State::Absent => Value::Null,
    };
    let patch = json!({"metadata": {"labels": {LABEL: label}}});
    let nodes: Api<Node> = Api::all(client);
    let patched = nodes.patch(node, &PatchParams::default(), &Patch::Merge(patch)).await;
    patched.with_context(|| format!("cannot label node {node}; may this service account patch nodes?"))?;
    tracing::info!(node, label = LABEL, ?state, "labelled");
    Ok(())
}
