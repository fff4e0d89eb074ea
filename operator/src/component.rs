//! From a function's `component` to compiled code in the operator's store.
//!
//! `pull` gets images, `layers` finds the component in one, `credentials` are those of the namespace, `download` gets
//! plain files, and `compiler` is the host's own, in a child.

mod compiler;
mod credentials;
mod download;
mod layers;
mod name;
mod pull;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::Client;
use sha2::{Digest, Sha256};
use tokio::fs::File;
use tokio::sync::{OnceCell, Semaphore};
use wisp_api::function::Component;
use wisp_api::pod::PodSettings;
use wisp_api::status::Reason;
use wisp_api::{WasmFunctionSpec, WasmRevisionSpec};

use self::compiler::Compiler;
use self::download::Downloads;
use self::pull::Registries;

/// A whole Python is 30 MiB; the compiler's own bound is the same.
const COMPONENT_BYTES_MAX: u64 = 128 << 20;
/// Components at once in memory, or on their way there from registries that may be slow.
const PULLS_MAX: usize = 6;
/// From asking for a manifest to its last layer: the largest component at 4 Mbit/s. Who is slower holds a place of those.
const PULL_TIMEOUT: Duration = Duration::from_secs(300);
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
    /// Certificates of registries and web servers beside the usual ones, PEM.
    pub registry_ca: Option<String>,
    /// Registries that speak plain HTTP, `host:port`.
    pub insecure_registries: Vec<String>,
}

/// Compiled code in the operator's store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// `sha256:<hex>` of the component.
    pub digest: String,
    /// The image that it came from, by its digest.
    pub image: Option<String>,
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
    downloads: Downloads,
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
        let downloads = Downloads::new(settings.registry_ca.as_deref()).map_err(io::Error::other)?;
        let registries = Registries::new(settings.registry_ca, settings.insecure_registries);
        let compiler = Compiler::open(settings.store, settings.host, &settings.seal_key)?;
        let (pulls, turns) = (Semaphore::new(PULLS_MAX), Semaphore::new(COMPILERS_MAX));
        let remembered = Mutex::default();
        Ok(Self(Arc::new(Inner { client, registries, downloads, compiler, pulls, turns, remembered })))
    }

    /// The compiled code of a function's component as its source is now, with the credentials of its namespace.
    ///
    /// # Errors
    /// Why the function cannot run.
    pub async fn compile(&self, namespace: &str, template: &WasmFunctionSpec) -> Result<Compiled, Refusal> {
        self.find(namespace, &template.component, &template.pod).await
    }

    /// The compiled code of a revision's component as it was when the revision was made, wherever its tag has moved.
    ///
    /// # Errors
    /// Why it cannot be had any more.
    pub async fn compile_again(&self, namespace: &str, revision: &WasmRevisionSpec) -> Result<Compiled, Refusal> {
        self.find(namespace, &pinned(revision), &revision.template.pod).await
    }

    async fn find(&self, namespace: &str, component: &Component, pod: &PodSettings) -> Result<Compiled, Refusal> {
        let Component { image, url, sha256, .. } = component;
        if let Some(image) = image {
            let credentials = credentials::of(&self.0.client, namespace, pod).await?;
            let resolved = in_time(image, self.0.registries.resolve(image, &credentials)).await?;
            let source = Source { name: image, sha256: sha256.as_deref() };
            let compiled = self.once(&resolved.digest, source, resolved.component()).await?;
            return Ok(Compiled { image: Some(resolved.pinned()), ..compiled });
        }
        if let (Some(url), Some(sha256)) = (url, sha256) {
            let source = Source { name: url, sha256: Some(sha256) };
            return self.once(sha256, source, self.0.downloads.get(url)).await;
        }
        Err(Refusal::new(Reason::InvalidSpec, "component names no image and no url; a cluster can run nothing else"))
    }

    /// How many components are on their way here, and how many are being compiled.
    #[must_use]
    pub fn busy(&self) -> (usize, usize) {
        let compiling = COMPILERS_MAX - self.0.turns.available_permits();
        // Who compiles keeps the place that it pulled in.
        ((PULLS_MAX - self.0.pulls.available_permits()).saturating_sub(compiling), compiling)
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

    /// Compiles what `bytes` brings, unless that was done for `digest` before and is still there. Nothing is compiled that
    /// is not what the source was to be.
    async fn once(
        &self,
        digest: &str,
        source: Source<'_>,
        bytes: impl Future<Output = Result<Vec<u8>, Refusal>>,
    ) -> Result<Compiled, Refusal> {
        let cell = self.cell(digest);
        let compile = async {
            let _place = self.0.pulls.acquire().await.expect("the semaphore is never closed");
            let (bytes, found) = hashed(in_time(source.name, bytes).await?).await;
            source.check(&found)?;
            let _turn = self.0.turns.acquire().await.expect("the semaphore is never closed");
            self.0.compiler.compile(bytes).await
        };
        let compiled = cell.get_or_try_init(|| compile).await?;
        // Compiled before for somebody who expected something else of it, or nothing.
        source.check(&compiled.digest)?;
        Ok(compiled.clone())
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

/// Where a component comes from, and what it was to be.
#[derive(Clone, Copy)]
struct Source<'a> {
    name: &'a str,
    sha256: Option<&'a str>,
}

impl Source<'_> {
    /// `found` is `sha256:<hex>`.
    fn check(&self, found: &str) -> Result<(), Refusal> {
        let found = found.trim_start_matches("sha256:");
        let Some(wanted) = self.sha256.filter(|wanted| *wanted != found) else { return Ok(()) };
        let message = format!(
            "the SHA-256 of the component at {} is {found}, but {wanted} was meant; if the new one is, correct \
             component.sha256",
            self.name
        );
        // What is there now may be replaced by what was meant.
        Err(Refusal::for_now(Reason::DigestMismatch, message))
    }
}

