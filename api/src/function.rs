//! `WasmFunction`: what a user applies.

use std::collections::BTreeMap;
use std::time;

use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;
use crate::ingress::{Ingress, TrafficTarget};
use crate::pod::PodSettings;
use crate::quantity::Bytes;
use crate::scaling::Scaling;
use crate::status::WasmFunctionStatus;

/// A function: a WebAssembly component that answers HTTP requests, started by the first one and scaled with demand.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "wisp.dev",
    version = "v1alpha1",
    kind = "WasmFunction",
    plural = "wasmfunctions",
    shortname = "wf",
    category = "wisp",
    namespaced,
    status = "WasmFunctionStatus",
    derive = "PartialEq",
    printcolumn = r#"{"name":"URL","type":"string","jsonPath":".status.url"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].status"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].reason"}"#,
    printcolumn = r#"{"name":"Replicas","type":"integer","jsonPath":".status.replicas"}"#,
    printcolumn = r#"{"name":"Revision","type":"string","jsonPath":".status.latestReadyRevision"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!has(self.traffic) || size(self.traffic) == 0 || self.traffic.map(t, has(t.percent) ? t.percent : 0).sum() == 100", "message": "percentages of traffic must sum to 100"},
    {"rule": "!has(self.mounts) || self.mounts.all(m, has(self.volumes) && self.volumes.exists(v, v.name == m.name))", "message": "every mount needs a volume of its name"}
]))]
pub struct WasmFunctionSpec {
    /// Where the component comes from; exactly one source.
    pub component: Component,
    /// Arguments for `wasi:cli`, without the program's name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub args: Vec<String>,
    /// Environment variables. `valueFrom` may name a Secret or a ConfigMap.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub env: Vec<EnvVar>,
    /// Secrets and ConfigMaps whose every key becomes an environment variable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub env_from: Vec<EnvFromSource>,
    /// Values that the component reads by `wasi:config/store`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
    /// Sources of folders; `mounts` say where the guest sees them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub volumes: Vec<Volume>,
    /// Folders that the guest sees; read-only unless said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub mounts: Vec<Mount>,
    /// What the component may do. Everything is denied until granted.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// Limits of one request.
    #[serde(default)]
    pub limits: Limits,
    /// How many requests one instance takes at once, and what they share.
    #[serde(default)]
    pub concurrency: Concurrency,
    /// How the number of instances follows demand.
    #[serde(default)]
    pub scaling: Scaling,
    /// Shares of the traffic; empty sends everything to the latest ready revision. Percentages sum to 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub traffic: Vec<TrafficTarget>,
    /// How requests reach the function from outside.
    #[serde(default)]
    pub ingress: Ingress,
    /// Settings of the pods; a function that sets any of them starts fresh, not from the warm pool.
    #[serde(default)]
    pub pod: PodSettings,
    /// Revisions without traffic that are kept for rolling back.
    #[serde(default = "default_history")]
    #[schemars(range(min = 0, max = 1000))]
    pub revision_history_limit: u32,
}

/// Where a component comes from. Exactly one of `image`, `url` and `path`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "[has(self.image), has(self.url), has(self.path)].filter(x, x).size() == 1", "message": "give exactly one of image, url and path"},
    {"rule": "!has(self.path)", "message": "a cluster cannot read your files; push the component and give its image"},
    {"rule": "!has(self.url) || has(self.sha256)", "message": "sha256 is required with url, so that what runs is what you meant"}
]))]
pub struct Component {
    /// A Wasm OCI artifact, or an image that holds one `.wasm` file. Resolved to a digest once per revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// A plain file by HTTPS; needs `sha256`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// A file beside the manifest. Embedded mode only; a cluster refuses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The component's SHA-256 in hex, as `sha256sum hello.wasm` prints it. Required with `url`, checked with `image` and
    /// `path` when given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^[0-9a-f]{64}$"))]
    pub sha256: Option<String>,
}

