//! From a function's `component` to compiled code in the operator's store.
//!
//! `pull` gets images, `layers` finds the component in one, `credentials` are those of the namespace, `download` gets
//! plain files, and `compiler` is the host's own, in a child.

mod compiler;
mod credentials;
mod download;
mod layers;
mod pull;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use kube::Client;
use tokio::fs::File;
use tokio::sync::{OnceCell, Semaphore};
use wisp_api::WasmFunctionSpec;
use wisp_api::function::Component;
use wisp_api::status::Reason;

use self::compiler::Compiler;
use self::pull::Registries;

/// A whole Python is 30 MiB; the compiler's own bound is the same.
const COMPONENT_BYTES_MAX: u64 = 128 << 20;
/// Components at once in memory, or on their way there from registries that may be slow.
const PULLS_MAX: usize = 6;
/// Compilers at once: each uses every core.
const COMPILERS_MAX: usize = 2;
/// Components whose compiled code is remembered by what they were named.
const REMEMBERED_MAX: usize = 4096;

/// What [`Components::new`] needs.
#[derive(Clone, Debug)]
pub struct ComponentSettings {
    /// The folder of compiled code.
    pub store: PathBuf,
    /// `wisp-host`, which compiles.
    pub host: PathBuf,
    /// The key that seals compiled code.
    pub seal_key: Vec<u8>,
    /// Certificates of registries beside the usual ones, PEM.
    pub registry_ca: Option<String>,
    /// Registries that speak plain HTTP, `host:port`.
    pub insecure_registries: Vec<String>,
}

/// Compiled code in the operator's store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// `sha256:<hex>` of the component.
    pub digest: String,
    /// The sealed file's name.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// What it runs on, as Kubernetes names it.
    pub architecture: &'static str,
}

/// Why a function cannot run: a reason for its condition, what to do, and whether trying again may help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// For the condition.
    pub reason: Reason,
    /// What is wrong and what to do.
    pub message: String,
    /// When it is worth another try.
    pub retry: Retry,
}

/// When something is worth another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It may be better soon.
    Later,
    /// Only when the function changes.
    WhenChanged,
}

/// Finds, checks and compiles components. Cheap to clone.
#[derive(Clone)]
pub struct Components(Arc<Inner>);

struct Inner {
    client: Client,
    registries: Registries,
    compiler: Compiler,
    pulls: Semaphore,
    turns: Semaphore,
    // By an image's or a file's digest. Who comes while it is compiled waits for the one that compiles.
    remembered: Mutex<HashMap<String, Arc<OnceCell<Compiled>>>>,
}

impl Components {
    /// # Errors
    /// When the store cannot be written, or the registries' certificates are none.
    pub fn new(client: Client, settings: ComponentSettings) -> io::Result<Self> {
        let registries = Registries::new(settings.registry_ca, settings.insecure_registries);
        let compiler = Compiler::open(settings.store, settings.host, &settings.seal_key)?;
        let (pulls, turns) = (Semaphore::new(PULLS_MAX), Semaphore::new(COMPILERS_MAX));
        Ok(Self(Arc::new(Inner { client, registries, compiler, pulls, turns, remembered: Mutex::default() })))
    }

    /// The compiled code of a function's component, with the credentials of its namespace.
    ///
    /// # Errors
    /// Why the function cannot run.
    pub async fn compile(&self, namespace: &str, template: &WasmFunctionSpec) -> Result<Compiled, Refusal> {
        let Component { image, url, sha256, .. } = &template.component;
        if let Some(image) = image {
            let credentials = credentials::of(&self.0.client, namespace, &template.pod).await?;
            let resolved = self.0.registries.resolve(image, &credentials).await?;
            return self.once(&resolved.digest, resolved.component()).await;
        }
        if let (Some(url), Some(sha256)) = (url, sha256) {
            return self.once(sha256, download::get(url, sha256)).await;
        }
        Err(Refusal::new(Reason::InvalidSpec, "component names no image and no url; a cluster can run nothing else"))
    }

    /// A file of the store and its size, if it is there.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn open(&self, file: &str) -> io::Result<Option<(File, u64)>> {
        match File::open(self.0.compiler.path(file)).await {
            Ok(file) => {
                let bytes = file.metadata().await?.len();
                Ok(Some((file, bytes)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Compiles what `bytes` brings, unless that was done for `digest` before and is still there.
    async fn once(
        &self,
        digest: &str,
        bytes: impl Future<Output = Result<Vec<u8>, Refusal>>,
    ) -> Result<Compiled, Refusal> {
        let cell = self.cell(digest);
        let compile = async {
            let _place = self.0.pulls.acquire().await.expect("the semaphore is never closed");
            let bytes = bytes.await?;
            let _turn = self.0.turns.acquire().await.expect("the semaphore is never closed");
            self.0.compiler.compile(bytes).await
        };
        cell.get_or_try_init(|| compile).await.cloned()
    }

    fn cell(&self, digest: &str) -> Arc<OnceCell<Compiled>> {
        let mut remembered = self.0.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        let cell = remembered.entry(digest.to_owned()).or_default();
        // Whoever emptied the store gets it filled again.
        if cell.get().is_some_and(|compiled| !self.0.compiler.path(&compiled.file).exists()) {
            *cell = Arc::default();
        }
        Arc::clone(cell)
    }
}

impl Refusal {
    fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), retry: Retry::WhenChanged }
    }

    /// The source is out of reach or not ready; it may be there the next time.
    fn for_now(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), retry: Retry::Later }
    }
}

fn check_size(bytes: u64) -> Result<(), Refusal> {
    if bytes <= COMPONENT_BYTES_MAX {
        return Ok(());
    }
    let message = format!("the component has {bytes} bytes; at most {COMPONENT_BYTES_MAX} are taken");
    Err(Refusal::new(Reason::NotAComponent, message))
}
