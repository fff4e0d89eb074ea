//! A file system with nothing in it.

use std::path::Path;

use rustix::mount::{MountFlags, mount};

/// Covers `folder` with one that nothing can be written to.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn cover(folder: &Path) -> rustix::io::Result<()> {
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("tmpfs", folder, "tmpfs", flags, c"size=4k,nr_inodes=1,mode=555")
}
