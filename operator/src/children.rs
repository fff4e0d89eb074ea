//! The objects by which clients reach a function. Pure: `function` applies them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use wisp_api::ingress::Visibility;
use wisp_api::{FunctionKey, WasmFunctionSpec, names, route};

/// Where activators listen.
const PORT: u16 = 8080;
/// The NetworkPolicy of a namespace's instances.
pub const POLICY: &str = "wisp-instances";

/// A function whose children are made.
#[derive(Clone, Copy, Debug)]
pub struct Parent<'a> {
    /// Its name.
    pub key: &'a FunctionKey,
    /// Its spec.
    pub spec: &'a WasmFunctionSpec,
    /// With what the children go.
    pub owner: &'a OwnerReference,
    /// What public hosts end in.
    pub domain: &'a str,
}

impl Parent<'_> {
    /// The Service of its name. It selects nothing: its endpoints are the activators.
    #[must_use]
    pub fn service(&self) -> Service {
        object(json!({
            "metadata": self.metadata(&self.key.name),
            "spec": {
                "type": "ClusterIP",
                "ports": [{
                    "name": "http",
                    "port": 80,
                    "targetPort": PORT,
                    "protocol": "TCP",
                    "appProtocol": self.app_protocol(),
                }],
            },
        }))
    }

    /// The endpoints of that Service: these addresses of activators.
    #[must_use]
    pub fn endpoints(&self, activators: &[String]) -> EndpointSlice {
        let mut metadata = self.metadata(&format!("{}-wisp", self.key.name));
        metadata["labels"]["kubernetes.io/service-name"] = json!(self.key.name);
        metadata["labels"]["endpointslice.kubernetes.io/managed-by"] = json!("wisp.dev");
        let ready = |address: &String| json!({"addresses": [address], "conditions": {"ready": true}});
        object(json!({
            "metadata": metadata,
            "addressType": "IPv4",
            "endpoints": activators.iter().map(ready).collect::<Vec<_>>(),
            "ports": [{"name": "http", "port": PORT, "protocol": "TCP", "appProtocol": self.app_protocol()}],
        }))
    }

    /// The Ingress, when the function asks for a class or hosts of its own.
    #[must_use]
    pub fn ingress(&self) -> Option<Ingress> {
        let wanted = &self.spec.ingress;
        if !self.is_public() || wanted.gateway.is_some() || (wanted.hosts.is_empty() && wanted.class_name.is_empty()) {
            return None;
        }
        let hosts = self.hosts();
        let backend = json!({"service": {"name": self.key.name, "port": {"number": 80}}});
        let path = json!({"path": wanted.path, "pathType": "Prefix", "backend": backend});
        let rule = |host: &String| json!({"host": host, "http": {"paths": [path]}});
        let mut spec = json!({"rules": hosts.iter().map(rule).collect::<Vec<_>>()});
        if !wanted.class_name.is_empty() {
            spec["ingressClassName"] = json!(wanted.class_name);
        }
        if !wanted.tls_secret.is_empty() {
            spec["tls"] = json!([{"hosts": hosts, "secretName": wanted.tls_secret}]);
        }
        Some(object(json!({"metadata": self.metadata(&self.key.name), "spec": spec})))
    }

    /// The HTTPRoute of the Gateway API, when the function names a gateway: `name` or `namespace/name`.
    #[must_use]
    pub fn http_route(&self) -> Option<Value> {
        let gateway = self.spec.ingress.gateway.as_ref().filter(|_| self.is_public())?;
        let (namespace, name) = gateway.split_once('/').unwrap_or((&self.key.namespace, gateway));
        Some(json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": self.metadata(&self.key.name),
            "spec": {
                "parentRefs": [{"name": name, "namespace": namespace}],
                "hostnames": self.hosts(),
                "rules": [{
                    "matches": [{"path": {"type": "PathPrefix", "value": self.spec.ingress.path}}],
                    "backendRefs": [{"name": self.key.name, "port": 80}],
                }],
            },
        }))
    }

    fn is_public(&self) -> bool {
        self.spec.ingress.visibility == Visibility::Public
    }

    fn app_protocol(&self) -> &'static str {
        self.spec.ingress.protocol.app_protocol()
    }

    fn hosts(&self) -> Vec<String> {
        let own = route::host(self.key, self.domain);
        std::iter::once(own).chain(self.spec.ingress.hosts.iter().cloned()).collect()
    }

    fn metadata(&self, name: &str) -> Value {
        json!({
            "name": name,
            "namespace": self.key.namespace,
            "labels": {
                "app.kubernetes.io/managed-by": "wisp",
                (names::LABEL_FUNCTION): self.key.name,
            },
            "ownerReferences": [self.owner],
        })
    }
}

