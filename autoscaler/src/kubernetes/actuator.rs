//! Writes what the autoscaler decided: claims and stops on pods, numbers on revisions. What fails is tried again for as
//! long as it is wanted.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Error};
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use wisp_api::names::{ANNOTATION_LEAVING, ANNOTATION_STOP, LABEL_FUNCTION, LABEL_POOL, LABEL_REVISION};
use wisp_api::{RevisionKey, WasmRevision};
use wisp_autoscaler::{Actuation, Handle};
use wisp_chassis::backoff::Backoff;

use super::announce::{Announcer, News};
use super::authority::Authority;
use super::roster::{PodFact, Roster};
use super::view::View;
use super::work::{Target, Work, work_of};

/// Writes at once: enough for a burst of claims, and little beside what an API server takes.
const WRITES_MAX: usize = 32;
/// One call of the API server.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// The first wait after a write failed.
const RETRY_FIRST: Duration = Duration::from_millis(50);
/// The longest: an API server that is back should be written to soon.
const RETRY_CAP: Duration = Duration::from_secs(3);

/// Performs actuations.
pub(crate) struct Actuator {
    pub(crate) client: Client,
    pub(crate) handle: Handle,
    pub(crate) roster: Arc<Mutex<Roster>>,
    pub(crate) view: Arc<Mutex<View>>,
    announcer: Announcer,
    tasks: TaskTracker,
    authority: Authority,
    writes: Semaphore,
    // Each target that is here has one task.
    waiting: Mutex<HashMap<Target, Work>>,
    // What this process wrote: for these, the view may be behind.
    scaled: Mutex<HashSet<RevisionKey>>,
}

/// How a write went.
enum Written {
    Done,
    Again(String),
}

impl Actuator {
    pub(crate) fn new(
        client: Client,
        handle: Handle,
        known: (Arc<Mutex<Roster>>, Arc<Mutex<View>>, Announcer),
        authority: Authority,
    ) -> Self {
        let (roster, view, announcer) = known;
        Self {
            client,
            handle,
            roster,
            view,
            announcer,
            tasks: TaskTracker::new(),
            authority,
            writes: Semaphore::new(WRITES_MAX),
            waiting: Mutex::default(),
            scaled: Mutex::default(),
        }
    }

