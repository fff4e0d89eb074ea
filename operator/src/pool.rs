//! One pool: as many warm pods that nobody has claimed as its size says.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use serde_json::json;
use wisp_api::status::Reason;
use wisp_api::{WarmPool, WasmRevision, names};

use crate::context::{Context, Error};
use crate::events::{self, Happened, Severity};
use crate::function::{gone_is_good, is_gone};
use crate::instances;
use crate::pod::{PodOf, Role};
use crate::revision::delete_over;
use crate::surge::Wanted;

/// Fills one pool, and gives claimed pods to their revisions.
///
/// # Errors
/// When the API server refuses or is away; it is tried again.
pub async fn reconcile(pool: Arc<WarmPool>, context: Arc<Context>) -> Result<Action, Error> {
    if pool.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let (name, namespace) = (pool.name_any(), pool.namespace().unwrap_or_default());
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &namespace);
    context.known.complete().await?;
    let owned = context.known.pods.of(&pool.uid().unwrap_or_default());
    let (waiting, claimed): (Vec<&Pod>, Vec<&Pod>) =
        owned.iter().map(|pod| &**pod).partition(|pod| pod.labels().get(names::LABEL_POOL) == Some(&name));
    for pod in &claimed {
        adopt(&context, &pods, pod).await?;
    }
    // After its claimed pods have another owner: what it owns goes with it.
    if is_ours(&pool) && context.functions.any_with_pool(&namespace).is_none() {
        let pools: Api<WarmPool> = Api::namespaced(context.client.clone(), &namespace);
        gone_is_good(pools.delete(&name, &DeleteParams::default()).await.map(drop))?;
        return Ok(Action::await_change());
    }
    let sorted = instances::sort(waiting);
    delete_over(&context, &pods, &sorted).await?;
    let who = format!("pool {namespace}/{name}");
    let Wanted { instances: wanted, lasts } = context.surges.claimed(&who, claimed.len(), &pool.spec);
    if let Some(words) = sorted.failed.first() {
        tracing::warn!(pool = who, words, "warm instances fail");
        complain(&context, &pool, Reason::InstancesFailing, words).await;
        context.patience.wait(&who);
    } else if sorted.live.iter().any(|pod| instances::has_lasted(pod, Timestamp::now())) {
        context.patience.reset(&who);
    }
    let mut again = None;
    if sorted.live.len() < wanted {
        match context.patience.left(&who) {
            Some(left) => again = Some(left),
            None => again = fill(&pool, &context, wanted - sorted.live.len()).await?,
        }
    } else {
        shrink(&context, &pods, &sorted.live[wanted..]).await?;
    }
    say(&pool, &context, running(&sorted.live)).await?;
    let again = [again, lasts].into_iter().flatten().min();
    Ok(again.map_or_else(Action::await_change, Action::requeue))
}

/// Whether the operator made it.
fn is_ours(pool: &WarmPool) -> bool {
    pool.name_any() == names::DEFAULT_POOL
        && pool.labels().get("app.kubernetes.io/managed-by").map(String::as_str) == Some("wisp")
}

async fn complain(context: &Context, pool: &WarmPool, reason: Reason, words: &str) {
    let note = format!("warm instances do not run: {words}; see their logs and events");
    let happened = Happened { severity: Severity::Warning, reason: format!("{reason:?}"), action: "Fill", note };
    events::tell(&context.recorder, pool, happened).await;
}

/// Makes what is missing. Where a quota leaves no room: how long to wait.
async fn fill(pool: &WarmPool, context: &Context, count: usize) -> Result<Option<Duration>, Error> {
    let (name, namespace) = (pool.name_any(), pool.namespace().unwrap_or_default());
    let owner = pool.controller_owner_ref(&()).unwrap_or_default();
    let role = Role::Warm { pool: &name };
    let pod = context.installation.pod(&PodOf { namespace: &namespace, role, settings: &pool.spec.pod, owner });
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &namespace);
    let (made, created) = context.known.create_pods(&pods, &pod, count).await;
    context.metrics.pods_created(made);
    match created {
        Ok(()) => Ok(None),
        Err(kube::Error::Api(refused)) if refused.code == 403 => {
            tracing::warn!(pool = name, namespace, reason = refused.message, "warm instances are refused");
            complain(context, pool, Reason::QuotaExceeded, &refused.message).await;
            Ok(Some(context.patience.wait(&format!("pool {namespace}/{name}"))))
        }
        Err(error) => Err(error.into()),
    }
}

/// Deletes what is too much, but none that was claimed since it was looked at.
async fn shrink(context: &Context, pods: &Api<Pod>, surplus: &[&Pod]) -> Result<(), Error> {
    for pod in surplus {
        let preconditions = Preconditions { uid: pod.uid(), resource_version: pod.resource_version() };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        context.known.delete_pod(pods, pod, &parameters).await?;
    }
    Ok(())
}

/// A claimed pod goes with its revision from now on.
async fn adopt(context: &Context, pods: &Api<Pod>, pod: &Pod) -> Result<(), Error> {
    let Some(name) = pod.labels().get(names::LABEL_REVISION) else { return Ok(()) };
    let namespace = pod.namespace().unwrap_or_default();
    let known = context.known.revisions.get(&ObjectRef::new(name).within(&namespace));
    let revision = match known {
        Some(known) => known,
        // The watch may be late.
        None => {
            let revisions: Api<WasmRevision> = Api::namespaced(context.client.clone(), &namespace);
            let Some(found) = revisions.get_opt(name).await? else {
                return Ok(context.known.delete_pod(pods, pod, &DeleteParams::default()).await?);
            };
            Arc::new(found)
        }
    };
    let owner = revision.controller_owner_ref(&()).unwrap_or_default();
    let patch = json!({"metadata": {"uid": pod.uid(), "ownerReferences": [owner]}});
    let adopted = pods.patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await;
    match adopted {
        Ok(adopted) => drop(context.known.pods.wrote(adopted)),
        // The watch is late. What is gone is not adopted again.
        Err(error) if is_gone(&error) => context.known.pods.deleted(pod),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn running(live: &[&Pod]) -> usize {
    let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone());
    live.iter().filter(|pod| phase(pod).as_deref() == Some("Running")).count()
}

async fn say(pool: &WarmPool, context: &Context, ready: usize) -> Result<(), Error> {
    let ready = u32::try_from(ready).unwrap_or(u32::MAX);
    if pool.status.as_ref().is_some_and(|status| status.ready == ready) {
        return Ok(());
    }
    let pools: Api<WarmPool> = Api::namespaced(context.client.clone(), &pool.namespace().unwrap_or_default());
    let patch = json!({"status": {"ready": ready}});
    pools.patch_status(&pool.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await?;
    Ok(())
}
