//! Where the shim keeps what must be found again after a crash: one folder for each of containerd's namespaces.
//!
//! `oci/<id>/` belongs to libcontainer, which is given `tasks/<id>.bundle/`. `tasks/<id>.json` is written before anything else is made for a container, and
//! removed after everything else is gone, so that `delete` finds what a daemon that died has left. `filters/` belongs to no
//! container.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// In memory, so that a reboot leaves nothing.
const ROOT: &str = "/run/wisp";

/// The state of one of containerd's namespaces.
#[derive(Clone, Debug)]
pub(crate) struct StateDir {
    root: PathBuf,
}

/// What has to be undone for a container, known before it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// containerd's folder of the container.
    pub(crate) bundle: PathBuf,
    /// As the OCI spec names it.
    pub(crate) cgroup: PathBuf,
    /// Whether systemd makes the cgroup.
    pub(crate) cgroup_driver: CgroupDriver,
    /// The pod that it is of; in a record of a version that did not write it, none.
    #[serde(default)]
    pub(crate) pod: Option<String>,
}

/// Who makes cgroups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum CgroupDriver {
    /// The shim itself.
    #[default]
    Cgroupfs,
    /// systemd, when it is asked on the bus.
    Systemd,
}

impl StateDir {
    /// The state of `namespace`.
    ///
    /// # Errors
    /// When the name could lead out of the folder.
    pub(crate) fn of(namespace: &str) -> io::Result<Self> {
        check_name(namespace)?;
        Ok(Self { root: Path::new(ROOT).join(namespace) })
    }

    /// Makes the folders.
    pub(crate) fn make(&self) -> io::Result<()> {
        std::fs::create_dir_all(self.oci())?;
        std::fs::create_dir_all(self.root.join("tasks"))
    }

    /// Where libcontainer has a folder for each container.
    pub(crate) fn oci(&self) -> PathBuf {
        self.root.join("oci")
    }

    /// The file that libcontainer starts a container by.
    pub(crate) fn start_socket(&self, id: &str) -> PathBuf {
        self.oci().join(id).join("notify.sock")
    }

    /// The pipe that closes when the container's program runs.
    pub(crate) fn gate(&self, id: &str) -> PathBuf {
        self.root.join("tasks").join(format!("{id}.gate"))
    }

    /// The bundle that libcontainer makes the container of.
    pub(crate) fn bundle(&self, id: &str) -> PathBuf {
        self.root.join("tasks").join(format!("{id}.bundle"))
    }

    /// Where filters of system calls are kept.
    pub(crate) fn filters(&self) -> PathBuf {
        self.root.join("filters")
    }

    /// The process that an exec adds to a container.
    pub(crate) fn process(&self, id: &str, exec_id: &str) -> PathBuf {
        self.root.join("tasks").join(format!("{id}.{exec_id}.process.json"))
    }

    /// Remembers `record`, so that whatever happens from now on can be undone.
    pub(crate) fn write(&self, id: &str, record: &Record) -> io::Result<()> {
        check_name(id)?;
        std::fs::write(self.record(id), serde_json::to_vec(record)?)
    }

    /// What was remembered, if anything was.
    pub(crate) fn read(&self, id: &str) -> io::Result<Option<Record>> {
        check_name(id)?;
        match std::fs::read(self.record(id)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The containers of `pod` that are remembered.
    pub(crate) fn of_pod(&self, pod: &str) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(self.root.join("tasks")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let Some(id) = name.to_str().and_then(|name| name.strip_suffix(".json")) else { continue };
            // What an exec left is no record, and another daemon may just be removing or writing its own.
            let record = self.read(id).ok().flatten();
            if record.is_some_and(|record| record.pod.as_deref() == Some(pod)) {
                found.push(id.to_owned());
            }
        }
        Ok(found)
    }

    /// Forgets the container: its folder, its pipe, and last its record.
    pub(crate) fn forget(&self, id: &str) -> io::Result<()> {
        check_name(id)?;
        gone(std::fs::remove_dir_all(self.oci().join(id)))?;
        gone(std::fs::remove_dir_all(self.bundle(id)))?;
        gone(std::fs::remove_file(self.gate(id)))?;
        gone(std::fs::remove_file(self.record(id)))
    }

    fn record(&self, id: &str) -> PathBuf {
        self.root.join("tasks").join(format!("{id}.json"))
    }
}

/// What is not there is gone.
pub(crate) fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// containerd allows letters, digits, `-`, `_` and `.`; this is what the paths above rely on.
pub(crate) fn check_name(name: &str) -> io::Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
        let message = format!("{name:?} is no name of containerd's: letters, digits, `-`, `_` and `.` only");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["", ".", "..", "../x", "a/b", "a\0b", ".hidden"] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        for name in ["k8s.io", "default", "0a1b", "my_app-1"] {
            assert!(check_name(name).is_ok(), "{name:?}");
        }
    }
}
