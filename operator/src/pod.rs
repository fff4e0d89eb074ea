//! The pod of an instance, as decision 0006 has it. Pure.
//!
//! Every pod is the same warm host; labels say whose it is. Nothing of a function's environment, configuration or
//! secrets is in it.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::{Value, json};
use wisp_api::WasmFunctionSpec;
use wisp_api::function::Volume;
use wisp_api::names;
use wisp_api::pod::PodSettings;

/// What a pod's end may take beyond the request timeout: the withdrawal, and saying goodbye.
const GRACE_MARGIN: Duration = Duration::from_secs(10);
/// A pod of a pool may be given any revision, so it gets the longest that is usual.
const POOL_TIMEOUT: Duration = Duration::from_secs(60);
/// The user `nonroot` of distroless images.
const USER: i64 = 65532;

/// What all instances of an installation have in common.
#[derive(Clone, Debug)]
pub struct Installation {
    /// The image of the platform. The shim runs the node's own host; a kubelet wants some image.
    pub image: String,
    /// Where instances find the autoscaler: `https://host:port`.
    pub control: String,
    /// The name in the autoscaler's certificate.
    pub control_name: String,
    /// The installation's CA, PEM.
    pub ca_pem: String,
}

/// Whose a new pod is.
#[derive(Clone, Debug)]
pub enum Role<'a> {
    /// It waits in a pool.
    Warm {
        /// The pool.
        pool: &'a str,
    },
    /// It is made for one revision.
    Fresh {
        /// The function's name.
        function: &'a str,
        /// The revision's name.
        revision: &'a str,
        /// What it was made from.
        template: &'a WasmFunctionSpec,
    },
}

/// A pod that is to be.
#[derive(Clone, Debug)]
pub struct PodOf<'a> {
    /// Where.
    pub namespace: &'a str,
    /// Whose.
    pub role: Role<'a>,
    /// What its user asks of it.
    pub settings: &'a PodSettings,
    /// With what it goes.
    pub owner: OwnerReference,
}

impl Installation {
    /// A new pod. Its name is the API server's to choose.
    #[must_use]
    pub fn pod(&self, of: &PodOf<'_>) -> Pod {
        let PodOf { namespace, role, settings, owner } = of;
        let mut labels = settings.labels.clone();
        labels.extend(role.labels());
        // None but the user's: a pod with any volume starts a third of a second later, see decision 0008.
        let mounts: Vec<Value> = role.volumes().iter().map(mount).collect();
        let volumes: Vec<Value> = role.volumes().iter().map(volume).collect();
        let resources = settings.resources.as_ref().map_or_else(default_resources, |resources| json!(resources));
        let pod = json!({
            "metadata": {
                "generateName": role.prefix(),
                "namespace": namespace,
                "labels": labels,
                "annotations": settings.annotations,
                "ownerReferences": [owner],
            },
            "spec": {
                "runtimeClassName": "wisp",
                "restartPolicy": "Never",
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "terminationGracePeriodSeconds": role.grace().as_secs(),
                "serviceAccountName": settings.service_account_name,
                "imagePullSecrets": settings.image_pull_secrets,
                "nodeSelector": settings.node_selector,
                "tolerations": settings.tolerations,
                "affinity": settings.affinity,
                "topologySpreadConstraints": settings.topology_spread_constraints,
                "securityContext": {
                    "runAsNonRoot": true, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [{
                    "name": "instance",
                    "image": self.image,
                    "command": ["wisp-instance"],
                    "env": self.environment(),
                    "ports": [{"name": "http", "containerPort": 8080}],
                    "resources": resources,
                    "securityContext": {
                        "allowPrivilegeEscalation": false,
                        "readOnlyRootFilesystem": true,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": mounts,
                }],
                "volumes": volumes,
            },
        });
        serde_json::from_value(pod).expect("the fields are those of a Pod")
    }

    fn environment(&self) -> Value {
        let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
        json!([
            {"name": "WISP_CONTROL", "value": self.control},
            {"name": "WISP_CONTROL_NAME", "value": self.control_name},
            {"name": "WISP_CONTROL_CA", "value": self.ca_pem},
            field("WISP_INSTANCE", "metadata.uid"),
            field("WISP_NAMESPACE", "metadata.namespace"),
            field("WISP_POD_IP", "status.podIP"),
        ])
    }
}

impl Role<'_> {
    fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::from([
            ("app.kubernetes.io/managed-by".to_owned(), "wisp".to_owned()),
            (names::LABEL_INSTANCE.to_owned(), "true".to_owned()),
        ]);
        match self {
            Self::Warm { pool } => {
                labels.insert(names::LABEL_POOL.to_owned(), (*pool).to_owned());
            }
            Self::Fresh { function, revision, .. } => {
                labels.insert(names::LABEL_FUNCTION.to_owned(), (*function).to_owned());
                labels.insert(names::LABEL_REVISION.to_owned(), (*revision).to_owned());
            }
        }
        labels
    }

