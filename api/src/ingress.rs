//! `spec.traffic` and `spec.ingress`: how requests reach a function, and which of its revisions.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A share of a function's traffic. Names a revision or asks for the latest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.revision) != (has(self.latest) && self.latest)", "message": "give either revision or latest: true"}
]))]
pub struct TrafficTarget {
    /// A revision by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The latest ready revision, whichever it is.
    #[serde(default)]
    pub latest: bool,
    /// Share of the traffic.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100))]
    pub percent: u8,
    /// A name under which this target has a host of its own: `<tag>-<function>.<namespace>.<domain>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), extend("pattern" = "^[a-z]([a-z0-9-]*[a-z0-9])?$"))]
    pub tag: Option<String>,
}

/// How requests reach a function from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ingress {
    /// Who may reach it.
    #[serde(default)]
    pub visibility: Visibility,
    /// More hosts that lead here; `*.example.com` stands for any one label.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub hosts: Vec<String>,
    /// Only paths under this prefix lead here.
    #[serde(default = "default_path")]
    #[schemars(extend("pattern" = "^/"))]
    pub path: String,
    /// The IngressClass; empty takes the cluster's default.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub class_name: String,
    /// A Gateway (`name`, or `namespace/name`) to attach an HTTPRoute to, instead of an Ingress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// A Secret with the certificate of `hosts`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tls_secret: String,
    /// What ingress controllers and gateways speak on the way here; gRPC needs h2c.
    #[serde(default)]
    pub protocol: Protocol,
}

/// The `appProtocol` of a function's Service. The activators behind it understand both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http,
    /// HTTP/2 without TLS.
    H2c,
}

impl Protocol {
    /// As Kubernetes names it.
    #[must_use]
    pub fn app_protocol(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::H2c => "kubernetes.io/h2c",
        }
    }
}

/// Who may reach a function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Visibility {
    /// Everyone who reaches the ingress.
    #[default]
    Public,
    /// Only clients inside the cluster.
    Cluster,
}

impl Default for Ingress {
    fn default() -> Self {
        Self {
            visibility: Visibility::default(),
            hosts: Vec::new(),
            path: default_path(),
            class_name: String::new(),
            gateway: None,
            tls_secret: String::new(),
            protocol: Protocol::default(),
        }
    }
}

fn default_path() -> String {
    "/".to_owned()
}
