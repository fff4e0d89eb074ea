//! One pool: as many warm pods that nobody has claimed as its size says.

use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};
use serde_json::json;
use wisp_api::status::Reason;
use wisp_api::{WarmPool, WasmRevision, names};

use crate::context::{Context, Error, MANAGER};
use crate::events::{self, Happened, Severity};
use crate::function::gone_is_good;
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
    let label = format!("{}=true", names::LABEL_INSTANCE);
    let listed = pods.list(&ListParams::default().labels(&label)).await?.items;
    let owned = |pod: &&Pod| pod.owner_references().iter().any(|owner| owner.uid == pool.uid().unwrap_or_default());
    let (waiting, claimed): (Vec<&Pod>, Vec<&Pod>) =
        listed.iter().filter(owned).partition(|pod| pod.labels().get(names::LABEL_POOL) == Some(&name));
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
        shrink(&pods, &sorted.live[wanted..]).await?;
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
    let parameters = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    match try_join_all((0..count).map(|_| pods.create(&parameters, &pod))).await {
        Ok(created) => {
            created.iter().for_each(|_| context.metrics.pod_created());
            Ok(None)
        }
        Err(kube::Error::Api(refused)) if refused.code == 403 => {
            tracing::warn!(pool = name, namespace, reason = refused.message, "warm instances are refused");
            complain(context, pool, Reason::QuotaExceeded, &refused.message).await;
            Ok(Some(context.patience.wait(&format!("pool {namespace}/{name}"))))
        }
        Err(error) => Err(error.into()),
    }
}

/// Deletes what is too much, but none that was claimed since it was looked at.
async fn shrink(pods: &Api<Pod>, surplus: &[&Pod]) -> Result<(), Error> {
    for pod in surplus {
        let preconditions = Preconditions { uid: pod.uid(), resource_version: pod.resource_version() };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        gone_is_good(pods.delete(&pod.name_any(), &parameters).await.map(drop))?;
    }
    Ok(())
}

/// A claimed pod goes with its revision from now on.
async fn adopt(context: &Context, pods: &Api<Pod>, pod: &Pod) -> Result<(), Error> {
    let Some(name) = pod.labels().get(names::LABEL_REVISION) else { return Ok(()) };
    let namespace = pod.namespace().unwrap_or_default();
    let revisions: Api<WasmRevision> = Api::namespaced(context.client.clone(), &namespace);
    let Some(revision) = revisions.get_opt(name).await? else {
        return Ok(gone_is_good(pods.delete(&pod.name_any(), &DeleteParams::default()).await.map(drop))?);
    };
    let owner = revision.controller_owner_ref(&()).unwrap_or_default();
    let patch = json!({"metadata": {"uid": pod.uid(), "ownerReferences": [owner]}});
    gone_is_good(pods.patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await.map(drop))?;
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
