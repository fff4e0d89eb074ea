//! One function: its revisions, where its requests go, how it is reached, and what is said of it.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};
use serde_json::json;
use wisp_api::ingress::Visibility;
use wisp_api::revision::CompiledArtifact;
use wisp_api::status::Reason;
use wisp_api::{FunctionKey, Target, WasmFunction, WasmRevision, WasmRevisionSpec, names, route, validate};

use crate::children::Parent;
use crate::component::{Compiled, Refusal, Retry};
use crate::context::{Context, Error, MANAGER};
use crate::reach::{Reached, reach};
use crate::status::{self, Seen, Step};
use crate::{events, plan};

/// Brings one function closer to what its spec says.
///
/// # Errors
/// When the API server refuses or is away; it is tried again.
pub async fn reconcile(function: Arc<WasmFunction>, context: Arc<Context>) -> Result<Action, Error> {
    let work = Work::new(&function, &context);
    if function.metadata.deletion_timestamp.is_some() {
        // What it owns goes with it.
        return Ok(Action::await_change());
    }
    let problems = validate(&work.key.name, &function.spec, Target::Cluster);
    if !problems.is_empty() {
        let message = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let unseen = "the spec is refused; what was there before stays as it is";
        let unseen = Step::Unknown(Reason::InvalidSpec, unseen.to_owned());
        let nothing = work.nothing(Step::Bad(Reason::InvalidSpec, message));
        work.say(Seen { revision: unseen.clone(), routes: unseen, ..nothing }).await?;
        return Ok(Action::await_change());
    }
    work.reconcile().await
}

struct Work<'a> {
    function: &'a WasmFunction,
    context: &'a Context,
    key: FunctionKey,
    owner: OwnerReference,
}

impl<'a> Work<'a> {
    fn new(function: &'a WasmFunction, context: &'a Context) -> Self {
        let key = FunctionKey::new(function.namespace().unwrap_or_default(), function.name_any());
        let owner = function.controller_owner_ref(&()).unwrap_or_default();
        Self { function, context, key, owner }
    }

    async fn reconcile(&self) -> Result<Action, Error> {
        let spec = &self.function.spec;
        self.context.known.complete().await?;
        let mut revisions = self.revisions();
        let newest = revisions.last();
        let is_new = newest.is_none_or(|newest| plan::differs(spec, &newest.spec.template));
        let mut refusal = None;
        if is_new || !newest.is_some_and(|newest| plan::is_ready(newest)) {
            self.announce_compiling(&revisions).await?;
            let (components, namespace) = (&self.context.components, &self.key.namespace);
            let compiled = match newest.filter(|_| !is_new) {
                Some(newest) => components.compile_again(namespace, &newest.spec).await,
                None => components.compile(namespace, spec).await,
            };
            match compiled {
                Ok(compiled) if is_new => revisions.push(self.make_revision(&revisions, compiled).await?),
                Ok(compiled) => {
                    let newest = revisions.pop().expect("one that is not ready is there");
                    revisions.push(self.note_artifact(&newest.name_any(), compiled).await?);
                }
                Err(problem) => refusal = Some(problem),
            }
        }
        let parent = Parent { key: &self.key, spec, owner: &self.owner, domain: &self.context.domain };
        let Reached { routes, again } = reach(self.context, parent).await?;
        let seen = self.seen(&revisions, refusal.as_ref(), routes);
        let traffic = seen.traffic.clone();
        self.say(seen).await?;
        self.forget_old(&revisions, &traffic).await?;
        let again = [again, self.patience(refusal)].into_iter().flatten().min();
        Ok(again.map_or_else(Action::await_change, Action::requeue))
    }

    fn patience(&self, refusal: Option<Refusal>) -> Option<Duration> {
        let name = format!("compile {}", self.key);
        match refusal {
            Some(Refusal { retry: Retry::Later, .. }) => Some(self.context.patience.wait(&name)),
            _ => {
                self.context.patience.reset(&name);
                None
            }
        }
    }

    fn revisions(&self) -> Vec<Arc<WasmRevision>> {
        plan::ordered(&self.key.name, self.context.known.revisions.of(&self.owner.uid))
    }

    async fn make_revision(&self, known: &[Arc<WasmRevision>], compiled: Compiled) -> Result<Arc<WasmRevision>, Error> {
        let last = known.last().and_then(|last| plan::generation(&self.key.name, &last.name_any())).unwrap_or(0);
        let name = self.key.revision(last + 1).name;
        let mut revision = WasmRevision::new(
            &name,
            WasmRevisionSpec {
                function: self.key.name.clone(),
                digest: compiled.digest.clone(),
                image: compiled.image.clone(),
                replicas: self.function.spec.scaling.initial,
                template: self.function.spec.clone(),
            },
        );
        revision.labels_mut().insert(names::LABEL_FUNCTION.to_owned(), self.key.name.clone());
        revision.owner_references_mut().push(self.owner.clone());
        let made = self.revision_api().create(&PostParams::default(), &revision).await?;
        self.context.known.revisions.wrote(made);
        tracing::info!(function = %self.key, revision = name, "a revision is made");
        self.note_artifact(&name, compiled).await
    }

