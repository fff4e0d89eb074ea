//! Compiled code on disk: by digest, sealed, bounded, and compiled once however many ask.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::SystemTime;

use ring::digest;
use rustix::fs::FlockOperation;

use crate::compile::{CompileError, Compiler};
use crate::engine::{compatibility_hash, hex};
use crate::inspect::{Entry, InspectError, Kind, Wanted, World, inspect};
use crate::seal::{KeyError, SealKey};

/// What artifacts are called; everything else in the folder is left alone.
const EXTENSION: &str = "wisp";
/// Names the key within the store's folder.
const KEY_FILE: &str = "seal.key";
/// Serialises compilers of several processes.
const LOCK_FILE: &str = "lock";
/// About two hundred large components.
pub const DEFAULT_BYTES_MAX: u64 = 4 << 30;

/// Compiled code of one component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// `sha256:<hex>` of the component.
    pub digest: String,
    /// The sealed file.
    pub path: PathBuf,
    /// How it is entered.
    pub entry: Entry,
}

/// A folder of artifacts.
pub struct ArtifactStore {
    folder: PathBuf,
    key: SealKey,
    compiler: Compiler,
    bytes_max: u64,
    /// One lock per artifact that is wanted now: the first compiles, the others find the file.
    wanted: Mutex<HashMap<PathBuf, Arc<tokio::sync::Mutex<()>>>>,
    hashes: [OnceLock<String>; 2],
}

/// Why there is no artifact.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The component cannot be served.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// It can, but does not compile.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// No key, so nothing can be sealed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The engine does not start here.
    #[error("the compiler's engine cannot be made: {0}")]
    Engine(String),
    /// The folder fails us.
    #[error("artifact store {path}: {source}; check space and permissions")]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
}

