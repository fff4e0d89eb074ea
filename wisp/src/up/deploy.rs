//! From manifests to running functions: the embedded counterpart of the operator.
//!
//! A change of what runs (component, environment, limits and so on) makes a new revision. A change of how it scales or
//! where its traffic goes does not.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use wisp_activator::Index;
use wisp_api::function::WasmFunctionSpec;
use wisp_api::host_spec::{SourceError, environment, host_spec};
use wisp_api::key::{FunctionKey, RevisionKey};
use wisp_api::route::{self, FunctionRoute, Place};
use wisp_api::scaling::Class;
use wisp_api::sources::Sources;
use wisp_api::status::{Reason, TrafficStatus};
use wisp_api::wire::HostSpec;
use wisp_autoscaler::{Handle, RevisionRecord, Start, Traffic, policy};
use wisp_host::engine::hex;

use super::board::{Board, Condition, RevisionNote};
use super::clock;
use super::component::{Components, Refusal};
use super::logs::Logs;
use super::manifest::Manifest;
use super::spec;
use super::state::{StateFolder, Stored, StoredRevision};

/// Puts functions into effect. Different functions may be deployed at once; one function's changes take turns.
pub(crate) struct Deployer {
    pub(crate) state: Arc<StateFolder>,
    pub(crate) components: Components,
    pub(crate) autoscaler: Handle,
    pub(crate) index: Arc<Index>,
    pub(crate) board: Arc<Board>,
    pub(crate) logs: Arc<Logs>,
    pub(crate) domain: String,
    /// What is in effect, so that an unchanged function costs nothing.
    pub(crate) functions: Mutex<HashMap<FunctionKey, Arc<Mutex<InEffect>>>>,
}

/// What is in effect of one function.
#[derive(Debug, Default)]
pub(crate) struct InEffect {
    /// Revisions that the autoscaler knows.
    known: BTreeSet<u32>,
}

impl Deployer {
    /// Deploys a manifest, and says in the function's condition how it went. What ran before goes on when it cannot.
    pub(crate) async fn deploy(&self, manifest: &Manifest, sources: &Sources) {
        let in_effect = self.in_effect(&manifest.key).await;
        let mut in_effect = in_effect.lock().await;
        if self.board.get(&manifest.key).is_none() {
            self.board.set_condition(&manifest.key, Condition::progressing("is being compiled"));
        }
        self.board.change(&manifest.key, |entry| entry.origin.clone_from(&manifest.origin));
        match self.try_deploy(manifest, sources, &mut in_effect).await {
            Ok(()) => self.board.set_condition(&manifest.key, Condition::ready()),
            Err(refusal) => {
                tracing::warn!(function = %manifest.key, reason = ?refusal.reason, "{}", refusal.message);
                self.board.set_condition(&manifest.key, Condition::failed(refusal.reason, refusal.message));
            }
        }
    }

    /// Runs a function again that an earlier `wisp up` was given.
    pub(crate) async fn restore(&self, stored: Stored) {
        let key = stored.key.clone();
        let in_effect = self.in_effect(&key).await;
        let mut in_effect = in_effect.lock().await;
        self.board.change(&key, |entry| entry.origin.clone_from(&stored.origin));
        let result = self.try_restore(stored, &mut in_effect).await;
        let condition =
            result.map_or_else(|refusal| Condition::failed(refusal.reason, refusal.message), |()| Condition::ready());
        self.board.set_condition(&key, condition);
    }

    /// Ends a function: no new request reaches it, those in flight are finished.
    pub(crate) async fn delete(&self, key: &FunctionKey) {
        let in_effect = self.in_effect(key).await;
        let mut in_effect = in_effect.lock().await;
        self.index.delete(key);
        for generation in std::mem::take(&mut in_effect.known) {
            self.told(self.autoscaler.delete(&key.revision(generation)).await);
        }
        if let Err(error) = self.state.remove(key) {
            tracing::warn!(function = %key, %error, "a deleted function's files stay behind");
        }
        self.board.remove(key);
        self.logs.forget(key);
        self.functions.lock().await.remove(key);
        tracing::info!(function = %key, "deleted");
    }

    /// Says that the manifest of a function cannot be used. What ran before goes on.
    pub(crate) fn refuse(&self, key: &FunctionKey, origin: &Path, message: &str) {
        self.board.change(key, |entry| origin.clone_into(&mut entry.origin));
        self.board.set_condition(key, Condition::failed(Reason::InvalidSpec, message));
    }

    async fn in_effect(&self, key: &FunctionKey) -> Arc<Mutex<InEffect>> {
        Arc::clone(self.functions.lock().await.entry(key.clone()).or_default())
    }

