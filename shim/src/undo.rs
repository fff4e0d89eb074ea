//! Takes a container away: processes, cgroup, mounts, files. The same after an ordinary end and after a crash.

use std::io;
use std::path::Path;

use rustix::mount::{UnmountFlags, unmount};

use crate::cgroup::{CgroupError, Named};
use crate::create::ROOTFS;
use crate::state_dir::StateDir;

/// What could not be taken away.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UndoError {
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
}

/// Takes away all that is left of the container `id`; nothing is an answer too. Blocks for some seconds at most,
/// while the kernel lets go of processes.
///
/// # Errors
/// When something stays. It is still remembered then, and may be tried again.
pub(crate) fn undo(state: &StateDir, id: &str) -> Result<(), UndoError> {
    let failed = |what: &str, source| UndoError::Io { what: what.to_owned(), source };
    let Some(record) = state.read(id).map_err(|source| failed("state", source))? else { return Ok(()) };
    let cgroup = Named::of(id, &record)?;
    // Who is frozen cannot die. Where nobody is, or no cgroup any more, this has nothing to do.
    let _ = cgroup.thaw();
    cgroup.remove()?;
    let rootfs = record.bundle.join(ROOTFS);
    unmount_all(&rootfs).map_err(|source| failed("root file system", source))?;
    state.forget(id).map_err(|source| failed("state", source))
}

/// Takes away all that is left of the containers of `pod`, of which nobody else will tell.
///
/// # Errors
/// As [`undo`]; the others are taken away all the same.
pub(crate) fn undo_pod(state: &StateDir, pod: &str) -> Result<(), UndoError> {
    let containers = state.of_pod(pod).map_err(|source| UndoError::Io { what: "state".to_owned(), source })?;
    let done: Vec<_> = containers.iter().map(|id| undo(state, id)).collect();
    done.into_iter().collect()
}

/// Unmounts whatever is mounted at `folder`, layer by layer.
fn unmount_all(folder: &Path) -> io::Result<()> {
    loop {
        match unmount(folder, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            // Not mounted any more, or never made.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}