/// What a revision is compiled from once more: by digests alone.
fn pinned(revision: &WasmRevisionSpec) -> Component {
    let mut component = revision.template.component.clone();
    component.sha256 = revision.digest.strip_prefix("sha256:").map(str::to_owned).or(component.sha256);
    if component.image.is_some() {
        component.image = revision.image.clone().or(component.image);
    }
    component
}

async fn hashed(bytes: Vec<u8>) -> (Vec<u8>, String) {
    let hash = move || {
        let found = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        (bytes, found)
    };
    tokio::task::spawn_blocking(hash).await.expect("hashing does not panic")
}

async fn in_time<T>(name: &str, work: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
    tokio::time::timeout(PULL_TIMEOUT, work).await.unwrap_or_else(|_| {
        let seconds = PULL_TIMEOUT.as_secs();
        let message = format!("{name} did not arrive within {seconds} seconds; its server is slow, or out of reach");
        Err(Refusal::for_now(Reason::ImageNotFound, message))
    })
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn revision(component: &serde_json::Value, image: Option<&str>) -> WasmRevisionSpec {
        let template = json!({"component": component});
        let spec = json!({"function": "cart", "digest": format!("sha256:{A}"), "image": image, "template": template});
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn a_revision_is_pulled_by_its_digest_and_not_by_its_tag() {
        let found = pinned(&revision(&json!({"image": "r/cart:1"}), Some("r/cart@sha256:1")));
        assert_eq!((found.image.as_deref(), found.sha256.as_deref()), (Some("r/cart@sha256:1"), Some(A)));
        // One that was made before images were noted has its component's digest at least.
        let found = pinned(&revision(&json!({"image": "r/cart:1"}), None));
        assert_eq!((found.image.as_deref(), found.sha256.as_deref()), (Some("r/cart:1"), Some(A)));
        let url = "https://example.com/cart.wasm";
        let found = pinned(&revision(&json!({"url": url, "sha256": A}), None));
        assert_eq!((found.image, found.url.as_deref(), found.sha256.as_deref()), (None, Some(url), Some(A)));
    }

    #[test]
    fn another_component_than_the_manifest_means_is_refused() {
        let source = |sha256| Source { name: "r/cart:1", sha256 };
        assert_eq!(source(None).check("sha256:b"), Ok(()));
        assert_eq!(source(Some("b")).check("sha256:b"), Ok(()));
        let refused = source(Some("a")).check("sha256:b").unwrap_err();
        assert_eq!((refused.reason, refused.retry), (Reason::DigestMismatch, Retry::Later));
        assert!(refused.message.contains("r/cart:1 is b, but a was meant"), "{refused}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_never_ends_is_given_up() {
        let refused = in_time("r/cart:1", std::future::pending::<Result<(), Refusal>>()).await.unwrap_err();
        assert_eq!(refused.retry, Retry::Later);
        assert!(refused.message.contains("r/cart:1 did not arrive within 300 seconds"), "{refused}");
    }
}
