//! Keeps the autoscaler's records as the API server's objects are.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use wisp_api::RevisionKey;
use wisp_api::sources::{SourceKey, Sources};
use wisp_autoscaler::{Handle, HandleError, RevisionRecord};

use super::actuator::lock;
use super::announce::{self, Announcer};
use super::environment::{Environment, REFRESH};
use super::roster::{News, Roster};
use super::view::{View, key_of};
use super::watch::{Change, Seen};

/// How soon a revision is tried again whose environment is not complete.
const RETRY: Duration = Duration::from_secs(5);
/// Changes that are taken together.
const TAKEN_AT_ONCE: usize = 256;

/// Turns what is seen into what the autoscaler is told.
pub(crate) struct Catalog {
    pub(crate) handle: Handle,
    pub(crate) view: Arc<Mutex<View>>,
    pub(crate) roster: Arc<Mutex<Roster>>,
    pub(crate) environment: Environment,
    pub(crate) announcer: Announcer,
    /// What the autoscaler was told last.
    pub(crate) told: HashMap<RevisionKey, RevisionRecord>,
    /// Revisions whose environment is not complete, and why.
    pub(crate) incomplete: HashMap<RevisionKey, String>,
}

impl Catalog {
    /// Follows what is seen until `shutdown`.
    pub(crate) async fn serve(mut self, mut seen: mpsc::Receiver<Seen>, shutdown: CancellationToken) {
        let mut retry = tokio::time::interval(RETRY);
        let mut refresh = tokio::time::interval(REFRESH);
        retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut changes = Vec::with_capacity(TAKEN_AT_ONCE);
        loop {
            let dirty: BTreeSet<RevisionKey> = tokio::select! {
                () = shutdown.cancelled() => return,
                count = seen.recv_many(&mut changes, TAKEN_AT_ONCE) => {
                    if count == 0 {
                        return;
                    }
                    let mut dirty = BTreeSet::new();
                    for change in changes.drain(..) {
                        match self.see(change).await {
                            Ok(revisions) => dirty.extend(revisions),
                            Err(_stopped) => return,
                        }
                    }
                    dirty
                }
                _ = retry.tick() => self.incomplete.keys().cloned().collect(),
                _ = refresh.tick() => self.with_sources(),
            };
            if self.follow(dirty).await.is_err() {
                return;
            }
        }
    }

    async fn see(&self, seen: Seen) -> Result<Vec<RevisionKey>, HandleError> {
        let change = match seen {
            Seen::Pod(change) => {
                self.see_pod(change).await?;
                return Ok(Vec::new());
            }
            other => other,
        };
        let mut view = lock(&self.view);
        Ok(match change {
            Seen::Function(Change::Apply(function)) => view.apply_function(*function),
            Seen::Function(Change::Delete(function)) => view.delete_function(&key_of(&*function)),
            Seen::Function(Change::Listed(listed)) => {
                let gone = view.functions_besides(&listed.keys);
                gone.iter().flat_map(|key| view.delete_function(key)).collect()
            }
            Seen::Revision(Change::Apply(revision)) => view.apply_revision(*revision),
            Seen::Revision(Change::Delete(revision)) => {
                let key = key_of(&*revision);
                view.delete_revision(&RevisionKey::new(key.namespace, key.name))
            }
            Seen::Revision(Change::Listed(listed)) => {
                let gone = view.revisions_besides(&listed.keys);
                gone.iter().flat_map(|key| view.delete_revision(key)).collect()
            }
            Seen::Pool(Change::Apply(pool)) => view.apply_pool(*pool),
            Seen::Pool(Change::Delete(pool)) => view.delete_pool(&key_of(&*pool)),
            Seen::Pool(Change::Listed(listed)) => {
                let gone = view.pools_besides(&listed.keys);
                gone.iter().flat_map(|key| view.delete_pool(key)).collect()
            }
            Seen::Pod(_) => Vec::new(),
        })
    }

