//! What `wisp up` keeps on disk, so that functions survive a restart: a file per function, the components that they
//! run, and one lock.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wisp_api::function::WasmFunctionSpec;
use wisp_api::key::FunctionKey;
use wisp_api::wire::HostSpec;

use super::spec::VolumeFiles;

/// A socket's path has at most 107 bytes, and an instance's adds up to 30.
const RUN_PATH_BYTES_MAX: usize = 77;

/// A function as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Stored {
    pub(crate) key: FunctionKey,
    pub(crate) created_unix_seconds: u64,
    /// The manifest's file.
    pub(crate) origin: PathBuf,
    pub(crate) spec: WasmFunctionSpec,
    /// Oldest first.
    pub(crate) revisions: Vec<StoredRevision>,
}

/// A revision as it is kept. Holds the values of secrets: the files are readable by their owner only.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StoredRevision {
    pub(crate) generation: u32,
    pub(crate) created_unix_seconds: u64,
    /// Equal for equal revisions: what is deployed again unchanged makes no new one.
    pub(crate) fingerprint: String,
    /// Of its component.
    pub(crate) digest: String,
    pub(crate) host: HostSpec,
}

/// The state folder, held by one `wisp up` at a time.
#[derive(Debug)]
pub(crate) struct StateFolder {
    folder: PathBuf,
    _lock: File,
}

impl StateFolder {
    /// Opens the folder, makes what is not there, and locks it.
    ///
    /// # Errors
    /// When it cannot be made or written, or another `wisp up` holds it.
    pub(crate) fn open(folder: &Path) -> anyhow::Result<Self> {
        let named =
            |error: io::Error| anyhow::anyhow!("state folder {}: {error}; give another with --state", folder.display());
        for sub in ["functions", "components", "volumes", "run"] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder.join(sub)).map_err(named)?;
        }
        let folder = folder.canonicalize().map_err(named)?;
        let lock = File::options().create(true).truncate(false).write(true).mode(0o600).open(folder.join("lock"));
        let lock = lock.map_err(named)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { folder, _lock: lock }),
            Err(TryLockError::WouldBlock) => anyhow::bail!(
                "another wisp up uses the state folder {}; stop it, or give another with --state",
                folder.display()
            ),
            Err(TryLockError::Error(error)) => Err(named(error)),
        }
    }

    /// Folder of compiled code and the key that seals it.
    pub(crate) fn artifacts(&self) -> PathBuf {
        self.folder.join("artifacts")
    }

    /// Folder of sockets. Emptied: no instance outlives the program that started it.
    ///
    /// # Errors
    /// When it cannot be emptied, or its path is too long for sockets in it.
    pub(crate) fn fresh_run_folder(&self) -> anyhow::Result<PathBuf> {
        let folder = self.folder.join("run");
        let length = folder.as_os_str().len();
        anyhow::ensure!(
            length <= RUN_PATH_BYTES_MAX,
            "the path of the state folder {} is {} bytes too long for sockets in it; give a shorter one with --state",
            self.folder.display(),
            length - RUN_PATH_BYTES_MAX
        );
        ignore_missing(fs::remove_dir_all(&folder))?;
        fs::DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(folder)
    }

    /// All functions that are kept. One that cannot be read is left out, with a warning.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(crate) fn load(&self) -> io::Result<Vec<Stored>> {
        let mut functions = Vec::new();
        for entry in fs::read_dir(self.folder.join("functions"))? {
            let path = entry?.path();
            match read_json(&path) {
                Ok(stored) => functions.push(stored),
                Err(error) => tracing::warn!(file = %path.display(), error, "a stored function is left out"),
            }
        }
        Ok(functions)
    }

    /// The stored function, if it is there and can be read.
    pub(crate) fn get(&self, key: &FunctionKey) -> Option<Stored> {
        read_json(&self.function_file(key)).ok()
    }

    /// Keeps a function. Readers see all of the file or the one before; after a power cut it may be the one before.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn put(&self, stored: &Stored) -> io::Result<()> {
        replace(&self.function_file(&stored.key), &serde_json::to_vec(stored).map_err(io::Error::other)?)
    }

    /// Forgets a function and its volumes.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn remove(&self, key: &FunctionKey) -> io::Result<()> {
        ignore_missing(fs::remove_file(self.function_file(key)))?;
        ignore_missing(fs::remove_dir_all(self.volumes_of(key)))
    }

    /// Keeps a component, so that it can be compiled again when its file is gone and the engine is a new one.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn put_component(&self, digest: &str, bytes: &[u8]) -> io::Result<()> {
        let file = self.component_file(digest);
        if file.exists() { Ok(()) } else { replace(&file, bytes) }
    }

    /// A component that was kept.
    ///
    /// # Errors
    /// When it is not there or cannot be read.
    pub(crate) fn component(&self, digest: &str) -> io::Result<Vec<u8>> {
        fs::read(self.component_file(digest))
    }

    /// Makes the folders of a revision's volumes and says where they are: one folder per volume, a file per key.
    ///
    /// # Errors
    /// When the disk fails, or a key is no file name.
    pub(crate) fn put_volumes(
        &self,
        key: &FunctionKey,
        fingerprint: &str,
        volumes: &[VolumeFiles],
    ) -> io::Result<PathBuf> {
        let folder = self.volumes_of(key).join(fingerprint);
        for volume in volumes {
            let inside = folder.join(&volume.name);
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&inside)?;
            for (name, bytes) in &volume.files {
                if name.contains('/') || name == ".." || name == "." {
                    let message = format!("volume {:?}: key {name:?} is no file name", volume.name);
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
                }
                replace(&inside.join(name), bytes)?;
            }
        }
        Ok(folder)
    }

    fn function_file(&self, key: &FunctionKey) -> PathBuf {
        self.folder.join("functions").join(format!("{}.{}.json", key.namespace, key.name))
    }

    fn volumes_of(&self, key: &FunctionKey) -> PathBuf {
        self.folder.join("volumes").join(format!("{}.{}", key.namespace, key.name))
    }

    fn component_file(&self, digest: &str) -> PathBuf {
        self.folder.join("components").join(format!("{}.wasm", digest.trim_start_matches("sha256:")))
    }
}

fn read_json(path: &Path) -> Result<Stored, String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    serde_json::from_slice(&bytes).map_err(|error| error.to_string())
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or_else(|| io::Error::other("a file of the state folder has a folder"))?;
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    temporary.write_all(bytes)?;
    temporary.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_program_holds_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let first = StateFolder::open(folder.path()).unwrap();
        assert!(StateFolder::open(folder.path()).unwrap_err().to_string().contains("another wisp up"));
        drop(first);
        StateFolder::open(folder.path()).unwrap();
    }

    #[test]
    fn a_key_cannot_leave_its_volume() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        let volume = VolumeFiles { name: "v".to_owned(), files: [("../x".to_owned(), Vec::new())].into() };
        assert!(state.put_volumes(&FunctionKey::new("default", "hello"), "f", &[volume]).is_err());
    }
}