/// A source of a folder; exactly one of its kinds besides the name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "[has(self.configMap), has(self.secret), has(self.persistentVolumeClaim), has(self.emptyDir), has(self.hostPath)].filter(x, x).size() == 1", "message": "give exactly one of configMap, secret, persistentVolumeClaim, emptyDir and hostPath"},
    {"rule": "!has(self.hostPath)", "message": "only wisp up has hostPath; use a ConfigMap or a claim"}
]))]
pub struct Volume {
    /// The name that `mounts` refer to.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// A ConfigMap of the namespace: one file per key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<NamedSource>,
    /// A Secret of the namespace: one file per key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretSource>,
    /// A PersistentVolumeClaim of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<ClaimSource>,
    /// An empty folder that lives as long as its instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub empty_dir: Option<EmptyDir>,
    /// A folder beside the manifest. Embedded mode only; a cluster refuses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_path: Option<HostPath>,
}

/// An object of the namespace by its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamedSource {
    /// The object's name.
    pub name: String,
}

/// A Secret of the namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretSource {
    /// The Secret's name.
    pub secret_name: String,
}

/// A PersistentVolumeClaim of the namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClaimSource {
    /// The claim's name.
    pub claim_name: String,
}

/// An empty folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EmptyDir {
    /// Most bytes it may hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_limit: Option<Bytes>,
}

/// A folder of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostPath {
    /// Relative to the manifest's folder, or absolute.
    pub path: String,
}

/// Where the guest sees a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mount {
    /// The volume's name.
    pub name: String,
    /// The folder in the guest, absolute.
    #[schemars(extend("pattern" = "^/"))]
    pub mount_path: String,
    /// Whether the guest may only read.
    #[serde(default = "default_true")]
    pub read_only: bool,
}

/// What a component may do beyond computing an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Capabilities {
    /// Destinations of outgoing HTTP: `https://api.example.com`, `http://*.shop.svc:8080`. Addresses that a name
    /// resolves to are checked too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub outbound: Vec<String>,
    /// Whether the guest's standard output and error go to the instance's log.
    #[serde(default = "default_true")]
    pub inherit_stdio: bool,
}

/// Limits of one request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// The whole request, waiting included. After it: 504, and the wasm instance is stopped.
    #[serde(default = "default_timeout")]
    pub timeout: Duration,
    /// CPU time of one request.
    #[serde(default = "default_cpu_time")]
    pub cpu_time: Duration,
    /// Linear memory of one wasm instance.
    #[serde(default = "default_memory")]
    pub memory: Bytes,
    /// Largest request body. Beyond it: 413.
    #[serde(default = "default_request_body")]
    pub request_body: Bytes,
}

/// How many requests one instance takes at once, and what they share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Concurrency {
    /// Requests at once in one instance.
    #[serde(default = "default_slots")]
    #[schemars(range(min = 1, max = 1000))]
    pub slots: u32,
    /// Whether requests may share a wasm instance.
    #[serde(default)]
    pub reuse: Reuse,
    /// With `reuse: pooled`, how many requests one wasm instance serves in its life.
    #[serde(default = "default_reuse_requests")]
    #[schemars(range(min = 2, max = 1_000_000))]
    pub reuse_requests: u32,
}

/// Whether requests may share a wasm instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Reuse {
    /// A fresh wasm instance for each request: nothing leaks from one to the next.
    #[default]
    PerRequest,
    /// A wasm instance serves several requests, one after the other, or at once where its world is p3.
    Pooled,
}

impl Concurrency {
    /// Requests that one wasm instance may serve in its life.
    #[must_use]
    pub fn requests_per_wasm_instance(&self) -> u32 {
        match self.reuse {
            Reuse::PerRequest => 1,
            Reuse::Pooled => self.reuse_requests,
        }
    }
}

impl Default for Capabilities {
    fn default() -> Self {
        Self { outbound: Vec::new(), inherit_stdio: true }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout: default_timeout(),
            cpu_time: default_cpu_time(),
            memory: default_memory(),
            request_body: default_request_body(),
        }
    }
}

impl Default for Concurrency {
    fn default() -> Self {
        Self { slots: default_slots(), reuse: Reuse::default(), reuse_requests: default_reuse_requests() }
    }
}

fn default_history() -> u32 {
    10
}

fn default_true() -> bool {
    true
}

fn default_timeout() -> Duration {
    time::Duration::from_secs(30).into()
}

fn default_cpu_time() -> Duration {
    time::Duration::from_secs(5).into()
}

fn default_memory() -> Bytes {
    Bytes::mebibytes(64)
}

fn default_request_body() -> Bytes {
    Bytes::mebibytes(10)
}

fn default_slots() -> u32 {
    100
}

fn default_reuse_requests() -> u32 {
    128
}