    fn prefix(&self) -> String {
        match self {
            Self::Warm { pool } => format!("wisp-pool-{pool}-"),
            Self::Fresh { revision, .. } => format!("{revision}-"),
        }
    }

    fn grace(&self) -> Duration {
        let timeout = match self {
            Self::Warm { .. } => POOL_TIMEOUT,
            Self::Fresh { template, .. } => template.limits.timeout.into(),
        };
        timeout + GRACE_MARGIN
    }

    fn volumes(&self) -> &[Volume] {
        match self {
            Self::Warm { .. } => &[],
            Self::Fresh { template, .. } => &template.volumes,
        }
    }
}

/// Little is asked for, since most instances rest; what a burst may take is bounded.
fn default_resources() -> Value {
    json!({"requests": {"cpu": "5m", "memory": "16Mi"}, "limits": {"memory": "512Mi"}})
}

fn mount(volume: &Volume) -> Value {
    json!({"name": volume.name, "mountPath": format!("{}/{}", names::VOLUMES_DIR, volume.name)})
}

fn volume(volume: &Volume) -> Value {
    let mut source = json!({"name": volume.name});
    if let Some(config_map) = &volume.config_map {
        source["configMap"] = json!({"name": config_map.name});
    } else if let Some(secret) = &volume.secret {
        source["secret"] = json!({"secretName": secret.secret_name});
    } else if let Some(claim) = &volume.persistent_volume_claim {
        source["persistentVolumeClaim"] = json!({"claimName": claim.claim_name});
    } else {
        let limit = volume.empty_dir.as_ref().and_then(|empty| empty.size_limit.as_ref());
        source["emptyDir"] = limit.map_or(json!({}), |limit| json!({"sizeLimit": limit}));
    }
    source
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installation() -> Installation {
        Installation {
            image: "wisp:1".to_owned(),
            control: "https://10.0.0.1:8443".to_owned(),
            control_name: "wisp-autoscaler.wisp-system.svc".to_owned(),
            ca_pem: "CA".to_owned(),
        }
    }

    fn of(role: Role<'_>, settings: &PodSettings) -> Pod {
        installation().pod(&PodOf { namespace: "shop", role, settings, owner: OwnerReference::default() })
    }

    fn template(text: &str) -> WasmFunctionSpec {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_fresh_pod_has_the_functions_volumes_and_none_of_its_secrets() {
        let template = template(
            r#"{"component": {"image": "r/x:1"}, "limits": {"timeout": "5s"},
                "env": [{"name": "KEY", "value": "hidden"}],
                "volumes": [{"name": "data", "configMap": {"name": "c"}}, {"name": "tmp", "emptyDir": {}}]}"#,
        );
        let role = Role::Fresh { function: "cart", revision: "cart-00001", template: &template };
        let pod = of(role, &PodSettings::default());
        let text = serde_json::to_string(&pod).unwrap();
        assert!(!text.contains("hidden"), "{text}");
        let spec = pod.spec.unwrap();
        assert_eq!(spec.termination_grace_period_seconds, Some(15));
        let mounts: Vec<_> =
            spec.containers[0].volume_mounts.iter().flatten().map(|mount| &*mount.mount_path).collect();
        assert_eq!(mounts, ["/mnt/data", "/mnt/tmp"]);
        assert_eq!(pod.metadata.labels.unwrap()[names::LABEL_REVISION], "cart-00001");
    }

    #[test]
    fn a_warm_pod_is_nobodys_and_has_no_volume_to_wait_for() {
        let pod = of(Role::Warm { pool: "default" }, &PodSettings::default());
        assert_eq!(pod.spec.unwrap().volumes.unwrap_or_default(), []);
        let labels = pod.metadata.labels.unwrap();
        assert_eq!(labels[names::LABEL_POOL], "default");
        assert!(!labels.contains_key(names::LABEL_REVISION));
        assert_eq!(pod.metadata.generate_name.as_deref(), Some("wisp-pool-default-"));
    }

    #[test]
    fn labels_of_the_user_do_not_hide_ours() {
        let labels = [(names::LABEL_POOL.to_owned(), "other".to_owned())].into();
        let settings = PodSettings { labels, ..PodSettings::default() };
        let pod = of(Role::Warm { pool: "default" }, &settings);
        assert_eq!(pod.metadata.labels.unwrap()[names::LABEL_POOL], "default");
    }
}
