//! containerd's action `start`: says where the pod's daemon listens, after starting it if there is none.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Read};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use containerd_shim::bootstrap::BootstrapParams;
use containerd_shim::protos::protobuf::Message;
use containerd_shim::{Flags, StartOpts};
use serde::Deserialize;

use crate::state_dir::gone;
use crate::task_api;
use crate::workload::{CONTAINER_TYPE, SANDBOX};

/// Names the pod that a container is of.
pub(crate) const SANDBOX_ID: &str = "io.kubernetes.cri.sandbox-id";
/// In the bundle: where the daemon listens. containerd reads it when it comes back.
const ADDRESS_FILE: &str = "address";
/// What the daemon's errand of telling containerd needs; older containerds set it, newer ones send it.
pub(crate) const TTRPC_ADDRESS: &str = "TTRPC_ADDRESS";
/// What the daemon says when it listens.
pub(crate) const READY: &str = "ready\n";
/// As containerd bounds it.
const PARAMS_BYTES_MAX: u64 = 10 << 20;

/// As much of the OCI spec as tells the pod.
#[derive(Deserialize)]
struct Annotated {
    #[serde(default)]
    annotations: HashMap<String, String>,
}

/// Starts the daemon of the pod that the bundle in the working folder is of, or finds it. Returns the answer to
/// containerd.
///
/// # Errors
/// When it does not start, with its own words.
pub(crate) fn start(flags: &Flags) -> Result<Vec<u8>, String> {
    let options = options(flags)?;
    let of = annotated()?.annotations;
    let group = of.get(SANDBOX_ID).unwrap_or(&flags.id);
    let address = options.socket_address(group);
    let path = PathBuf::from(address.trim_start_matches("unix://"));
    let failed = |error: io::Error| format!("the shim's daemon does not start: {error}");
    let mut daemon = None;
    if UnixStream::connect(&path).is_err() {
        gone(std::fs::remove_file(&path)).map_err(|error| format!("{}: {error}", path.display()))?;
        daemon = Some(spawn(&options, &address).map_err(failed)?);
    }
    // Asked while the daemon starts.
    let is_pod = of.get(CONTAINER_TYPE).is_some_and(|kind| kind == SANDBOX);
    let version = if is_pod { task_api::of_pod(&options.address) } else { task_api::BY_CONTAINER };
    daemon.map_or(Ok(()), ready).map_err(failed)?;
    std::fs::write(ADDRESS_FILE, &address).map_err(|error| format!("{ADDRESS_FILE} in the bundle: {error}"))?;
    let answer = serde_json::json!({"version": version, "address": address, "protocol": "ttrpc"});
    Ok(answer.to_string().into_bytes())
}

/// Removes the socket of the daemon that served the bundle in the working folder, if nobody answers there any more.
/// Returns whether that is so.
pub(crate) fn remove_dead_socket() -> bool {
    let Ok(address) = std::fs::read_to_string(ADDRESS_FILE) else { return false };
    let path = Path::new(address.trim_start_matches("unix://"));
    let dead = !is_served(path);
    if dead {
        // Left there, it would be replaced by the next daemon of this name.
        let _ = std::fs::remove_file(path);
    }
    dead
}

/// Whether a daemon is behind the socket. One that was killed a moment ago can still have it open; it has no program any
/// more.
fn is_served(path: &Path) -> bool {
    let Ok(connection) = UnixStream::connect(path) else { return false };
    let daemon = rustix::net::sockopt::socket_peercred(&connection);
    daemon.is_ok_and(|daemon| std::fs::read_link(format!("/proc/{}/exe", daemon.pid.as_raw_pid())).is_ok())
}

fn options(flags: &Flags) -> Result<StartOpts, String> {
    let sent = sent(flags).map_err(|error| format!("standard input: {error}"))?;
    let mut options = sent.map(StartOpts::from).unwrap_or_default();
    if options.id.is_empty() {
        options.id.clone_from(&flags.id);
        options.namespace.clone_from(&flags.namespace);
        options.address.clone_from(&flags.address);
        options.debug = flags.debug;
    }
    if options.ttrpc_address.is_empty() {
        options.ttrpc_address = std::env::var(TTRPC_ADDRESS).unwrap_or_default();
    }
    if options.ttrpc_address.is_empty() {
        return Err(format!("containerd does not say where it takes events; {TTRPC_ADDRESS} is not set"));
    }
    Ok(options)
}

/// What containerd 2.3 and later send. Earlier ones send the runtime's options, which come again with each container.
fn sent(flags: &Flags) -> io::Result<Option<BootstrapParams>> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    stdin.lock().take(PARAMS_BYTES_MAX).read_to_end(&mut bytes)?;
    let params = BootstrapParams::parse_from_bytes(&bytes).ok();
    Ok(params.filter(|params| params.instance_id == flags.id && params.namespace == flags.namespace))
}

/// All containers of a pod have one daemon, and their annotations name the pod.
fn annotated() -> Result<Annotated, String> {
    let failed = |error: String| format!("config.json of the bundle: {error}");
    let text = std::fs::read("config.json").map_err(|error| failed(error.to_string()))?;
    serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))
}

fn spawn(options: &StartOpts, address: &str) -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["-namespace", &options.namespace, "-id", &options.id, "-address", &options.address, "-socket", address])
        .args(options.debug.then_some("-debug"))
        .env(TTRPC_ADDRESS, &options.ttrpc_address)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // What is sent to containerd's whole group is not meant for pods.
        .process_group(0);
    command.spawn()
}

/// Waits until the daemon listens.
fn ready(mut child: Child) -> io::Result<()> {
    let mut words = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut words)?;
    }
    match words.strip_prefix(READY) {
        Some(_) => Ok(()),
        None => Err(io::Error::other(if words.is_empty() { "it ended and said nothing".to_owned() } else { words })),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_socket_is_served_while_somebody_listens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        assert!(!is_served(&path));
        let listener = UnixListener::bind(&path).unwrap();
        assert!(is_served(&path));
        drop(listener);
        assert!(path.exists());
        assert!(!is_served(&path));
    }
}