/// Lets nobody but the activators of `system` at the instances of a namespace.
#[must_use]
pub fn network_policy(namespace: &str, system: &str) -> NetworkPolicy {
    object(json!({
        "metadata": {
            "name": POLICY,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/managed-by": "wisp"},
        },
        "spec": {
            "podSelector": {"matchLabels": {(names::LABEL_INSTANCE): "true"}},
            "policyTypes": ["Ingress"],
            "ingress": [{
                "from": [{
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": system}},
                    "podSelector": {"matchLabels": {"app.kubernetes.io/name": "wisp-activator"}},
                }],
                "ports": [{"port": PORT, "protocol": "TCP"}],
            }],
        },
    }))
}

/// Addresses of the activators that may be sent requests, in one order.
#[must_use]
pub fn addresses<'a>(activators: impl IntoIterator<Item = &'a Pod>) -> Vec<String> {
    let usable = activators.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let mut addresses: BTreeMap<String, ()> = BTreeMap::new();
    for pod in usable {
        let Some(status) = &pod.status else { continue };
        let ready = status.conditions.iter().flatten().any(|found| found.type_ == "Ready" && found.status == "True");
        if let (true, Some(address)) = (ready, &status.pod_ip) {
            addresses.insert(address.clone(), ());
        } else {
            tracing::debug!(pod = pod.name_any(), "an activator is not ready");
        }
    }
    addresses.into_keys().collect()
}

fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("the fields are those of the object")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<T>(ingress: &str, look: impl FnOnce(Parent<'_>) -> T) -> T {
        let spec =
            serde_json::from_str(&format!(r#"{{"component": {{"image": "r/x:1"}}, "ingress": {ingress}}}"#)).unwrap();
        let (key, owner) = (FunctionKey::new("shop", "cart"), OwnerReference::default());
        look(Parent { key: &key, spec: &spec, owner: &owner, domain: "example.com" })
    }

    #[test]
    fn an_ingress_is_made_for_whoever_asks() {
        assert!(with("{}", |parent| parent.ingress()).is_none());
        assert!(with(r#"{"visibility": "cluster", "className": "x"}"#, |parent| parent.ingress()).is_none());
        let text = r#"{"hosts": ["cart.example"], "className": "haproxy", "tlsSecret": "cert", "path": "/cart"}"#;
        let ingress = with(text, |parent| parent.ingress()).unwrap().spec.unwrap();
        let hosts: Vec<_> = ingress.rules.iter().flatten().filter_map(|rule| rule.host.clone()).collect();
        assert_eq!(hosts, ["cart.shop.example.com", "cart.example"]);
        assert_eq!(ingress.ingress_class_name.as_deref(), Some("haproxy"));
        assert_eq!(ingress.tls.unwrap()[0].secret_name.as_deref(), Some("cert"));
    }

    #[test]
    fn a_route_goes_to_the_gateway_that_is_named() {
        let route = with(r#"{"gateway": "infra/main"}"#, |parent| parent.http_route()).unwrap();
        assert_eq!(route["spec"]["parentRefs"][0], json!({"name": "main", "namespace": "infra"}));
        assert!(with("{}", |parent| parent.http_route()).is_none());
        let hidden = r#"{"gateway": "infra/main", "visibility": "cluster"}"#;
        assert!(with(hidden, |parent| parent.http_route()).is_none());
    }

    #[test]
    fn the_service_ends_at_the_activators() {
        let slice = with("{}", |parent| parent.endpoints(&["10.0.0.1".to_owned()]));
        assert_eq!(slice.metadata.labels.unwrap()["kubernetes.io/service-name"], "cart");
        assert_eq!(slice.endpoints[0].addresses, ["10.0.0.1"]);
        assert!(with("{}", |parent| parent.service()).spec.unwrap().selector.is_none());
    }

    #[test]
    fn the_service_says_what_is_spoken_on_the_way() {
        for (ingress, protocol) in [("{}", "http"), (r#"{"protocol": "h2c"}"#, "kubernetes.io/h2c")] {
            let service = with(ingress, |parent| parent.service()).spec.unwrap();
            let slice = with(ingress, |parent| parent.endpoints(&[]));
            assert_eq!(service.ports.unwrap()[0].app_protocol.as_deref(), Some(protocol));
            assert_eq!(slice.ports.unwrap()[0].app_protocol.as_deref(), Some(protocol));
        }
    }
}
