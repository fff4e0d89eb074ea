//! What Wisp says of a function: conditions with a closed set of reasons.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What Wisp says of a function.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WasmFunctionStatus {
    /// Where the function answers from outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Where it answers inside the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The `metadata.generation` that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The newest revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_created_revision: Option<String>,
    /// The newest revision that can serve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_ready_revision: Option<String>,
    /// Where the traffic goes now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub traffic: Vec<TrafficStatus>,
    /// Instances that serve the function now.
    pub replicas: u32,
    /// `Ready`, `ComponentReady`, `RevisionReady`, `RoutesReady`, `Active`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// A share of the traffic, resolved to a revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrafficStatus {
    /// The revision.
    pub revision: String,
    /// Its share.
    pub percent: u8,
    /// Its tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The tag's own URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// Why a condition is as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// All is well.
    Ready,
    /// Work is under way.
    Progressing,
    /// At zero instances, by scaling.
    ScaledToZero,
    /// The manifest breaks a rule.
    InvalidSpec,
    /// The component's source does not exist.
    ImageNotFound,
    /// The component's source refuses these credentials.
    ImageUnauthorized,
    /// The file is a core module, compiled code, or no WebAssembly at all.
    NotAComponent,
    /// The component exports no world that Wisp serves.
    WorldUnsupported,
    /// The compiler refused the component.
    CompileFailed,
    /// The content does not have the digest that the manifest gives.
    DigestMismatch,
    /// A Secret, ConfigMap or folder that the manifest names is not there.
    SourceMissing,
    /// Instances fail to start.
    InstancesFailing,
    /// A quota leaves no room.
    QuotaExceeded,
    /// An older function has the same host and path.
    HostConflict,
}