    async fn try_deploy(&self, manifest: &Manifest, sources: &Sources, now: &mut InEffect) -> Result<(), Refusal> {
        let Manifest { key, spec, origin } = manifest;
        let missing = |error: SourceError| Refusal::new(Reason::SourceMissing, error.to_string());
        let folder = folder_of(origin);
        // Before compiling, which takes longest.
        let volumes = spec::volume_files(key, spec, sources).map_err(missing)?;
        let env = environment(key, spec, sources).map_err(missing)?;
        let mut host = host_spec(key, spec, wisp_api::wire::Artifact::default(), env);
        host.preopens = spec::preopens(spec, Path::new(""), &folder);
        check_folders(&host)?;
        let compiled = self.components.compile(&spec.component, &folder).await?;
        let fingerprint = fingerprint(&host, &compiled.artifact.digest, &volumes);

        let kept = self.state.get(key);
        let before = kept.as_ref().map(|stored| (stored.spec.clone(), stored.revisions.len()));
        let mut stored = kept.unwrap_or_else(|| Stored {
            key: key.clone(),
            created_unix_seconds: clock::unix_seconds(),
            origin: origin.clone(),
            spec: spec.clone(),
            revisions: Vec::new(),
        });
        stored.spec = spec.clone();
        stored.origin.clone_from(origin);
        let is_new = stored.revisions.last().is_none_or(|last| last.fingerprint != fingerprint);
        if is_new && spec.scaling.class == Class::External {
            tracing::warn!(function = %key, "scaling.class is external, which needs a cluster; here Wisp scales it");
        }
        if is_new {
            let generation = stored.revisions.last().map_or(1, |last| last.generation + 1);
            let made = self.state.put_volumes(key, &fingerprint, &volumes).map_err(disk)?;
            host.revision = key.revision(generation).name;
            host.preopens = spec::preopens(spec, &made, &folder);
            host.artifact = Some(compiled.artifact.clone());
            let digest = compiled.artifact.digest.clone();
            let created_unix_seconds = clock::unix_seconds();
            stored.revisions.push(StoredRevision { generation, created_unix_seconds, fingerprint, digest, host });
        } else if let Some(last) = stored.revisions.last_mut() {
            // A new engine compiles into a new file.
            last.host.artifact = Some(compiled.artifact.clone());
        }
        let unchanged =
            before.is_some_and(|(spec, revisions)| spec == stored.spec && revisions == stored.revisions.len());
        if unchanged && !now.known.is_empty() {
            return Ok(());
        }
        let initial = if is_new { Initial::Start } else { Initial::Skip };
        self.put_into_effect(Change { stored, latest_bytes: compiled.bytes, initial }, now).await
    }

    async fn try_restore(&self, mut stored: Stored, now: &mut InEffect) -> Result<(), Refusal> {
        let Some(last) = stored.revisions.last_mut() else {
            return Err(Refusal::new(Reason::InvalidSpec, "has no revision; deploy it again"));
        };
        let compiled = self.components.compile_kept(&last.digest).await?;
        last.host.artifact = Some(compiled.artifact.clone());
        self.put_into_effect(Change { stored, latest_bytes: compiled.bytes, initial: Initial::Skip }, now).await
    }

    /// Tells the autoscaler of the revisions, moves the traffic, and lets go of what is no longer needed.
    async fn put_into_effect(&self, change: Change, now: &mut InEffect) -> Result<(), Refusal> {
        let Change { mut stored, latest_bytes, initial } = change;
        let key = stored.key.clone();
        let names: Vec<String> = stored.revisions.iter().map(|r| key.revision(r.generation).name).collect();
        let newest = stored.revisions.last().expect("a function that is deployed has a revision").generation;
        let traffic = route::traffic(&stored.spec, &key.revision(newest), &names).map_err(|name| {
            let message = format!("spec.traffic names revision {name:?}, and there are {}", names.join(", "));
            Refusal::new(Reason::InvalidSpec, message)
        })?;
        let gone = forget_old(&mut stored, &traffic);
        self.state.put(&stored).map_err(disk)?;
        for revision in &mut stored.revisions {
            let name = &key.revision(revision.generation).name;
            let has_traffic = traffic.iter().any(|target| &target.revision == name);
            if !has_traffic && !now.known.contains(&revision.generation) {
                continue;
            }
            if revision.generation != newest && has_traffic {
                let compiled = self.components.compile_kept(&revision.digest).await?;
                revision.host.artifact = Some(compiled.artifact);
            }
            let initial = if revision.generation == newest { initial } else { Initial::Skip };
            let record =
                record(&key, &stored.spec, revision, RecordOf { artifact_bytes: latest_bytes, has_traffic, initial });
            self.autoscaler
                .apply(record)
                .await
                .map_err(|error| Refusal::new(Reason::InvalidSpec, error.to_string()))?;
            now.known.insert(revision.generation);
        }
        let created_unix_seconds = stored.created_unix_seconds;
        let place = Place { domain: &self.domain, cluster_domain: None, created_unix_seconds };
        self.index.apply(FunctionRoute::of(&key, &stored.spec, &traffic, place));
        for generation in gone {
            if now.known.remove(&generation) {
                self.told(self.autoscaler.delete(&key.revision(generation)).await);
            }
        }
        self.show(stored, traffic, initial);
        Ok(())
    }

