//! What is there of functions: their revisions and pods, so that nothing has to be listed, and their children, so that what
//! is as it must be is not applied again.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use kube::api::{DeleteParams, PostParams};
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt};
use tokio::time::timeout;
use wisp_api::{RevisionKey, WarmPool, WasmRevision, names};

use crate::children;
use crate::context::{Error, MANAGER};
use crate::grouped::Grouped;
use crate::watched::{Changes, Mirror, grouped, watched};

/// Everything that the operator applies for a function has it.
pub(crate) const CHILDREN: &str = "app.kubernetes.io/managed-by=wisp";
/// Before that, lists of a large cluster may be on their way.
const SEEN_WITHIN: Duration = Duration::from_secs(30);

/// Of all functions.
pub struct Known {
    pub(crate) services: Arc<Mirror<Service>>,
    pub(crate) slices: Arc<Mirror<EndpointSlice>>,
    pub(crate) ingresses: Arc<Mirror<Ingress>>,
    pub(crate) policies: Arc<Mirror<NetworkPolicy>>,
    pub(crate) pools: Arc<Mirror<WarmPool>>,
    /// By the UIDs of their functions.
    pub(crate) revisions: Arc<Grouped<WasmRevision>>,
    /// By the names of their revisions, and the UIDs of their pools.
    pub(crate) pods: Arc<Grouped<Pod>>,
}

/// What changed among them.
pub struct ChildChanges {
    pub(crate) services: Changes<Service>,
    pub(crate) slices: Changes<EndpointSlice>,
    pub(crate) ingresses: Changes<Ingress>,
    pub(crate) policies: Changes<NetworkPolicy>,
    pub(crate) pools: Changes<WarmPool>,
}

/// What changed among revisions and pods.
pub struct InstanceChanges {
    pub(crate) revisions: Changes<WasmRevision>,
    pub(crate) pods: Changes<Pod>,
}

impl Known {
    /// Watches them all.
    #[must_use]
    pub fn watch(client: &Client) -> (Self, ChildChanges, InstanceChanges) {
        let ours = watcher::Config::default().labels(CHILDREN);
        let named = ours.clone().fields(&format!("metadata.name={}", children::POLICY));
        let (services, service_changes) = watched(Api::all(client.clone()), ours.clone());
        let (slices, slice_changes) = watched(Api::all(client.clone()), ours.clone());
        let (ingresses, ingress_changes) = watched(Api::all(client.clone()), ours);
        let (policies, policy_changes) = watched(Api::all(client.clone()), named);
        let all = watcher::Config::default();
        let (pools, pool_changes) = watched(Api::all(client.clone()), all.clone());
        let (revisions, revision_changes) = grouped(Api::all(client.clone()), all.clone(), owners);
        let instances = all.labels(&format!("{}=true", names::LABEL_INSTANCE));
        let (pods, pod_changes) = grouped(Api::all(client.clone()), instances, groups_of_pod);
        let changes = ChildChanges {
            services: service_changes,
            slices: slice_changes,
            ingresses: ingress_changes,
            policies: policy_changes,
            pools: pool_changes,
        };
        let instance_changes = InstanceChanges { revisions: revision_changes, pods: pod_changes };
        (Self { services, slices, ingresses, policies, pools, revisions, pods }, changes, instance_changes)
    }

    /// Waits until all has been seen once: what has not may be there, and be as it must be.
    ///
    /// # Errors
    /// When that takes long; it goes on.
    pub(crate) async fn complete(&self) -> Result<(), Error> {
        let Self { services, slices, ingresses, policies, pools, revisions, pods } = self;
        within("services", services.complete()).await?;
        within("endpoint slices", slices.complete()).await?;
        within("ingresses", ingresses.complete()).await?;
        within("network policies", policies.complete()).await?;
        within("warm pools", pools.complete()).await?;
        within("revisions", revisions.complete()).await?;
        within("pods", pods.complete()).await
    }

    /// Creates `count` pods like `pod`. Says how many it made, and the first refusal.
    pub(crate) async fn create_pods(&self, pods: &Api<Pod>, pod: &Pod, count: usize) -> (usize, kube::Result<()>) {
        let parameters = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let created = (0..count).map(async |_| pods.create(&parameters, pod).await.map(|made| self.pods.wrote(made)));
        let (made, refused): (Vec<_>, Vec<_>) = join_all(created).await.into_iter().partition(Result::is_ok);
        (made.len(), refused.into_iter().find_map(Result::err).map_or(Ok(()), Err))
    }

    /// Deletes `pod`, unless it is gone, or is not what `parameters` ask for.
    pub(crate) async fn delete_pod(&self, pods: &Api<Pod>, pod: &Pod, parameters: &DeleteParams) -> kube::Result<()> {
        match pods.delete(&pod.name_any(), parameters).await {
            Err(kube::Error::Api(status)) if status.code == 409 => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            deleted => drop(deleted?),
        }
        self.pods.deleted(pod);
        Ok(())
    }
}

async fn within(what: &'static str, seen: impl Future<Output = ()>) -> Result<(), Error> {
    timeout(SEEN_WITHIN, seen).await.map_err(|_| Error::Unseen(what))
}

/// The UIDs of those it belongs to.
fn owners<K: Resource>(object: &K) -> Vec<String> {
    object.owner_references().iter().map(|owner| owner.uid.clone()).collect()
}

/// A claimed pod has its revision's label before it has its owner.
fn groups_of_pod(pod: &Pod) -> Vec<String> {
    let revision = revision_of(pod).map(|revision| revision.to_string());
    owners(pod).into_iter().chain(revision).collect()
}

/// The revision that a pod serves.
pub(crate) fn revision_of(pod: &Pod) -> Option<RevisionKey> {
    Some(RevisionKey::new(pod.namespace()?, pod.labels().get(names::LABEL_REVISION)?))
}
