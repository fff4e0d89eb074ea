//! What a function's manifest means on this machine: the files of its volumes and its folders. Pure.

use std::path::Path;

use wisp_api::function::{Volume, WasmFunctionSpec};
use wisp_api::host_spec::{self, SourceError};
use wisp_api::key::FunctionKey;
use wisp_api::sources::{Data, SourceKind, Sources};
use wisp_api::wire::Preopen;

/// The files of a volume that is made from an object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct VolumeFiles {
    pub(crate) name: String,
    pub(crate) files: Data,
}

/// The files of each volume that is made from a ConfigMap or a Secret.
pub(crate) fn volume_files(
    key: &FunctionKey,
    spec: &WasmFunctionSpec,
    sources: &Sources,
) -> Result<Vec<VolumeFiles>, SourceError> {
    let data = |field: &str, kind, name: &str| -> Result<Data, SourceError> {
        let found = sources.get(kind, &key.namespace, name);
        found.cloned().ok_or_else(|| host_spec::missing(field, kind, key, name))
    };
    let mut volumes = Vec::new();
    for (index, volume) in spec.volumes.iter().enumerate() {
        let field = format!("spec.volumes[{index}]");
        let files = if let Some(source) = &volume.config_map {
            data(&field, SourceKind::ConfigMap, &source.name)?
        } else if let Some(source) = &volume.secret {
            data(&field, SourceKind::Secret, &source.secret_name)?
        } else {
            continue;
        };
        volumes.push(VolumeFiles { name: volume.name.clone(), files });
    }
    Ok(volumes)
}

/// The folders that the guest sees. `made` is where the revision's volumes were made, by name; `origin` is the folder
/// of the manifest.
pub(crate) fn preopens(spec: &WasmFunctionSpec, made: &Path, origin: &Path) -> Vec<Preopen> {
    host_spec::preopens(spec, |volume: &Volume| match (&volume.host_path, &volume.empty_dir) {
        (Some(path), _) => origin.join(&path.path).display().to_string(),
        // An empty folder of the instance's own: the host makes it.
        (None, Some(_)) => String::new(),
        (None, None) => made.join(&volume.name).display().to_string(),
    })
}
