//! A container of the pod: its processes and its cgroup.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use oci_spec::runtime::{LinuxNamespaceType, Spec};

use crate::cgroup::{CgroupError, Named, Place};
use crate::gate::Gate;
use crate::order::Kind;
use crate::process::Process;
use crate::respond::TaskError;
use crate::state_dir::Record;

/// Of processes that exec adds to one container; the probe that leaks one a second is found within the hour.
const EXECS_MAX: usize = 1024;

/// A container that was made.
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    pub(crate) kind: Kind,
    pub(crate) record: Record,
    pub(crate) place: Place,
    pub(crate) leftovers: Leftovers,
    /// Its first process.
    pub(crate) init: Arc<Process>,
    /// Taken by the start.
    pub(crate) gate: Mutex<Option<Gate>>,
    pub(crate) execs: Execs,
}

/// Processes that execs added, by the names they gave.
#[derive(Default)]
pub(crate) struct Execs(Mutex<HashMap<String, Arc<Process>>>);

/// What becomes of a container's other processes when its first one ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leftovers {
    /// The kernel ends them: their process namespace is gone.
    EndedByKernel,
    /// They would go on, in a namespace that is not only theirs.
    ToBeKilled,
}

impl Leftovers {
    /// As the container's namespaces have it.
    pub(crate) fn of(spec: &Spec) -> Self {
        let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
        let mut namespaces = namespaces.into_iter().flatten();
        let own = |of: &oci_spec::runtime::LinuxNamespace| of.typ() == LinuxNamespaceType::Pid && of.path().is_none();
        if namespaces.any(own) { Self::EndedByKernel } else { Self::ToBeKilled }
    }
}

impl Container {
    /// The cgroup by its name, to change it.
    pub(crate) fn cgroup(&self) -> Result<Named, CgroupError> {
        Named::of(&self.id, &self.record)
    }

    /// What knows when the first process runs; once.
    pub(crate) fn take_gate(&self) -> Option<Gate> {
        self.gate.lock().expect("no panic while held").take()
    }

    /// The first process, or the one that an exec named so.
    ///
    /// # Errors
    /// When there is none of this name.
    pub(crate) fn process(&self, exec_id: &str) -> Result<Arc<Process>, TaskError> {
        if exec_id.is_empty() {
            return Ok(Arc::clone(&self.init));
        }
        let missing = || TaskError::NotFound(format!("process {exec_id} in {}", self.id));
        self.execs().get(exec_id).cloned().ok_or_else(missing)
    }

    /// Adds a process that an exec will start.
    ///
    /// # Errors
    /// When there is one of this name, or too many.
    pub(crate) fn add(&self, exec_id: &str, process: Arc<Process>) -> Result<(), TaskError> {
        let mut execs = self.execs();
        if execs.contains_key(exec_id) {
            return Err(TaskError::Exists(format!("process {exec_id} in {}", self.id)));
        }
        if execs.len() >= EXECS_MAX {
            return Err(TaskError::Precondition(format!("{} has {EXECS_MAX} processes of exec already", self.id)));
        }
        execs.insert(exec_id.to_owned(), process);
        Ok(())
    }

    /// Forgets a process of an exec.
    pub(crate) fn remove(&self, exec_id: &str) {
        self.execs().remove(exec_id);
    }

    fn execs(&self) -> MutexGuard<'_, HashMap<String, Arc<Process>>> {
        self.execs.0.lock().expect("no panic while held")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn leftovers(namespaces: &serde_json::Value) -> Leftovers {
        let spec = json!({"ociVersion": "1.1.0", "linux": {"namespaces": namespaces}});
        Leftovers::of(&serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn only_a_process_namespace_of_its_own_ends_with_its_first_process() {
        assert_eq!(leftovers(&json!([{"type": "pid"}])), Leftovers::EndedByKernel);
        assert_eq!(leftovers(&json!([{"type": "pid", "path": "/proc/1/ns/pid"}])), Leftovers::ToBeKilled);
        assert_eq!(leftovers(&json!([{"type": "mount"}])), Leftovers::ToBeKilled);
    }
}
