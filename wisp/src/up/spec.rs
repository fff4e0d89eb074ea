//! A function's manifest as the other parts take it: a host's spec, a scaling policy, an activator's route. Pure.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::EnvVar;
use wisp_api::function::{Volume, WasmFunctionSpec};
use wisp_api::key::FunctionKey;
use wisp_api::scaling::Metric;
use wisp_api::wire::{Artifact, HostConcurrency, HostLimits, HostSpec, Preopen};
use wisp_scaling::Policy;

use super::manifest::{Data, Sources};

/// What a manifest names and nobody provides.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum SourceError {
    /// An object that is not there.
    #[error(
        "{field} names {kind} {name:?} in namespace {namespace:?}, which is in none of the given files; add it as a document"
    )]
    NoObject { field: String, kind: &'static str, namespace: String, name: String },
    /// A key that is not there.
    #[error("{field} names key {key:?} of {kind} {name:?}, which has no such key")]
    NoKey { field: String, kind: &'static str, name: String, key: String },
    /// A value that an environment variable cannot hold.
    #[error("{field} is not UTF-8 text, which an environment variable must be; mount it as a file instead")]
    NotText { field: String },
    /// Something that only a pod has.
    #[error("{field} takes a value from the pod, and there is none here; give a value")]
    OnlyInPods { field: String },
}

/// The files of a volume that is made from an object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct VolumeFiles {
    pub(crate) name: String,
    pub(crate) files: Data,
}

/// The scaling policy of a function.
pub(crate) fn policy(spec: &WasmFunctionSpec) -> Policy {
    let scaling = &spec.scaling;
    Policy {
        min: scaling.min,
        max: scaling.max,
        activation: scaling.activation,
        initial: scaling.initial,
        metric: match scaling.metric {
            Metric::Concurrency => wisp_scaling::Metric::Concurrency,
            Metric::Rps => wisp_scaling::Metric::Rps,
            Metric::Cpu => wisp_scaling::Metric::Cpu,
        },
        target: scaling.effective_target(spec.concurrency.slots),
        slots: spec.concurrency.slots,
        window: scaling.window.into(),
        panic_window: scaling.panic_window.into(),
        panic_threshold: scaling.panic_threshold,
        scale_down_delay: scaling.scale_down_delay.into(),
        idle: scaling.idle.into(),
        max_up_rate: scaling.max_up_rate,
        max_down_rate: scaling.max_down_rate,
    }
}

/// All that a host needs to serve the function, but its revision's name and its volumes' folders.
pub(crate) fn host_spec(
    key: &FunctionKey,
    spec: &WasmFunctionSpec,
    artifact: Artifact,
    sources: &Sources,
) -> Result<HostSpec, SourceError> {
    let limits = &spec.limits;
    Ok(HostSpec {
        namespace: key.namespace.clone(),
        function: key.name.clone(),
        revision: String::new(),
        artifact: Some(artifact),
        args: spec.args.clone(),
        env: environment(key, spec, sources)?,
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
    })
}

/// The files of each volume that is made from a ConfigMap or a Secret.
pub(crate) fn volume_files(
    key: &FunctionKey,
    spec: &WasmFunctionSpec,
    sources: &Sources,
) -> Result<Vec<VolumeFiles>, SourceError> {
    let mut volumes = Vec::new();
    for (index, volume) in spec.volumes.iter().enumerate() {
        let field = format!("spec.volumes[{index}]");
        let files = if let Some(source) = &volume.config_map {
            sources
                .config_map(&key.namespace, &source.name)
                .ok_or_else(|| missing(&field, "ConfigMap", key, &source.name))?
        } else if let Some(source) = &volume.secret {
            let name = &source.secret_name;
            sources.secret(&key.namespace, name).ok_or_else(|| missing(&field, "Secret", key, name))?
        } else {
            continue;
        };
        volumes.push(VolumeFiles { name: volume.name.clone(), files: files.clone() });
    }
    Ok(volumes)
}

/// The folders that the guest sees. `made` is where the revision's volumes were made, by name; `origin` is the folder
/// of the manifest.
pub(crate) fn preopens(spec: &WasmFunctionSpec, made: &Path, origin: &Path) -> Vec<Preopen> {
    let folder = |volume: &Volume| match (&volume.host_path, &volume.empty_dir) {
        (Some(path), _) => origin.join(&path.path).display().to_string(),
        // An empty folder of the instance's own: the host makes it.
        (None, Some(_)) => String::new(),
        (None, None) => made.join(&volume.name).display().to_string(),
    };
    let mounts = spec.mounts.iter();
    mounts
        .filter_map(|mount| {
            let volume = spec.volumes.iter().find(|volume| volume.name == mount.name)?;
            let writable = !mount.read_only;
            Some(Preopen { host_path: folder(volume), guest_path: mount.mount_path.clone(), writable })
        })
        .collect()
}

fn environment(
    key: &FunctionKey,
    spec: &WasmFunctionSpec,
    sources: &Sources,
) -> Result<BTreeMap<String, String>, SourceError> {
    let mut environment = BTreeMap::new();
    for (index, from) in spec.env_from.iter().enumerate() {
        let field = format!("spec.envFrom[{index}]");
        let prefix = from.prefix.clone().unwrap_or_default();
        let (kind, name, optional, data) = if let Some(source) = &from.config_map_ref {
            ("ConfigMap", &source.name, source.optional, sources.config_map(&key.namespace, &source.name))
        } else if let Some(source) = &from.secret_ref {
            ("Secret", &source.name, source.optional, sources.secret(&key.namespace, &source.name))
        } else {
            continue;
        };
        match data {
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
    let (kind, name, wanted, optional, data) = if let Some(source) = &from.config_map_key_ref {
        ("ConfigMap", &source.name, &source.key, source.optional, sources.config_map(&key.namespace, &source.name))
    } else if let Some(source) = &from.secret_key_ref {
        ("Secret", &source.name, &source.key, source.optional, sources.secret(&key.namespace, &source.name))
    } else {
        return Err(SourceError::OnlyInPods { field: field.to_owned() });
    };
    let optional = optional == Some(true);
    match data.map(|data| data.get(wanted)) {
        Some(Some(value)) => text(field, value).map(Some),
        _ if optional => Ok(None),
        Some(None) => {
            Err(SourceError::NoKey { field: field.to_owned(), kind, name: name.clone(), key: wanted.clone() })
        }
        None => Err(missing(field, kind, key, name)),
    }
}

fn missing(field: &str, kind: &'static str, key: &FunctionKey, name: &str) -> SourceError {
    let (namespace, name) = (key.namespace.clone(), name.to_owned());
    SourceError::NoObject { field: field.to_owned(), kind, namespace, name }
}

fn text(field: &str, value: &[u8]) -> Result<String, SourceError> {
    String::from_utf8(value.to_vec()).map_err(|_| SourceError::NotText { field: field.to_owned() })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
