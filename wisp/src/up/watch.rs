//! Keeps what runs in step with the manifests: reads them at the start and whenever something changes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wisp_api::key::FunctionKey;

use super::deploy::Deployer;
use super::manifest::{self, Manifests};

/// After a change, how long it must be quiet before files are read: an editor or a linker writes in pieces.
const QUIET: Duration = Duration::from_millis(100);
/// While it is never quiet, how long before files are read all the same.
const QUIET_MAX: Duration = Duration::from_secs(2);

/// Functions that are worked on at once. Most of the work is waiting for a compiler, which has a bound of its own.
const DEPLOYED_AT_ONCE: usize = 64;

/// The manifests that `wisp up` was given.
pub(crate) struct Watch {
    paths: Vec<PathBuf>,
    deployer: Arc<Deployer>,
    changes: mpsc::Receiver<()>,
    /// Told by the system of changes; ends with us.
    watcher: RecommendedWatcher,
    watched: BTreeSet<PathBuf>,
    deploying: JoinSet<()>,
    /// Functions that may be worked on at once.
    places: Arc<Semaphore>,
}

impl Watch {
    /// # Errors
    /// When a path is not there, or the system cannot watch it.
    pub(crate) fn new(paths: &[PathBuf], deployer: Arc<Deployer>) -> anyhow::Result<Self> {
        let canonical = |path: &PathBuf| path.canonicalize().with_context(|| format!("cannot find {}", path.display()));
        let paths = paths.iter().map(canonical).collect::<Result<Vec<_>, _>>()?;
        // One waiting note is enough: files are read anew, whatever changed.
        let (sender, changes) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let reading = matches!(&event, Ok(event) if matches!(event.kind, EventKind::Access(_)));
            if !reading {
                let _one_waits_already = sender.try_send(());
            }
        })?;
        let places = Arc::new(Semaphore::new(DEPLOYED_AT_ONCE));
        let (watched, deploying) = (BTreeSet::new(), JoinSet::new());
        let mut watch = Self { paths, deployer, changes, watcher, watched, deploying, places };
        for path in watch.paths.clone() {
            // An editor replaces a file by another of its name: only the folder notices.
            let folder = if path.is_dir() { path.clone() } else { parent(&path) };
            let mode = if path.is_dir() { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
            watch.watcher.watch(&folder, mode).with_context(|| format!("cannot watch {}", folder.display()))?;
            watch.watched.insert(folder);
        }
        Ok(watch)
    }

    /// Deploys everything once, and runs what earlier runs were given and nobody took away. Returns when each function
    /// is ready or has said why not.
    pub(crate) async fn begin(&mut self) -> anyhow::Result<()> {
        let stored = self.deployer.state.load().context("cannot read the stored functions")?;
        let (covered, elsewhere): (Vec<_>, Vec<_>) =
            stored.into_iter().partition(|function| self.covers(&function.origin));
        for function in elsewhere {
            let deployer = Arc::clone(&self.deployer);
            let place = self.place().await;
            self.deploying.spawn(async move {
                deployer.restore(function).await;
                drop(place);
            });
        }
        self.read_and_deploy(covered.into_iter().map(|function| function.key).collect()).await;
        while self.deploying.join_next().await.is_some() {}
        Ok(())
    }

    /// Follows changes until `shutdown`.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some(()) = self.changes.recv() => {
                    self.wait_until_quiet().await;
                    self.read_and_deploy(Vec::new()).await;
                }
                Some(_) = self.deploying.join_next() => {}
            }
        }
    }

    /// Waits until another function may be worked on.
    async fn place(&mut self) -> OwnedSemaphorePermit {
        // What is done already makes room.
        while self.deploying.try_join_next().is_some() {}
        Arc::clone(&self.places).acquire_owned().await.expect("the semaphore is never closed")
    }

    async fn wait_until_quiet(&mut self) {
        let quiet = async { while tokio::time::timeout(QUIET, self.changes.recv()).await.is_ok() {} };
        // It goes on changing when this ends early; the next change is noticed again.
        let _still_busy = tokio::time::timeout(QUIET_MAX, quiet).await;
    }

    /// Puts the files into effect. `earlier` are functions that an earlier run took from these files.
    async fn read_and_deploy(&mut self, earlier: Vec<FunctionKey>) {
        let paths = self.paths.clone();
        let read = tokio::task::spawn_blocking(move || manifest::read_all(&paths)).await;
        let Manifests { functions, sources, problems } = read.expect("reading manifests does not panic");
        let mut wanted: BTreeSet<FunctionKey> = functions.iter().map(|manifest| manifest.key.clone()).collect();
        for problem in &problems {
            tracing::warn!("{problem}");
            if let Some(key) = &problem.function {
                self.deployer.refuse(key, &problem.file, &problem.message);
                wanted.insert(key.clone());
            }
        }
        // While a file cannot be read at all, nothing is taken for gone.
        if problems.iter().all(|problem| problem.function.is_some()) {
            self.delete_missing(&wanted, earlier).await;
        }
        let sources = Arc::new(sources);
        for manifest in functions {
            self.watch_component(&manifest);
            let (deployer, sources) = (Arc::clone(&self.deployer), Arc::clone(&sources));
            let place = self.place().await;
            self.deploying.spawn(async move {
                deployer.deploy(&manifest, &sources).await;
                drop(place);
            });
        }
    }

    /// Deletes functions whose manifest was taken away.
    async fn delete_missing(&mut self, wanted: &BTreeSet<FunctionKey>, earlier: Vec<FunctionKey>) {
        let board = &self.deployer.board;
        let running = board.keys().into_iter();
        let running = running.filter(|key| board.get(key).is_some_and(|entry| self.covers(&entry.origin)));
        let gone: BTreeSet<FunctionKey> =
            earlier.into_iter().chain(running).filter(|key| !wanted.contains(key)).collect();
        for key in gone {
            self.deployer.delete(&key).await;
        }
    }

    /// A component may lie outside of the given folders.
    fn watch_component(&mut self, manifest: &manifest::Manifest) {
        let Some(path) = &manifest.spec.component.path else { return };
        let folder = parent(&parent(&manifest.origin).join(path));
        if self.watched.contains(&folder) || self.paths.iter().any(|given| given.is_dir() && folder.starts_with(given))
        {
            return;
        }
        // A folder that is not there yet is made by the build, and the function says what is missing until then.
        if folder.is_dir() && self.watcher.watch(&folder, RecursiveMode::NonRecursive).is_ok() {
            self.watched.insert(folder);
        }
    }

    fn covers(&self, origin: &Path) -> bool {
        self.paths.iter().any(|path| origin.starts_with(path))
    }
}

fn parent(path: &Path) -> PathBuf {
    path.parent().map_or_else(|| PathBuf::from("."), Path::to_owned)
}
