//! `WasmRevision`: an immutable snapshot of a function's spec.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::function::WasmFunctionSpec;

/// An immutable snapshot of a function's spec with its component's digest. Only `replicas` changes, by the scale
/// subresource.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "wisp.dev",
    version = "v1alpha1",
    kind = "WasmRevision",
    plural = "wasmrevisions",
    shortname = "wr",
    category = "wisp",
    namespaced,
    status = "WasmRevisionStatus",
    derive = "PartialEq",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn = r#"{"name":"Function","type":"string","jsonPath":".spec.function"}"#,
    printcolumn = r#"{"name":"Replicas","type":"integer","jsonPath":".status.replicas"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.image) == has(oldSelf.image)", "message": "image is immutable; apply the function instead"}
]))]
pub struct WasmRevisionSpec {
    /// The function that this is a revision of.
    #[schemars(extend("x-kubernetes-validations" = [{"rule": "self == oldSelf", "message": "is immutable; apply the function instead"}]))]
    pub function: String,
    /// `sha256:<hex>` of the component.
    #[schemars(extend("x-kubernetes-validations" = [{"rule": "self == oldSelf", "message": "is immutable; apply the function instead"}]))]
    pub digest: String,
    /// The image that the component came from, by the digest that its tag had at the time: wherever the tag goes, this is
    /// what is pulled when the code must be compiled once more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = [{"rule": "self == oldSelf", "message": "is immutable; apply the function instead"}]))]
    pub image: Option<String>,
    /// Instances wanted.
    #[serde(default)]
    pub replicas: u32,
    /// The function's spec at the time.
    #[schemars(extend("x-kubernetes-validations" = [{"rule": "self == oldSelf", "message": "is immutable; apply the function instead"}]))]
    pub template: WasmFunctionSpec,
}

/// What Wisp says of a revision.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WasmRevisionStatus {
    /// Instances that serve.
    pub replicas: u32,
    /// Selects the revision's pods, for an HPA.
    pub selector: String,
    /// Its compiled code, for each architecture of the nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<CompiledArtifact>,
    /// `Ready`: whether it can be given traffic.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// The compiled, sealed code of a revision's component.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CompiledArtifact {
    /// As Kubernetes names it: `amd64`, `arm64`.
    pub architecture: String,
    /// Its name in the operator's store, and in those of the nodes.
    pub file: String,
    /// Its size.
    pub bytes: u64,
}

/// An architecture as [`CompiledArtifact`] names it, from the compiler's name of it: `std`'s `consts::ARCH`.
#[must_use]
pub fn architecture(arch: &'static str) -> &'static str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