    fn show(&self, stored: Stored, traffic: Vec<TrafficStatus>, initial: Initial) {
        let key = stored.key.clone();
        let note = |revision: &StoredRevision| RevisionNote {
            name: key.revision(revision.generation).name,
            digest: revision.digest.clone(),
            created_unix_seconds: revision.created_unix_seconds,
        };
        let revisions: Vec<_> = stored.revisions.iter().map(note).collect();
        self.board.change(&key, |entry| {
            if initial == Initial::Start {
                let name = revisions.last().map(|last| last.name.clone()).unwrap_or_default();
                entry.event("RevisionCreated", format!("revision {name} is ready"));
            }
            entry.created_unix_seconds = stored.created_unix_seconds;
            entry.origin = stored.origin;
            entry.revisions = revisions;
            entry.traffic = traffic;
        });
    }

    fn told(&self, result: Result<(), wisp_autoscaler::HandleError>) {
        if let Err(error) = result {
            tracing::debug!(%error, "the deployer could not tell the autoscaler");
        }
    }
}

/// Whether a revision may begin with `scaling.initial` instances: only when it is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Initial {
    Start,
    Skip,
}

/// What is to be put into effect.
struct Change {
    stored: Stored,
    /// Size of the newest revision's compiled code.
    latest_bytes: u64,
    initial: Initial,
}

struct RecordOf {
    artifact_bytes: u64,
    has_traffic: bool,
    initial: Initial,
}

fn record(key: &FunctionKey, spec: &WasmFunctionSpec, revision: &StoredRevision, of: RecordOf) -> RevisionRecord {
    let mut policy = policy(spec);
    // The slots are the revision's own: its host was told so.
    policy.slots = revision.host.concurrency.as_ref().map_or(policy.slots, |concurrency| concurrency.slots);
    if of.initial == Initial::Skip {
        policy.initial = 0;
    }
    let start = match spec.scaling.start {
        wisp_api::scaling::Start::Warm => Start::Warm,
        wisp_api::scaling::Start::Fresh => Start::Fresh,
    };
    RevisionRecord {
        key: RevisionKey::new(&key.namespace, &revision.host.revision),
        spec: revision.host.clone(),
        artifact_bytes: of.artifact_bytes,
        policy,
        schedule: spec.scaling.schedule.clone(),
        traffic: if of.has_traffic { Traffic::Active } else { Traffic::Inactive },
        start,
        lacks: None,
    }
}

/// Drops revisions without traffic beyond the limit, oldest first, and says which.
fn forget_old(stored: &mut Stored, traffic: &[TrafficStatus]) -> Vec<u32> {
    let key = stored.key.clone();
    let idle = |revision: &StoredRevision| {
        !traffic.iter().any(|target| target.revision == key.revision(revision.generation).name)
    };
    let newest = stored.revisions.last().map(|revision| revision.generation);
    let old: Vec<u32> =
        stored.revisions.iter().filter(|r| idle(r) && Some(r.generation) != newest).map(|r| r.generation).collect();
    let excess = old.len().saturating_sub(stored.spec.revision_history_limit as usize);
    let gone = old[..excess].to_vec();
    stored.revisions.retain(|revision| !gone.contains(&revision.generation));
    gone
}

/// Equal for revisions that do the same.
fn fingerprint(host: &HostSpec, digest: &str, volumes: &[spec::VolumeFiles]) -> String {
    let mut hash = Sha256::new();
    let text = serde_json::to_vec(host).expect("a host spec is plain data");
    for part in [text.as_slice(), digest.as_bytes()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    for volume in volumes {
        for (name, bytes) in &volume.files {
            for part in [volume.name.as_bytes(), name.as_bytes(), bytes] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
        }
    }
    hex(&hash.finalize()[..8])
}

fn folder_of(origin: &Path) -> PathBuf {
    origin.parent().map_or_else(|| PathBuf::from("."), Path::to_owned)
}

fn check_folders(host: &HostSpec) -> Result<(), Refusal> {
    for preopen in &host.preopens {
        let folder = Path::new(&preopen.host_path);
        if folder.is_absolute() && !folder.is_dir() {
            let message = format!("hostPath {} is no folder; make it, or correct spec.volumes", folder.display());
            return Err(Refusal::new(Reason::SourceMissing, message));
        }
    }
    Ok(())
}

fn disk(error: std::io::Error) -> Refusal {
    Refusal::new(Reason::SourceMissing, format!("the state folder cannot be written: {error}"))
}