    /// Takes requests until there are no more or the process ends; writes that are under way are waited for.
    pub(crate) async fn serve(self: Arc<Self>, mut requests: mpsc::Receiver<Actuation>) {
        loop {
            tokio::select! {
                () = self.authority.ends() => break,
                request = requests.recv() => match request {
                    Some(request) => self.push(request),
                    None => break,
                },
            }
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Sees to a request. Returns at once.
    pub(crate) fn push(self: &Arc<Self>, actuation: Actuation) {
        if let Some((target, work)) = work_of(actuation) {
            self.add(target, work);
        }
    }

    /// Sees to it that the pod of an instance that drains is marked. Returns at once.
    pub(crate) fn leaves(self: &Arc<Self>, instance: String) {
        self.add(Target::Instance(instance), Work { leaves: true, ..Work::default() });
    }

    fn add(self: &Arc<Self>, target: Target, work: Work) {
        match lock(&self.waiting).entry(target.clone()) {
            std::collections::hash_map::Entry::Occupied(mut waiting) => return waiting.get_mut().add(work),
            std::collections::hash_map::Entry::Vacant(place) => place.insert(work),
        };
        self.tasks.spawn(Arc::clone(self).work_on(target));
    }

    async fn work_on(self: Arc<Self>, target: Target) {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_CAP);
        // While it may not write, what is asked for adds up.
        while self.authority.is_given().await
            && let Some(work) = self.take(&target)
        {
            let Ok(place) = self.writes.acquire().await else { return };
            let (left, problem) = tokio::select! {
                written = self.write(&target, work.clone()) => written,
                () = self.authority.is_withdrawn() => (work, Some("the lease is not sure".to_owned())),
            };
            drop(place);
            let Some(problem) = problem else {
                backoff.reset();
                continue;
            };
            tracing::warn!(?target, problem, "a decision cannot be written; trying again");
            if let Some(waiting) = lock(&self.waiting).get_mut(&target) {
                waiting.put_back(left);
            }
            tokio::select! {
                () = self.authority.ends() => return,
                () = tokio::time::sleep(backoff.wait()) => {}
            }
        }
    }

    /// What waits, or none and the target is done with.
    fn take(&self, target: &Target) -> Option<Work> {
        let mut waiting = lock(&self.waiting);
        let work = std::mem::take(waiting.get_mut(target)?);
        if work.is_empty() {
            waiting.remove(target);
            return None;
        }
        Some(work)
    }

    async fn write(&self, target: &Target, work: Work) -> (Work, Option<String>) {
        match target {
            Target::Instance(instance) => match self.mark(instance, &work).await {
                Written::Done => (Work::default(), None),
                Written::Again(problem) => (work, Some(problem)),
            },
            Target::Revision(revision) => self.write_revision(revision, work).await,
        }
    }

    async fn write_revision(&self, revision: &RevisionKey, work: Work) -> (Work, Option<String>) {
        let (mut failed, mut problem) = (BTreeSet::new(), None);
        for instance in work.claims {
            if let Written::Again(why) = self.claim(&instance, revision).await {
                failed.insert(instance);
                problem = Some(why);
            }
        }
        let left = Work { claims: failed, replicas: work.replicas, ..Work::default() };
        match (problem, work.replicas) {
            (None, Some(replicas)) => match self.scale(revision, replicas).await {
                Written::Done => (Work::default(), None),
                Written::Again(problem) => (left, Some(problem)),
            },
            (problem, _) => (left, problem),
        }
    }

    async fn claim(&self, instance: &str, revision: &RevisionKey) -> Written {
        let function = match self.function_of(revision).await {
            Ok(Some(function)) => function,
            // Its revision was deleted since: so will be the pod.
            Ok(None) => return Written::Done,
            Err(problem) => return Written::Again(problem),
        };
        let labels = json!({ LABEL_POOL: null, LABEL_FUNCTION: function, LABEL_REVISION: revision.name });
        self.patch_pod(instance, |pod| json!({ "metadata": { "uid": pod.uid, "labels": labels } })).await
    }

    // A host may come back to a new leader before the watch has brought its revision.
    async fn function_of(&self, key: &RevisionKey) -> Result<Option<String>, String> {
        if let Some(known) = lock(&self.view).revision(key) {
            return Ok(Some(known.spec.function.clone()));
        }
        let revisions: Api<WasmRevision> = Api::namespaced(self.client.clone(), &key.namespace);
        let found = timeout(CALL_TIMEOUT, revisions.get_opt(&key.name)).await;
        let found = found.map_err(|_| "no answer in time".to_owned())?.map_err(|error| error.to_string())?;
        Ok(found.map(|found| found.spec.function))
    }

    async fn mark(&self, instance: &str, work: &Work) -> Written {
        let stop = work.stop.then_some("the autoscaler gave it up");
        let leaves = work.leaves.then_some("it drains");
        let marks = [(ANNOTATION_STOP, stop), (ANNOTATION_LEAVING, leaves)];
        let annotations: serde_json::Map<_, _> =
            marks.into_iter().filter_map(|(name, cause)| Some((name.to_owned(), json!(cause?)))).collect();
        self.patch_pod(instance, |pod| json!({ "metadata": { "uid": pod.uid, "annotations": annotations } })).await
    }

    /// The UID in the patch is its condition: another pod of the same name is left alone.
    async fn patch_pod(&self, instance: &str, patch: impl FnOnce(&PodFact) -> serde_json::Value) -> Written {
        let Some(pod) = lock(&self.roster).get(instance).cloned() else {
            // The watch has told of its end already, or will tell of its beginning: then its host comes back.
            tracing::debug!(instance, "no pod of this instance is known");
            return Written::Done;
        };
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace);
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(patch(&pod)));
        let patched = timeout(CALL_TIMEOUT, pods.patch_metadata(&pod.name, &parameters, &patch)).await;
        match patched {
            Ok(Ok(_)) => Written::Done,
            Ok(Err(Error::Api(status))) if status.code == 404 || status.code == 409 => {
                // Fails when the loop has ended, and the process with it.
                let _ended = self.handle.instance_exited(instance, "its pod is gone").await;
                Written::Done
            }
            Ok(Err(error)) => Written::Again(error.to_string()),
            Err(_) => Written::Again("no answer in time".to_owned()),
        }
    }

    async fn scale(&self, key: &RevisionKey, replicas: u32) -> Written {
        if !self.is_to_be_scaled(key, replicas) {
            return Written::Done;
        }
        let from = lock(&self.view).revision(key).map_or(0, |revision| revision.spec.replicas);
        let revisions: Api<WasmRevision> = Api::namespaced(self.client.clone(), &key.namespace);
        let patch = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
        let patched = timeout(CALL_TIMEOUT, revisions.patch_scale(&key.name, &PatchParams::default(), &patch)).await;
        match patched {
            Ok(Ok(_)) => {
                lock(&self.scaled).insert(key.clone());
                self.announcer.announce(News::Scaled { revision: key.clone(), from, to: replicas });
                Written::Done
            }
            Ok(Err(Error::Api(status))) if status.code == 404 => {
                lock(&self.scaled).remove(key);
                Written::Done
            }
            Ok(Err(error)) => Written::Again(error.to_string()),
            Err(_) => Written::Again("no answer in time".to_owned()),
        }
    }

    fn is_to_be_scaled(&self, key: &RevisionKey, replicas: u32) -> bool {
        let view = lock(&self.view);
        let Some(revision) = view.revision(key) else { return true };
        let is_so = revision.spec.replicas == replicas && !lock(&self.scaled).contains(key);
        !view.is_external(key) && !is_so
    }
}

/// What is behind these is replaced whole: a panic elsewhere leaves nothing half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
