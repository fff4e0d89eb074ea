//! One revision: as many pods as its scale says.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};
use serde_json::json;
use wisp_api::status::Reason;
use wisp_api::{RevisionKey, WasmRevision};

use crate::context::{Context, Error};
use crate::instances::{self, Sorted};
use crate::plan;
use crate::pod::{PodOf, Role};
use crate::status::{self, Step};

/// Pods that are created at once; the API server has others to serve.
const CREATED_AT_ONCE: usize = 50;
/// Seconds for a pod that was told to stop, or has.
const STOP_SECONDS: u32 = 1;

/// Creates what is missing and deletes what is over. Which of the running ones goes is never decided here: the
/// autoscaler lets it drain, and it ends by itself.
///
/// # Errors
/// When the API server refuses or is away; it is tried again.
pub async fn reconcile(revision: Arc<WasmRevision>, context: Arc<Context>) -> Result<Action, Error> {
    if revision.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let (name, namespace) = (revision.name_any(), revision.namespace().unwrap_or_default());
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &namespace);
    let who = RevisionKey::new(&namespace, &name).to_string();
    context.known.complete().await?;
    let known = context.known.pods.of(&who);
    let sorted = instances::sort(known.iter().map(|pod| &**pod));
    delete_over(&context, &pods, &sorted).await?;
    let missing = (revision.spec.replicas as usize).saturating_sub(sorted.live.len());
    let mut outcome = Outcome { live: sorted.live.len(), ready: Step::Good, again: None };
    if let Some(words) = sorted.failed.first() {
        context.patience.wait(&who);
        tracing::warn!(revision = who, words, "instances fail");
        outcome.ready = failing(words);
    } else if sorted.live.iter().any(|pod| instances::has_lasted(pod, Timestamp::now())) {
        context.patience.reset(&who);
    } else if context.patience.is_failing(&who) {
        // A new one may be about to fail as the last did: what was said holds until one has lasted.
        outcome.ready = status::as_before(&revision);
        outcome.again = Some(instances::EARLY);
    }
    let left = context.patience.left(&who).filter(|_| missing > 0);
    if left.is_none() && matches!(outcome.ready, Step::Bad(Reason::QuotaExceeded, _)) {
        outcome.ready = Step::Good;
    }
    match left {
        // What was just deleted for its failure is not made again before its time.
        Some(left) => outcome.again = Some(left),
        None if missing > 0 => create(&revision, &context, &mut outcome).await?,
        None => outcome.ready = instances::stuck(&sorted.live).map_or(outcome.ready, |words| failing(&words)),
    }
    say(&revision, &context, &outcome).await?;
    Ok(outcome.again.map_or_else(Action::await_change, Action::requeue))
}

fn failing(words: &str) -> Step {
    Step::Bad(Reason::InstancesFailing, format!("instances do not run: {words}; see their logs and events"))
}

/// What came of it.
struct Outcome {
    live: usize,
    ready: Step,
    again: Option<std::time::Duration>,
}

pub(crate) async fn delete_over(context: &Context, pods: &Api<Pod>, sorted: &Sorted<'_>) -> Result<(), Error> {
    let parameters = DeleteParams::default().grace_period(STOP_SECONDS);
    for pod in &sorted.over {
        context.known.delete_pod(pods, pod, &parameters).await?;
        context.metrics.pod_deleted();
    }
    Ok(())
}

async fn create(revision: &WasmRevision, context: &Context, outcome: &mut Outcome) -> Result<(), Error> {
    let (name, namespace) = (revision.name_any(), revision.namespace().unwrap_or_default());
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &namespace);
    // A claim is seen in another watch than the scale that counts it, and perhaps later: the API server knows of both.
    let listed = pods.list(&ListParams::default().labels(&plan::selector(&name))).await?.items;
    outcome.live = instances::sort(&listed).live.len();
    let missing = (revision.spec.replicas as usize).saturating_sub(outcome.live);
    let template = &revision.spec.template;
    let role = Role::Fresh { function: &revision.spec.function, revision: &name, template };
    let owner = revision.controller_owner_ref(&()).unwrap_or_default();
    let pod = context.installation.pod(&PodOf { namespace: &namespace, role, settings: &template.pod, owner });
    let (made, created) = context.known.create_pods(&pods, &pod, missing.min(CREATED_AT_ONCE)).await;
    context.metrics.pods_created(made);
    outcome.live += made;
    match created {
        Ok(()) => Ok(()),
        // A quota, or a rule of the cluster: neither is overcome by trying at once.
        Err(kube::Error::Api(refused)) if refused.code == 403 => {
            outcome.ready = Step::Bad(Reason::QuotaExceeded, refused.message.clone());
            outcome.again = Some(context.patience.wait(&format!("{namespace}/{name}")));
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

async fn say(revision: &WasmRevision, context: &Context, outcome: &Outcome) -> Result<(), Error> {
    let before = revision.status.clone().unwrap_or_default();
    let mut status = before.clone();
    status.replicas = u32::try_from(outcome.live).unwrap_or(u32::MAX);
    status.selector = plan::selector(&revision.name_any());
    if plan::is_ready(revision) {
        status.conditions = vec![status::revision_ready(&outcome.ready, &before.conditions)];
    }
    if status == before {
        return Ok(());
    }
    let patch = json!({"status": {
        "replicas": status.replicas, "selector": status.selector, "conditions": status.conditions,
    }});
    let namespace = revision.namespace().unwrap_or_default();
    let revisions: Api<WasmRevision> = Api::namespaced(context.client.clone(), &namespace);
    revisions.patch_status(&revision.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await?;
    Ok(())
}
