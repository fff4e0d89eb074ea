//! Where an instance finds compiled code: anywhere by its path, or by its name in one folder that was opened for it.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::engine::Runtimes;
use crate::load::{LoadError, Loaded, Sealed, load};
use crate::seal::{SealError, SealKey};

/// How long a named artifact may take to appear: whoever fills the folder hears of it when we do, and large ones take a
/// second over the network.
pub const APPEARS_WITHIN: Duration = Duration::from_secs(5);
/// The longest name of a file.
const NAME_BYTES_MAX: usize = 255;

/// Where compiled code is.
#[derive(Debug)]
pub enum Artifacts {
    /// Each at the path that it is called by.
    Anywhere,
    /// In this folder, each by the name of its file. The folder needs no path of its own here.
    Beneath(OwnedFd),
}

/// Why an artifact cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// It is called by something that is no file name.
    #[error("artifact {0:?} is not the name of a file; paths are not taken where artifacts are in one folder")]
    Name(String),
    /// It did not appear in time.
    #[error(
        "artifact {0} is not on this node, and did not come within {wait} s; see the log of the node's agent, which \
         fetches it",
        wait = APPEARS_WITHIN.as_secs()
    )]
    Missing(String),
    /// It is there and no good.
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl Artifacts {
    /// Opens, checks and maps the artifact that is called `name`, and links it. None when it is not there yet, in a
    /// folder that it may still come into.
    ///
    /// # Errors
    /// When it is not called right, cannot be opened, or is no good.
    pub fn load(&self, name: &str, key: &SealKey, runtimes: &Runtimes) -> Result<Option<Loaded>, ArtifactError> {
        match self {
            Self::Anywhere => Ok(Some(load(name.as_ref(), key, runtimes)?)),
            Self::Beneath(folder) => match open(folder, name)? {
                Some(file) => Ok(Some(Sealed::check(file, name.as_ref(), key)?.http(runtimes)?)),
                None => Ok(None),
            },
        }
    }
}

/// A regular file right in `folder`, and nothing that it leads to.
fn open(folder: &OwnedFd, name: &str) -> Result<Option<File>, ArtifactError> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.starts_with('.') || name.contains(['/', '\0']) {
        return Err(ArtifactError::Name(name.to_owned()));
    }
    // Without NONBLOCK, a FIFO would stop us here.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let failed = |error: std::io::Error| LoadError::Seal { path: Path::new(name).into(), source: SealError::Io(error) };
    match rustix::fs::openat2(folder, name, flags, Mode::empty(), resolve) {
        Ok(file) => {
            let file = File::from(file);
            let is_file = file.metadata().map_err(failed)?.is_file();
            if is_file { Ok(Some(file)) } else { Err(ArtifactError::Name(name.to_owned())) }
        }
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(failed(error.into()).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, OwnedFd) {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("artifacts")).unwrap();
        std::fs::write(place.path().join("secret"), "outside").unwrap();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(place.path().join("artifacts"), flags, Mode::empty()).unwrap();
        (place, folder)
    }

    #[test]
    fn a_file_in_the_folder_is_opened_by_its_name_once_it_is_there() {
        let (place, folder) = folder();
        assert!(open(&folder, "a.wisp").unwrap().is_none());
        std::fs::write(place.path().join("artifacts/a.wisp"), "code").unwrap();
        assert_eq!(open(&folder, "a.wisp").unwrap().unwrap().metadata().unwrap().len(), 4);
    }

    #[test]
    fn nothing_outside_of_the_folder_is_opened() {
        let (place, folder) = folder();
        let artifacts = place.path().join("artifacts");
        std::os::unix::fs::symlink("../secret", artifacts.join("link")).unwrap();
        std::fs::create_dir(artifacts.join("folder")).unwrap();
        std::fs::write(artifacts.join(".hidden"), "x").unwrap();
        let absolute = place.path().join("secret").display().to_string();
        for name in ["", ".", "..", "../secret", "folder", "folder/x", ".hidden", "link", "a\0b", &absolute] {
            assert!(open(&folder, name).is_err(), "{name:?}");
        }
        assert!(open(&folder, &"a".repeat(NAME_BYTES_MAX + 1)).is_err());
    }
}
