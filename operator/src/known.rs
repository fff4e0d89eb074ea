//! What is there of functions: their revisions and pods, so that nothing has to be listed, and their children, so that what
//! is as it must be is not applied again.

use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use kube::api::{DeleteParams, PostParams};
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt};
use wisp_api::{RevisionKey, WarmPool, WasmRevision, names};

use crate::children;
use crate::context::MANAGER;
use crate::grouped::Grouped;
use crate::watched::{Changes, Seen, grouped, watched};

/// Everything that the operator applies for a function has it.
pub(crate) const CHILDREN: &str = "app.kubernetes.io/managed-by=wisp";

/// Of all functions.
pub struct Known {
    pub(crate) services: Seen<Service>,
    pub(crate) slices: Seen<EndpointSlice>,
    pub(crate) ingresses: Seen<Ingress>,
    pub(crate) policies: Seen<NetworkPolicy>,
    pub(crate) pools: Seen<WarmPool>,
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
}

impl Known {
    /// Waits until all children have been seen: what has not may be there, and be as it must be.
    pub(crate) async fn complete(&self) {
        self.services.complete().await;
        self.slices.complete().await;
        self.ingresses.complete().await;
        self.policies.complete().await;
        self.pools.complete().await;
    }

    /// Creates `count` pods like `pod`, and says how many there are of them now; the first refusal with it.
    pub(crate) async fn create_pods(&self, pods: &Api<Pod>, pod: &Pod, count: usize) -> (usize, kube::Result<()>) {
        let parameters = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let (mut made, mut outcome) = (0, Ok(()));
        for created in join_all((0..count).map(|_| pods.create(&parameters, pod))).await {
            match created {
                Ok(pod) => {
                    self.pods.wrote(pod);
                    made += 1;
                }
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        (made, outcome)
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
