//! The pod of a function: its container runs no program of its image but the host, which waits to be told what to serve,
//! finds compiled code in the folder that the node's agent fills, and proves by the node's key which pod it is.

use std::ffi::CString;
use std::fs::File;
use std::path::Path;

use oci_spec::runtime::Spec;
use rustix::fs::{Mode, OFlags};

use wisp_identity::NodeKey;

use crate::artifact::{Artifact, ArtifactError};

/// The command by which a container asks for it, and the variable without which it could not be told anything.
const COMMAND: &str = "wisp-instance";
const CONTROL: &str = "WISP_CONTROL=";
/// The variable by which the host finds its proof.
const PROOF: &str = "WISP_TOKEN";
/// Of the store: what the agent has fetched, and the key that all of it is sealed with.
const FOLDER: &str = "artifacts";
const KEY_FILE: &str = "seal.key";
/// Of the store: by what this node vouches for its pods.
const NODE_KEY_FILE: &str = "node.key";
/// By these annotations kubelet's runtime service says which pod a container is of; a pod cannot set them.
const POD_NAMESPACE: &str = "io.kubernetes.cri.sandbox-namespace";
const POD_NAME: &str = "io.kubernetes.cri.sandbox-name";
const POD_UID: &str = "io.kubernetes.cri.sandbox-uid";

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

/// The variable with the proof of which pod `spec` is of.
///
/// # Errors
/// When the node has no key yet, or the container is not one of kubelet's.
pub(crate) fn proof(spec: &Spec, store: &Path) -> Result<CString, ArtifactError> {
    let path = store.join(NODE_KEY_FILE);
    let failed = |source| ArtifactError::Agent { path: path.clone(), source };
    let key: NodeKey =
        serde_json::from_slice(&std::fs::read(&path).map_err(failed)?).map_err(|error| failed(error.into()))?;
    let of = |name| spec.annotations().as_ref().and_then(|all| all.get(name)).map_or("", String::as_str);
    let proof = key.sign(of(POD_NAMESPACE), of(POD_NAME), of(POD_UID));
    let proof = proof.map_err(|_| ArtifactError::NoPod)?;
    CString::new(format!("{PROOF}={proof}")).map_err(|_| ArtifactError::NoPod)
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
    fn the_proof_is_of_the_pod_that_the_runtime_service_names() {
        let store = tempfile::tempdir().unwrap();
        let key = wisp_identity::InstallationKey::new(&[7; wisp_identity::KEY_BYTES]).unwrap();
        let mut spec = spec(&[COMMAND], &["WISP_CONTROL=https://a:1"]);
        assert!(matches!(proof(&spec, store.path()), Err(ArtifactError::Agent { .. })));
        std::fs::write(store.path().join(NODE_KEY_FILE), json!(key.of_node("node-a")).to_string()).unwrap();
        assert!(matches!(proof(&spec, store.path()), Err(ArtifactError::NoPod)));
        let annotations = [(POD_NAMESPACE, "shop"), (POD_NAME, "cart-1"), (POD_UID, "u-1")];
        spec.set_annotations(Some(annotations.map(|(name, value)| (name.to_owned(), value.to_owned())).into()));
        let proof = proof(&spec, store.path()).unwrap().into_string().unwrap();
        let claim = key.verify(proof.strip_prefix("WISP_TOKEN=").unwrap()).unwrap();
        assert_eq!([claim.node, claim.namespace, claim.pod, claim.uid], ["node-a", "shop", "cart-1", "u-1"]);
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