    /// From here on it can be given traffic.
    async fn note_artifact(&self, name: &str, compiled: Compiled) -> Result<Arc<WasmRevision>, Error> {
        let Compiled { file, bytes, architecture, .. } = compiled;
        let artifacts = vec![CompiledArtifact { architecture: architecture.to_owned(), file, bytes }];
        let condition = status::revision_ready(&Step::Good, &[]);
        let selector = plan::selector(name);
        let patch = json!({"status": {"artifacts": artifacts, "conditions": [condition], "selector": selector}});
        let noted = self.revision_api().patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        Ok(self.context.known.revisions.wrote(noted))
    }

    fn seen(&self, revisions: &[Arc<WasmRevision>], refusal: Option<&Refusal>, routes: Step) -> Seen {
        let spec = &self.function.spec;
        let latest_ready =
            revisions.iter().rev().find(|revision| plan::is_ready(revision)).map(|found| found.name_any());
        let mut seen = Seen { routes, ..self.nothing(Step::Good) };
        seen.latest_created = revisions.last().map(|newest| newest.name_any());
        seen.replicas = revisions.iter().filter_map(|found| found.status.as_ref()).map(|status| status.replicas).sum();
        if let Some(refusal) = refusal {
            seen.component = Step::Bad(refusal.reason, refusal.message.clone());
        }
        let known: Vec<String> = revisions.iter().map(|revision| revision.name_any()).collect();
        match &latest_ready {
            None => seen.revision = Step::Waiting("no revision is ready yet".to_owned()),
            Some(latest) => {
                let latest = wisp_api::RevisionKey::new(&self.key.namespace, latest);
                match route::traffic(spec, &latest, &known) {
                    Ok(traffic) => {
                        seen.revision = plan::failing(revisions, &traffic).unwrap_or(Step::Good);
                        seen.traffic = traffic;
                    }
                    Err(unknown) => {
                        let there = known.join(", ");
                        let message = format!("spec.traffic names revision {unknown:?}, and there are {there}");
                        seen.revision = Step::Bad(Reason::InvalidSpec, message);
                        // What was served is served on.
                        seen.traffic = self.function.status.clone().unwrap_or_default().traffic;
                    }
                }
            }
        }
        seen.latest_ready = latest_ready;
        seen
    }

    /// A function of which nothing is known but this of its component.
    fn nothing(&self, component: Step) -> Seen {
        let before = self.function.status.clone().unwrap_or_default();
        Seen {
            generation: self.function.metadata.generation,
            component,
            revision: Step::Good,
            routes: Step::Good,
            latest_created: before.latest_created_revision,
            latest_ready: before.latest_ready_revision,
            traffic: before.traffic,
            replicas: before.replicas,
            public: self.function.spec.ingress.visibility == Visibility::Public,
        }
    }

    /// A large component takes a while; whoever waits sees for what. Once for each spec: a second try has a reason to
    /// show, and what is written here wakes this very function.
    async fn announce_compiling(&self, revisions: &[Arc<WasmRevision>]) -> Result<(), Error> {
        let said = self.function.status.as_ref().and_then(|status| status.observed_generation);
        if !revisions.is_empty() || said == self.function.metadata.generation {
            return Ok(());
        }
        let waiting = Step::Waiting("the component is pulled and compiled".to_owned());
        self.say(Seen { revision: waiting.clone(), routes: waiting.clone(), ..self.nothing(waiting) }).await
    }

    /// Writes the status, when it says something new.
    async fn say(&self, seen: Seen) -> Result<(), Error> {
        let before = self.function.status.as_ref();
        let status = status::status(&self.key, &self.context.domain, seen, before);
        if before == Some(&status) {
            return Ok(());
        }
        let patch = json!({
            "apiVersion": names::API_VERSION, "kind": "WasmFunction", "status": status,
        });
        let functions: Api<WasmFunction> = Api::namespaced(self.context.client.clone(), &self.key.namespace);
        let parameters = PatchParams::apply(MANAGER).force();
        functions.patch_status(&self.key.name, &parameters, &Patch::Apply(&patch)).await?;
        for happened in events::between(before, &status) {
            events::tell(&self.context.recorder, self.function, happened).await;
        }
        Ok(())
    }

    async fn forget_old(
        &self,
        revisions: &[Arc<WasmRevision>],
        traffic: &[wisp_api::status::TrafficStatus],
    ) -> Result<(), Error> {
        for name in plan::outdated(revisions, traffic, self.function.spec.revision_history_limit) {
            tracing::info!(function = %self.key, revision = name, "an old revision is removed");
            gone_is_good(self.revision_api().delete(&name, &DeleteParams::default()).await.map(drop))?;
            revisions
                .iter()
                .filter(|old| old.name_any() == name)
                .for_each(|old| self.context.known.revisions.deleted(old));
        }
        Ok(())
    }

    fn revision_api(&self) -> Api<WasmRevision> {
        Api::namespaced(self.context.client.clone(), &self.key.namespace)
    }
}

/// Somebody else was quicker.
pub(crate) fn gone_is_good(deleted: kube::Result<()>) -> kube::Result<()> {
    match deleted {
        Err(error) if is_gone(&error) => Ok(()),
        deleted => deleted,
    }
}

/// Whether an object is not there any more, or not the one that was meant.
pub(crate) fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404 || status.code == 409)
}
