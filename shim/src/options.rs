//! Settings of the shim: a file of the node, and what containerd's configuration of the runtime says on top.

use std::io;
use std::path::{Path, PathBuf};

use containerd_shim::protos::protobuf::well_known_types::any::Any;
use prost::Message;
use serde::Deserialize;

use crate::state_dir::CgroupDriver;

/// Settings of the node.
pub(crate) const FILE: &str = "/etc/wisp/shim.toml";
const DEFAULT_STORE: &str = "/var/lib/wisp/store";
const HOST_NAME: &str = "wisp-host";

/// What the shim is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// The program that runs components.
    pub(crate) host: PathBuf,
    /// The node's folder of compiled code.
    pub(crate) store: PathBuf,
    pub(crate) cgroup_driver: CgroupDriver,
}

/// One source of settings. Its names are written as in containerd's configuration, or in the file's own way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    #[serde(alias = "Host")]
    host: Option<PathBuf>,
    #[serde(alias = "Store")]
    store: Option<PathBuf>,
    #[serde(alias = "SystemdCgroup")]
    systemd_cgroup: Option<bool>,
}

/// `runtimeoptions.v1.Options`: what containerd sends for runtimes that it does not know.
#[derive(Clone, PartialEq, Message)]
struct RuntimeOptions {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(string, tag = "2")]
    config_path: String,
    #[prost(bytes, tag = "3")]
    config_body: Vec<u8>,
}

/// `containerd.runc.v1.Options`: what clients send that think every runtime is runc. Only the driver matters here.
#[derive(Clone, PartialEq, Message)]
struct RuncOptions {
    #[prost(bool, tag = "9")]
    systemd_cgroup: bool,
}

/// Why settings are refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OptionsError {
    #[error("{path}: {source}")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{place}: {message}; the settings are host, store and systemd_cgroup")]
    Malformed { place: String, message: String },
    #[error("options of type {0} are not for this runtime; use runtimeoptions.v1.Options")]
    Type(String),
}

impl Options {
    /// The settings in force: `sent` by containerd, else of the node's `file`, else defaults beside `program`.
    ///
    /// # Errors
    /// When a source is there and cannot be understood: a setting that was given is never ignored.
    pub(crate) fn resolve(sent: Option<&Any>, file: &Path, program: &Path) -> Result<Self, OptionsError> {
        let sent = sent.map_or(Ok(Source::default()), of_any)?;
        let file = of_file_if_there(file)?;
        let host = sent.host.or(file.host).unwrap_or_else(|| program.with_file_name(HOST_NAME));
        let systemd = sent.systemd_cgroup.or(file.systemd_cgroup).unwrap_or(false);
        Ok(Self {
            host,
            store: sent.store.or(file.store).unwrap_or_else(|| DEFAULT_STORE.into()),
            cgroup_driver: if systemd { CgroupDriver::Systemd } else { CgroupDriver::Cgroupfs },
        })
    }
}

fn of_any(any: &Any) -> Result<Source, OptionsError> {
    let malformed = |error: prost::DecodeError| OptionsError::Malformed {
        place: "options of the runtime".to_owned(),
        message: error.to_string(),
    };
    match any.type_url.rsplit('/').next().unwrap_or_default() {
        "" => Ok(Source::default()),
        "runtimeoptions.v1.Options" => {
            let options = RuntimeOptions::decode(any.value.as_slice()).map_err(malformed)?;
            of_runtime_options(&options)
        }
        "containerd.runc.v1.Options" => {
            let options = RuncOptions::decode(any.value.as_slice()).map_err(malformed)?;
            Ok(Source { systemd_cgroup: Some(options.systemd_cgroup), ..Source::default() })
        }
        other => Err(OptionsError::Type(other.to_owned())),
    }
}

fn of_runtime_options(options: &RuntimeOptions) -> Result<Source, OptionsError> {
    if !options.config_body.is_empty() {
        return parse("options of the runtime", &String::from_utf8_lossy(&options.config_body));
    }
    if options.config_path.is_empty() {
        return Ok(Source::default());
    }
    let path = Path::new(&options.config_path);
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|source| OptionsError::Unreadable { path: path.to_owned(), source })?;
    parse(&options.config_path, &text)
}

fn of_file_if_there(path: &Path) -> Result<Source, OptionsError> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&path.display().to_string(), &text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Source::default()),
        Err(source) => Err(OptionsError::Unreadable { path: path.to_owned(), source }),
    }
}

fn parse(place: &str, text: &str) -> Result<Source, OptionsError> {
    let malformed = |error: toml::de::Error| OptionsError::Malformed {
        place: place.to_owned(),
        message: error.message().to_owned(),
    };
    toml::from_str(text).map_err(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: &str = "/opt/wisp/bin/containerd-shim-wisp-v1";

    fn sent(body: &str) -> Any {
        let options = RuntimeOptions { config_body: body.as_bytes().to_vec(), ..RuntimeOptions::default() };
        any("runtimeoptions.v1.Options", options.encode_to_vec())
    }

    fn any(type_url: &str, value: Vec<u8>) -> Any {
        Any { type_url: type_url.to_owned(), value, ..Any::default() }
    }

    fn resolve(any: Option<&Any>, file: Option<&str>) -> Result<Options, OptionsError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shim.toml");
        if let Some(text) = file {
            std::fs::write(&path, text).unwrap();
        }
        Options::resolve(any, &path, Path::new(PROGRAM))
    }

    #[test]
    fn without_settings_the_host_is_beside_the_shim() {
        let options = resolve(None, None).unwrap();
        assert_eq!(options.host, Path::new("/opt/wisp/bin/wisp-host"));
        assert_eq!(options.store, Path::new("/var/lib/wisp/store"));
        assert_eq!(options.cgroup_driver, CgroupDriver::Cgroupfs);
    }

    #[test]
    fn what_containerd_sends_wins_over_the_file_of_the_node() {
        let sent = sent("SystemdCgroup = true\nStore = '/sent'\n");
        let options = resolve(Some(&sent), Some("host = '/file/host'\nstore = '/file'\n")).unwrap();
        assert_eq!(options.cgroup_driver, CgroupDriver::Systemd);
        assert_eq!(options.store, Path::new("/sent"));
        assert_eq!(options.host, Path::new("/file/host"));
    }

    #[test]
    fn a_setting_that_does_not_exist_is_refused() {
        let error = resolve(Some(&sent("SystemdCgroups = true\n")), None).unwrap_err().to_string();
        assert!(error.contains("SystemdCgroups") && error.contains("host, store and systemd_cgroup"), "{error}");
        let error = resolve(None, Some("hosts = 1\n")).unwrap_err().to_string();
        assert!(error.contains("shim.toml"), "{error}");
    }

    #[test]
    fn options_meant_for_runc_say_who_makes_cgroups() {
        let runc = any("containerd.runc.v1.Options", RuncOptions { systemd_cgroup: true }.encode_to_vec());
        assert_eq!(resolve(Some(&runc), None).unwrap().cgroup_driver, CgroupDriver::Systemd);
    }

    #[test]
    fn options_of_another_runtime_are_refused() {
        let error = resolve(Some(&any("io.containerd.other.v1.Options", vec![1])), None).unwrap_err();
        assert!(matches!(error, OptionsError::Type(_)));
    }
}
