//! From a manifest's `component` to compiled code in the artifact store.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, SemaphorePermit};
use wisp_api::function::Component;
use wisp_api::status::Reason;
use wisp_api::wire::Artifact;
use wisp_host::engine::hex;
use wisp_host::inspect::InspectError;
use wisp_host::store::{ArtifactStore, StoreError};

use super::state::StateFolder;

/// A whole Python is 30 MiB; the compiler's own bound is the same.
const COMPONENT_BYTES_MAX: u64 = 128 << 20;
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(300);
/// Compilers at once: each uses every core.
const COMPILERS_MAX: usize = 2;

/// Why a function cannot run: a reason for its condition, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

/// A component that is ready to be loaded.
#[derive(Clone, Debug)]
pub(crate) struct Compiled {
    pub(crate) artifact: Artifact,
    /// Size of the compiled code.
    pub(crate) bytes: u64,
}

/// Finds, checks and compiles components.
pub(crate) struct Components {
    state: Arc<StateFolder>,
    store: ArtifactStore,
    compilers: Semaphore,
    memory: Mutex<Memory>,
}

/// What was compiled before.
#[derive(Default)]
struct Memory {
    /// Digests of files as they were when compiled: many functions may share one.
    files: HashMap<PathBuf, (FileStamp, String)>,
    by_digest: HashMap<String, Compiled>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileStamp {
    modified: SystemTime,
    bytes: u64,
}

impl Memory {
    /// The compiled code of a component, unless the store has dropped it since.
    fn compiled(&self, digest: &str) -> Option<Compiled> {
        self.by_digest.get(digest).filter(|compiled| Path::new(&compiled.artifact.path).exists()).cloned()
    }

    /// The compiled code of a file that has not been touched since.
    fn compiled_file(&self, file: &Path, stamp: FileStamp) -> Option<Compiled> {
        let (known, digest) = self.files.get(file)?;
        if *known == stamp { self.compiled(digest) } else { None }
    }
}

impl Refusal {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

impl Components {
    pub(crate) fn new(state: Arc<StateFolder>, store: ArtifactStore) -> Self {
        Self { state, store, compilers: Semaphore::new(COMPILERS_MAX), memory: Mutex::default() }
    }

    /// The compiled code of `component`; paths are relative to `folder`.
    pub(crate) async fn compile(&self, component: &Component, folder: &Path) -> Result<Compiled, Refusal> {
        if let Some(path) = &component.path {
            return self.compile_file(&folder.join(path), component.sha256.as_deref()).await;
        }
        if let (Some(url), Some(sha256)) = (&component.url, &component.sha256) {
            return self.compile_download(url, sha256).await;
        }
        let message = "wisp up runs files and URLs, not images yet; give component.path, or component.url with sha256";
        Err(Refusal::new(Reason::ImageNotFound, message))
    }

    /// The compiled code of a component that was kept earlier.
    pub(crate) async fn compile_kept(&self, digest: &str) -> Result<Compiled, Refusal> {
        if let Some(compiled) = self.memory().compiled(digest) {
            return Ok(compiled);
        }
        let _turn = self.turn().await;
        let bytes = self.state.component(digest).map_err(|error| {
            Refusal::new(
                Reason::ImageNotFound,
                format!("component {digest} is no longer kept: {error}; deploy it again"),
            )
        })?;
        self.compile_bytes(&bytes).await
    }

