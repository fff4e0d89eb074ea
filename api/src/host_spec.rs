//! What a host needs to serve a function, from the function's spec. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::EnvVar;

use crate::function::{Volume, WasmFunctionSpec};
use crate::key::FunctionKey;
use crate::sources::{SourceKind, Sources};
use crate::wire::{Artifact, HostConcurrency, HostLimits, HostSpec, Preopen};

/// What a function names and nobody provides.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SourceError {
    /// An object that is not there.
    #[error(
        "{field} names {kind} {name:?} in namespace {namespace:?}, which is not there; create it, or for wisp up add it \
         as a document of the given files"
    )]
    NoObject {
        /// The field that names it.
        field: String,
        /// ConfigMap or Secret.
        kind: SourceKind,
        /// Where it should be.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A key that is not there.
    #[error("{field} names key {key:?} of {kind} {name:?}, which has no such key")]
    NoKey {
        /// The field that names it.
        field: String,
        /// ConfigMap or Secret.
        kind: SourceKind,
        /// The object's name.
        name: String,
        /// The key that it lacks.
        key: String,
    },
    /// A value that an environment variable cannot hold.
    #[error("{field} is not UTF-8 text, which an environment variable must be; mount it as a file instead")]
    NotText {
        /// The field that names it.
        field: String,
    },
    /// Something that only a pod has.
    #[error("{field} takes a value from the pod, which a function does not see; give a value")]
    OnlyInPods {
        /// The field at fault.
        field: String,
    },
}

/// All that a host needs to serve the function, but its revision's name and its volumes' folders. `env` is its
/// [`environment`].
#[must_use]
pub fn host_spec(
    key: &FunctionKey,
    spec: &WasmFunctionSpec,
    artifact: Artifact,
    env: BTreeMap<String, String>,
) -> HostSpec {
    let limits = &spec.limits;
    HostSpec {
        namespace: key.namespace.clone(),
        function: key.name.clone(),
        revision: String::new(),
        artifact: Some(artifact),
        args: spec.args.clone(),
        env: env.into_iter().collect(),
        config: spec.config.clone().into_iter().collect(),
        preopens: Vec::new(),
        outbound: spec.capabilities.outbound.clone(),
        inherit_stdio: spec.capabilities.inherit_stdio,
        limits: Some(HostLimits {
            timeout_millis: millis(limits.timeout.into()),
            cpu_time_millis: millis(limits.cpu_time.into()),
            memory_bytes: limits.memory.0,
            request_body_bytes: limits.request_body.0,
        }),
        concurrency: Some(HostConcurrency {
            slots: spec.concurrency.slots,
            reuse_requests: spec.concurrency.requests_per_wasm_instance(),
        }),
    }
}

/// The folders that the guest sees. `folder` says where the host finds a volume; empty for a folder that the host makes.
pub fn preopens(spec: &WasmFunctionSpec, folder: impl Fn(&Volume) -> String) -> Vec<Preopen> {
    let preopen = |mount: &crate::function::Mount| {
        let volume = spec.volumes.iter().find(|volume| volume.name == mount.name)?;
        let writable = !mount.read_only;
        Some(Preopen { host_path: folder(volume), guest_path: mount.mount_path.clone(), writable })
    };
    spec.mounts.iter().filter_map(preopen).collect()
}

/// The guest's environment: `envFrom` first, then `env`, the last one of a name counts.
///
/// # Errors
/// What it names and `sources` lacks.
pub fn environment(
    key: &FunctionKey,
    spec: &WasmFunctionSpec,
    sources: &Sources,
) -> Result<BTreeMap<String, String>, SourceError> {
    let mut environment = BTreeMap::new();
    for (index, from) in spec.env_from.iter().enumerate() {
        let field = format!("spec.envFrom[{index}]");
        let prefix = from.prefix.clone().unwrap_or_default();
        let (kind, name, optional) = if let Some(source) = &from.config_map_ref {
            (SourceKind::ConfigMap, &source.name, source.optional)
        } else if let Some(source) = &from.secret_ref {
            (SourceKind::Secret, &source.name, source.optional)
        } else {
            continue;
        };
        match sources.get(kind, &key.namespace, name) {
            Some(data) => {
                for (name, value) in data {
                    environment.insert(format!("{prefix}{name}"), text(&field, value)?);
                }
            }
            None if optional == Some(true) => {}
            None => return Err(missing(&field, kind, key, name)),
        }
    }
    for (index, variable) in spec.env.iter().enumerate() {
        if let Some(value) = value_of(key, &format!("spec.env[{index}]"), variable, sources)? {
            environment.insert(variable.name.clone(), value);
        }
    }
    Ok(environment)
}

/// The value of a variable; `None` when it comes from an optional source that is not there.
fn value_of(
    key: &FunctionKey,
    field: &str,
    variable: &EnvVar,
    sources: &Sources,
) -> Result<Option<String>, SourceError> {
    let Some(from) = &variable.value_from else { return Ok(Some(variable.value.clone().unwrap_or_default())) };
    let (kind, name, wanted, optional) = if let Some(source) = &from.config_map_key_ref {
        (SourceKind::ConfigMap, &source.name, &source.key, source.optional)
    } else if let Some(source) = &from.secret_key_ref {
        (SourceKind::Secret, &source.name, &source.key, source.optional)
    } else {
        return Err(SourceError::OnlyInPods { field: field.to_owned() });
    };
    let optional = optional == Some(true);
    match sources.get(kind, &key.namespace, name).map(|data| data.get(wanted)) {
        Some(Some(value)) => text(field, value).map(Some),
        _ if optional => Ok(None),
        Some(None) => {
            Err(SourceError::NoKey { field: field.to_owned(), kind, name: name.clone(), key: wanted.clone() })
        }
        None => Err(missing(field, kind, key, name)),
    }
}

/// What to say of an object that `field` names and nobody provides.
#[must_use]
pub fn missing(field: &str, kind: SourceKind, key: &FunctionKey, name: &str) -> SourceError {
    let (namespace, name) = (key.namespace.clone(), name.to_owned());
    SourceError::NoObject { field: field.to_owned(), kind, namespace, name }
}

fn text(field: &str, value: &[u8]) -> Result<String, SourceError> {
    String::from_utf8(value.to_vec()).map_err(|_| SourceError::NotText { field: field.to_owned() })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
