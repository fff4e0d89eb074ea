//! The pod of a function: its container runs no program of its image but the host, which waits to be told what to serve,
//! and finds compiled code in the folder that the node's agent fills.

use std::ffi::CString;
use std::fs::File;
use std::path::Path;

use oci_spec::runtime::Spec;
use rustix::fs::{Mode, OFlags};

use crate::artifact::{Artifact, ArtifactError};

/// The command by which a container asks for it, and the variable without which it could not be told anything.
const COMMAND: &str = "wisp-instance";
const CONTROL: &str = "WISP_CONTROL=";
/// Of the store: what the agent has fetched, and the key that all of it is sealed with.
const FOLDER: &str = "artifacts";
const KEY_FILE: &str = "seal.key";

/// Whether the container is an instance of a function.
pub(crate) fn is_instance(spec: &Spec) -> bool {
    let Some(process) = spec.process() else { return false };
    let command = process.args().iter().flatten().next();
    let mut variables = process.env().iter().flatten();
    command.is_some_and(|word| word == COMMAND) && variables.any(|variable| variable.starts_with(CONTROL))
}

/// The folder of `store` that instances find their code in, and the key; both are read by whoever the container runs as.
///
/// # Errors
/// When the node's agent has not made them.
pub(crate) fn artifacts(store: &Path) -> Result<Artifact, ArtifactError> {
    let folder = store.join(FOLDER);
    let missing = |source| ArtifactError::Agent { path: folder.clone(), source };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let code = rustix::fs::open(&folder, flags, Mode::empty()).map_err(|error| missing(error.into()))?;
    let key = File::open(folder.join(KEY_FILE)).map_err(missing)?;
    Ok(Artifact { code: File::from(code), key })
}

/// The host's command line: its settings are the container's environment.
pub(crate) fn arguments() -> Vec<CString> {
    vec![c"wisp-host".to_owned(), c"instance".to_owned()]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(args: &[&str], env: &[&str]) -> Spec {
        let process = json!({"args": args, "cwd": "/", "env": env, "user": {"uid": 65532, "gid": 65532}});
        serde_json::from_value(json!({"ociVersion": "1.1.0", "process": process})).unwrap()
    }

    #[test]
    fn an_instance_is_a_container_with_the_command_and_a_control_address() {
        let table = [
            (spec(&["wisp-instance"], &["A=b", "WISP_CONTROL=https://a:1"]), true),
            (spec(&["wisp-instance"], &["WISP_CONTROL_CA=pem"]), false),
            (spec(&["/wisp-instance"], &["WISP_CONTROL=https://a:1"]), false),
            (spec(&["/app.wasm", "wisp-instance"], &["WISP_CONTROL=https://a:1"]), false),
            (spec(&[], &["WISP_CONTROL=https://a:1"]), false),
        ];
        for (spec, is) in table {
            assert_eq!(is_instance(&spec), is, "{:?}", spec.process());
        }
    }

    #[test]
    fn without_its_agent_a_node_says_so() {
        let store = tempfile::tempdir().unwrap();
        let error = artifacts(store.path()).unwrap_err().to_string();
        assert!(error.contains("agent"), "{error}");
        std::fs::create_dir(store.path().join(FOLDER)).unwrap();
        assert!(artifacts(store.path()).is_err());
        std::fs::write(store.path().join(FOLDER).join(KEY_FILE), "key").unwrap();
        artifacts(store.path()).unwrap();
    }
}