    async fn compile_file(&self, file: &Path, sha256: Option<&str>) -> Result<Compiled, Refusal> {
        let unreadable = |error: std::io::Error| {
            let message = format!("{} cannot be read: {error}; build it, or correct component.path", file.display());
            Refusal::new(Reason::ImageNotFound, message)
        };
        let metadata = tokio::fs::metadata(file).await.map_err(unreadable)?;
        check_size(metadata.len())?;
        let stamp = FileStamp { modified: metadata.modified().map_err(unreadable)?, bytes: metadata.len() };
        if let Some(compiled) = self.memory().compiled_file(file, stamp) {
            return check_digest(sha256, &compiled.artifact.digest).map(|()| compiled);
        }
        // Components in memory are bounded with the compilers, and whoever waited may find the work done.
        let _turn = self.turn().await;
        if let Some(compiled) = self.memory().compiled_file(file, stamp) {
            return check_digest(sha256, &compiled.artifact.digest).map(|()| compiled);
        }
        let bytes = tokio::fs::read(file).await.map_err(unreadable)?;
        check_digest(sha256, &digest(&bytes))?;
        let in_file =
            |refusal: Refusal| Refusal::new(refusal.reason, format!("{}: {}", file.display(), refusal.message));
        let compiled = self.compile_bytes(&bytes).await.map_err(in_file)?;
        self.memory().files.insert(file.to_owned(), (stamp, compiled.artifact.digest.clone()));
        Ok(compiled)
    }

    async fn compile_download(&self, url: &str, sha256: &str) -> Result<Compiled, Refusal> {
        let _turn = self.turn().await;
        if let Ok(bytes) = self.state.component(sha256) {
            return self.compile_bytes(&bytes).await;
        }
        let address = url.to_owned();
        let downloaded = tokio::task::spawn_blocking(move || download(&address)).await;
        let bytes = downloaded
            .expect("downloading does not panic")
            .map_err(|error| Refusal::new(Reason::ImageNotFound, format!("{url} cannot be downloaded: {error}")))?;
        check_digest(Some(sha256), &digest(&bytes))?;
        self.compile_bytes(&bytes).await
    }

    async fn compile_bytes(&self, bytes: &[u8]) -> Result<Compiled, Refusal> {
        let artifact = self.store.ensure(bytes).await.map_err(|error| refusal(&error))?;
        let failed = |error: std::io::Error| Refusal::new(Reason::CompileFailed, format!("compiled code: {error}"));
        self.state.put_component(&artifact.digest, bytes).map_err(failed)?;
        let size = tokio::fs::metadata(&artifact.path).await.map_err(failed)?.len();
        let wire = Artifact { digest: artifact.digest, path: artifact.path.display().to_string() };
        let compiled = Compiled { artifact: wire, bytes: size };
        self.memory().by_digest.insert(compiled.artifact.digest.clone(), compiled.clone());
        Ok(compiled)
    }

    async fn turn(&self) -> SemaphorePermit<'_> {
        self.compilers.acquire().await.expect("the semaphore is never closed")
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

fn check_size(bytes: u64) -> Result<(), Refusal> {
    if bytes <= COMPONENT_BYTES_MAX {
        return Ok(());
    }
    let message = format!("the component has {bytes} bytes; at most {COMPONENT_BYTES_MAX} are taken");
    Err(Refusal::new(Reason::NotAComponent, message))
}

fn check_digest(wanted: Option<&str>, found: &str) -> Result<(), Refusal> {
    let found = found.trim_start_matches("sha256:");
    match wanted {
        Some(wanted) if wanted != found => {
            let message = format!(
                "the component's SHA-256 is {found}, but the manifest says {wanted}; if the new file is meant, correct \
                 component.sha256"
            );
            Err(Refusal::new(Reason::DigestMismatch, message))
        }
        _ => Ok(()),
    }
}

fn download(url: &str) -> Result<Vec<u8>, String> {
    let config = ureq::Agent::config_builder().timeout_global(Some(DOWNLOAD_TIMEOUT)).build();
    let mut response = ureq::Agent::from(config).get(url).call().map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    let mut reader = response.body_mut().as_reader().take(COMPONENT_BYTES_MAX + 1);
    reader.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    check_size(bytes.len() as u64).map_err(|refusal| refusal.message)?;
    Ok(bytes)
}

fn refusal(error: &StoreError) -> Refusal {
    let reason = match error {
        StoreError::Inspect(InspectError::NoHttpExport { .. }) => Reason::WorldUnsupported,
        StoreError::Inspect(_) => Reason::NotAComponent,
        _ => Reason::CompileFailed,
    };
    Refusal::new(reason, error.to_string())
}