    async fn see_pod(&self, change: Change<Pod>) -> Result<(), HandleError> {
        let news: Vec<News> = {
            let mut roster = lock(&self.roster);
            match change {
                Change::Apply(pod) => roster.apply(&pod).into_iter().collect(),
                Change::Delete(pod) => pod.uid().and_then(|uid| roster.delete(&uid)).into_iter().collect(),
                Change::Listed(listed) => roster.keep(&listed.uids),
            }
        };
        for news in news {
            match news {
                News::Expected(pod) => {
                    // The gate announces it once more, with the token that its host shows.
                    self.handle.instance_expected(pod.uid, String::new(), pod.revision).await?;
                }
                News::Exited { uid, cause } => self.handle.instance_exited(uid, cause).await?,
            }
        }
        Ok(())
    }

    /// Revisions whose environment comes from Secrets and ConfigMaps; forgets the sources of others.
    fn with_sources(&mut self) -> BTreeSet<RevisionKey> {
        let (mut revisions, mut wanted) = (BTreeSet::new(), BTreeSet::new());
        for (key, revision) in lock(&self.view).all_revisions() {
            let sources = Sources::of_environment(&key.namespace, &revision.spec.template);
            if !sources.is_empty() {
                revisions.insert(key.clone());
                wanted.extend(sources);
            }
        }
        self.environment.keep(&wanted);
        revisions
    }

    async fn follow(&mut self, dirty: BTreeSet<RevisionKey>) -> Result<(), HandleError> {
        let wanted: Vec<_> = dirty.into_iter().map(|key| (self.sources_of(&key), key)).collect();
        let all = wanted.iter().flat_map(|(sources, _)| sources).cloned().collect();
        let unknown = self.environment.refresh(&all).await;
        let mut unsatisfying = BTreeSet::new();
        for (sources, key) in wanted {
            let mut record = lock(&self.view).record(&key, &self.environment.get(&sources));
            if let (Some(record), Some(why)) = (&mut record, sources.iter().find_map(|source| unknown.get(source))) {
                record.lacks = Some(why.clone());
            }
            match record.as_ref().and_then(|record| record.lacks.clone()) {
                Some(lacks) => {
                    self.warn(&key, lacks);
                    unsatisfying.extend(sources);
                }
                None => drop(self.incomplete.remove(&key)),
            }
            let record = record.map(|record| self.with_what_was_known(record));
            self.tell(key, record).await?;
        }
        // Somebody is about to mend them.
        self.environment.doubt(&unsatisfying);
        Ok(())
    }

    fn sources_of(&self, key: &RevisionKey) -> BTreeSet<SourceKey> {
        let view = lock(&self.view);
        let revision = view.revision(key);
        revision.map(|known| Sources::of_environment(&key.namespace, &known.spec.template)).unwrap_or_default()
    }

    // A revision that could start goes on with the values that it had.
    fn with_what_was_known(&self, mut record: RevisionRecord) -> RevisionRecord {
        if let Some(told) = self.told.get(&record.key).filter(|told| told.lacks.is_none() && record.lacks.is_some()) {
            record.spec.env.clone_from(&told.spec.env);
            record.lacks = None;
        }
        record
    }

    fn warn(&mut self, key: &RevisionKey, why: String) {
        if self.incomplete.insert(key.clone(), why.clone()).as_ref() != Some(&why) {
            tracing::warn!(revision = %key, why, "a revision cannot start; it is tried again");
            self.announcer.announce(announce::News::CannotStart { revision: key.clone(), why });
        }
    }

    async fn tell(&mut self, key: RevisionKey, record: Option<RevisionRecord>) -> Result<(), HandleError> {
        let Some(record) = record else {
            if self.told.remove(&key).is_some() {
                self.handle.delete(&key).await?;
            }
            return Ok(());
        };
        if self.told.get(&key) == Some(&record) {
            return Ok(());
        }
        match self.handle.apply(record.clone()).await {
            Ok(()) => {}
            Err(HandleError::Record(error)) => tracing::warn!(%error, "a revision cannot be followed"),
            Err(stopped @ HandleError::Stopped) => return Err(stopped),
        }
        self.told.insert(key, record);
        Ok(())
    }
}
