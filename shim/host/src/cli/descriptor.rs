//! Files that whoever made the container opened for its first process.

use std::fs::File;
use std::os::fd::RawFd;

use rustix::io::FdFlags;

use crate::load::inherited;

/// What the process works on: one artifact, or the folder of all.
pub(super) const CODE: RawFd = 3;
/// The key that seals are checked with.
pub(super) const KEY: RawFd = 4;

/// Takes over descriptor `number`, which is `what`; no process that this one starts gets it.
///
/// # Errors
/// With words for who started this by hand.
pub(super) fn take(number: RawFd, what: &str) -> Result<File, String> {
    let explained = |error: &dyn std::fmt::Display| {
        format!(
            "descriptor {number}, {what}, is not open: {error}; this command is for a container runtime, which opens it"
        )
    };
    let file = inherited(number).map_err(|error| explained(&error))?;
    rustix::io::fcntl_setfd(&file, FdFlags::CLOEXEC).map_err(|error| explained(&error))?;
    Ok(file)
}
