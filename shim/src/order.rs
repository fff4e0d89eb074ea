//! What the daemon tells the process that makes a container, and what it hears back: JSON on standard input and output.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::state_dir::CgroupDriver;
use crate::stdio::Names;

/// The command line's first word for the process that makes a container.
pub(crate) const CREATE: &str = "oci-create";
/// The same for a process that joins a container.
pub(crate) const EXEC: &str = "oci-exec";

/// The same for the process of a pod's own container.
pub(crate) const PAUSE: &str = "pause";

/// Make a container.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Create {
    pub(crate) namespace: String,
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) stdio: Names,
    pub(crate) cgroup_driver: CgroupDriver,
    /// containerd's socket.
    pub(crate) containerd: String,
    pub(crate) host: PathBuf,
    pub(crate) store: PathBuf,
}

/// One layer of the root file system.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Mount {
    pub(crate) kind: String,
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) options: Vec<String>,
}

/// Start another process in a container.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Exec {
    pub(crate) namespace: String,
    pub(crate) id: String,
    pub(crate) exec_id: String,
    pub(crate) stdio: Names,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// The process is there. A container's first process waits to be started.
    Made(Made),
    /// It is not, and nothing is left of the attempt that deleting the container does not remove.
    Failed(String),
}

/// A process that was made.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Made {
    pub(crate) pid: i32,
    pub(crate) kind: Kind,
}

/// What a container runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// Nothing: it holds the namespaces of its pod, from when it is made.
    Sandbox,
    Linux,
    Wasm,
}
