//! The NetworkPolicy of a namespace's instances: as long as there are functions, or instances that finish.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::runtime::controller::Action;
use wisp_api::names;

use crate::applied::{self, marked};
use crate::children;
use crate::context::{Context, Error, MANAGER};
use crate::function::gone_is_good;

/// Instances that finish are looked for again after this time.
const LOOK: Duration = Duration::from_secs(10);

/// Restores a policy that somebody changed, and removes one that protects nobody.
///
/// # Errors
/// When the API server refuses or is away; it is tried again.
pub async fn reconcile(policy: Arc<NetworkPolicy>, context: Arc<Context>) -> Result<Action, Error> {
    let namespace = policy.namespace().unwrap_or_default();
    if policy.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    if context.functions.any_in(&namespace).is_some() {
        let wanted = wanted(&context, &namespace);
        if !applied::is_as(&*policy, &wanted) {
            apply(&context, &wanted).await?;
        }
        return Ok(Action::await_change());
    }
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &namespace);
    let one = ListParams::default().labels(&format!("{}=true", names::LABEL_INSTANCE)).limit(1);
    if !pods.list_metadata(&one).await?.items.is_empty() {
        return Ok(Action::requeue(LOOK));
    }
    let preconditions = Preconditions { uid: policy.uid(), resource_version: None };
    let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    let policies: Api<NetworkPolicy> = Api::namespaced(context.client.clone(), &namespace);
    gone_is_good(policies.delete(&policy.name_any(), &parameters).await.map(drop))?;
    Ok(Action::await_change())
}

/// Applies it, unless it is there as it was applied. Its name is Wisp's: whatever has that name is made what it must be.
pub(crate) async fn ensure(context: &Context, namespace: &str) -> kube::Result<()> {
    let policy = wanted(context, namespace);
    if applied::holds(context.known.policies.store(), &policy) {
        return Ok(());
    }
    apply(context, &policy).await
}

fn wanted(context: &Context, namespace: &str) -> NetworkPolicy {
    marked(children::network_policy(namespace, &context.system))
}

async fn apply(context: &Context, policy: &NetworkPolicy) -> kube::Result<()> {
    let policies: Api<NetworkPolicy> = Api::namespaced(context.client.clone(), &policy.namespace().unwrap_or_default());
    let parameters = PatchParams::apply(MANAGER).force();
    policies.patch(children::POLICY, &parameters, &Patch::Apply(policy)).await?;
    context.metrics.child_applied();
    Ok(())
}