impl ArtifactStore {
    /// The store in `folder`, which is made with its key if it is not there.
    ///
    /// # Errors
    /// When the folder or the key cannot be made or used.
    pub fn open(folder: &Path, compiler: Compiler) -> Result<Self, StoreError> {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|source| StoreError::Io { path: folder.to_owned(), source })?;
        let folder = folder.canonicalize().map_err(|source| StoreError::Io { path: folder.to_owned(), source })?;
        let key = SealKey::load_or_create(&folder.join(KEY_FILE))?;
        Ok(Self {
            folder,
            key,
            compiler,
            bytes_max: DEFAULT_BYTES_MAX,
            wanted: Mutex::default(),
            hashes: [OnceLock::new(), OnceLock::new()],
        })
    }

    /// The same store, which removes what was not used for longest when it holds more than `bytes_max`.
    #[must_use]
    pub fn bounded(mut self, bytes_max: u64) -> Self {
        self.bytes_max = bytes_max;
        self
    }

    /// The key that seals this store's artifacts.
    #[must_use]
    pub fn key(&self) -> &SealKey {
        &self.key
    }

    /// The file that holds the key, for a host that is to load from this store.
    #[must_use]
    pub fn key_path(&self) -> PathBuf {
        self.folder.join(KEY_FILE)
    }

    /// The artifact of `component`, which serves HTTP, compiled now if nobody did before. Safe to call at once from many
    /// tasks and processes: one compiles, the others wait for it.
    ///
    /// # Errors
    /// When the component cannot be served or compiled, or the folder fails.
    pub async fn ensure(&self, component: &[u8]) -> Result<Artifact, StoreError> {
        self.ensure_wanted(component, Wanted::Only(Kind::Http)).await
    }

    /// As [`Self::ensure`], of a component of any kind that is `wanted`.
    ///
    /// # Errors
    /// When the component is of no wanted kind or cannot be compiled, or the folder fails.
    pub async fn ensure_wanted(&self, component: &[u8], wanted: Wanted) -> Result<Artifact, StoreError> {
        let digest = hex(digest::digest(&digest::SHA256, component).as_ref());
        let entry = inspect(component, wanted)?.entry;
        let Entry { kind, world } = entry;
        let path = self.folder.join(format!("{digest}-{kind}-{world}-{}.{EXTENSION}", self.hash(world)?));
        let artifact = Artifact { digest: format!("sha256:{digest}"), path: path.clone(), entry };
        if touch(&path) {
            return Ok(artifact);
        }
        let lock = self.lock_of(&path);
        let held = lock.lock().await;
        let made = self.make(&artifact, component).await;
        drop(held);
        self.forget_lock(&path, lock);
        made.map(|()| artifact)
    }

    async fn make(&self, artifact: &Artifact, component: &[u8]) -> Result<(), StoreError> {
        let path = &artifact.path;
        let io = |source| StoreError::Io { path: path.clone(), source };
        if touch(path) {
            return Ok(());
        }
        let _exclusive = lock_between_processes(&self.folder, path).await.map_err(io)?;
        if touch(path) {
            return Ok(());
        }
        let code = self.compiler.compile(component, artifact.entry.world).await?;
        let footer = self.key.footer(&code, artifact.entry);
        write_once(path, &code, &footer).map_err(io)?;
        self.shrink(path).map_err(io)
    }

    fn hash(&self, world: World) -> Result<&str, StoreError> {
        let cell = &self.hashes[usize::from(world == World::P3)];
        if let Some(hash) = cell.get() {
            return Ok(hash);
        }
        let hash = compatibility_hash(world).map_err(|error| StoreError::Engine(format!("{error:#}")))?;
        Ok(cell.get_or_init(|| hash))
    }

    fn lock_of(&self, path: &Path) -> Arc<tokio::sync::Mutex<()>> {
        let mut wanted = self.wanted.lock().expect("no panic while held");
        Arc::clone(wanted.entry(path.to_owned()).or_default())
    }

    /// Drops the lock from the map when nobody else waits for it.
    fn forget_lock(&self, path: &Path, lock: Arc<tokio::sync::Mutex<()>>) {
        let mut wanted = self.wanted.lock().expect("no panic while held");
        drop(lock);
        if wanted.get(path).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            wanted.remove(path);
        }
    }

    /// Unlinks what was not used for longest until the rest fits. Hosts that have it mapped keep it: never truncate.
    fn shrink(&self, keep: &Path) -> io::Result<()> {
        let mut artifacts = artifacts(&self.folder)?;
        let mut total: u64 = artifacts.iter().map(|found| found.bytes).sum();
        artifacts.sort_by_key(|found| found.used);
        for found in artifacts.iter().filter(|found| found.path != keep) {
            if total <= self.bytes_max {
                break;
            }
            std::fs::remove_file(&found.path)?;
            total -= found.bytes;
        }
        Ok(())
    }
}

struct Found {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

fn artifacts(folder: &Path) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|extension| extension == EXTENSION) {
            let metadata = entry.metadata()?;
            found.push(Found { path: entry.path(), bytes: metadata.len(), used: metadata.modified()? });
        }
    }
    Ok(found)
}

/// Marks the artifact as used now; false when it is not there.
fn touch(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    // Only the order of removal depends on it: a read-only store works all the same.
    let _ = file.set_modified(SystemTime::now());
    true
}

async fn lock_between_processes(folder: &Path, artifact: &Path) -> io::Result<File> {
    let name = artifact.file_stem().and_then(|stem| stem.to_str()).unwrap_or(LOCK_FILE);
    // One of 16 lock files, so that unrelated components compile at once and lock files do not pile up.
    let shard = name.as_bytes().first().copied().unwrap_or(b'0');
    let path = folder.join(format!("{LOCK_FILE}-{}", char::from(shard)));
    let locked = tokio::task::spawn_blocking(move || {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    });
    locked.await.map_err(io::Error::other)?
}

/// Readers see all of the file or none; after a crash there is at most a temporary file.
fn write_once(path: &Path, code: &[u8], footer: &[u8]) -> io::Result<()> {
    let folder = path.parent().expect("artifacts lie in the store's folder");
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    temporary.write_all(code)?;
    temporary.write_all(footer)?;
    // The folder is closed to others; but who inherits the open file, as a container's user does, maps it by
    // /proc/self/fd, where the file's own mode counts. It holds no secret, and the seal makes it nothing to write to.
    temporary.as_file().set_permissions(Permissions::from_mode(0o444))?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}
