//! `WarmPool`: instances that run already and wait to be given a revision.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pod::PodSettings;
use crate::quantity::Bytes;

/// Warm instances of a namespace: each runs, has no revision yet, and will serve one for the rest of its life.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "wisp.dev",
    version = "v1alpha1",
    kind = "WarmPool",
    plural = "warmpools",
    shortname = "wp",
    category = "wisp",
    namespaced,
    status = "WarmPoolStatus",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Size","type":"integer","jsonPath":".spec.size"}"#,
    printcolumn = r#"{"name":"Ready","type":"integer","jsonPath":".status.ready"}"#
)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WarmPoolSpec {
    /// Warm instances that are kept ready at rest.
    #[schemars(range(min = 0, max = 1000))]
    pub size: u32,
    /// Warm instances that are kept ready at most: while many functions wake, as many as were claimed within the last
    /// minute.
    #[schemars(range(min = 0, max = 1000))]
    pub max: u32,
    /// How much compiled code each holds prepared.
    pub prepared: Bytes,
    /// Settings of their pods.
    pub pod: PodSettings,
}

/// What Wisp says of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WarmPoolStatus {
    /// Warm instances that wait.
    pub ready: u32,
}

impl Default for WarmPoolSpec {
    fn default() -> Self {
        Self { size: 2, max: 20, prepared: Bytes::mebibytes(64), pod: PodSettings::default() }
    }
}
