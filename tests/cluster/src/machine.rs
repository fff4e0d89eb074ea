//! Whether this machine can run a cluster.

use std::path::Path;

use crate::programs::Programs;

/// What `node/` calls and a small system may lack.
const TOOLS: [&str; 7] = ["bash", "ip", "nsenter", "setpriv", "setsid", "unshare", "awk"];

/// Why it cannot, in words for who ran the tests.
pub(crate) fn lacks() -> Option<String> {
    if !cfg!(target_os = "linux") {
        return Some(format!("a cluster needs Linux, and this is {}", std::env::consts::OS));
    }
    if !rustix::process::geteuid().is_root() {
        return Some("a cluster needs root, to make namespaces and network links".to_owned());
    }
    if let Some(tool) = TOOLS.iter().find(|tool| !is_installed(tool)) {
        return Some(format!("a cluster needs {tool}: install util-linux, iproute2, bash and awk"));
    }
    Programs::find().err().map(|error| error.to_string())
}

fn is_installed(tool: &str) -> bool {
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].iter().any(|folder| Path::new(folder).join(tool).exists())
}
