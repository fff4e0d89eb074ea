//! What is there of functions: their revisions and pods, so that nothing has to be listed, and their children, so that what
//! is as it must be is not applied again. A function is looked at whenever one of its revisions changes, and nearly always
//! nothing is to be done.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use kube::api::{DeleteParams, PostParams};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use wisp_api::{RevisionKey, WarmPool, WasmRevision, names};

use crate::children;
use crate::context::MANAGER;
use crate::grouped::Grouped;
use crate::watched::{Changes, grouped, watched};

/// Everything that the operator applies for a function has it.
pub(crate) const CHILDREN: &str = "app.kubernetes.io/managed-by=wisp";
/// Objects that are remembered: four for each of 25,000 functions. Beyond, all are applied once more.
const APPLIED_MAX: usize = 100_000;

/// Of all functions.
pub struct Known {
    pub(crate) services: Store<Service>,
    pub(crate) slices: Store<EndpointSlice>,
    pub(crate) ingresses: Store<Ingress>,
    pub(crate) policies: Store<NetworkPolicy>,
    pub(crate) pools: Store<WarmPool>,
    /// By the UIDs of their functions.
    pub(crate) revisions: Arc<Grouped<WasmRevision>>,
    /// By the names of their revisions, and the UIDs of their pools.
    pub(crate) pods: Arc<Grouped<Pod>>,
    pub(crate) applied: Applied,
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

/// What was applied, and the version that it had then. An object of another version is another one, or was changed.
#[derive(Debug, Default)]
pub(crate) struct Applied(Mutex<HashMap<String, (u64, String)>>);

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
        let applied = Applied::default();
        (Self { services, slices, ingresses, policies, pools, revisions, pods, applied }, changes, instance_changes)
    }
}

impl Known {
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

impl Applied {
    /// Whether `object` is as it was applied, by what the watch shows.
    pub(crate) fn holds<K>(&self, store: &Store<K>, object: &K) -> bool
    where
        K: Resource<DynamicType = ()> + Serialize + Clone + Debug + 'static,
    {
        let reference = ObjectRef::from_obj(object);
        let Some(version) = store.get(&reference).and_then(|found| found.resource_version()) else { return false };
        let applied = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        applied.get(&reference.to_string()) == Some(&(hash(object), version))
    }

    /// `object` was applied, and is `found` since.
    pub(crate) fn note<K>(&self, object: &K, found: &K)
    where
        K: Resource<DynamicType = ()> + Serialize + Clone + Debug + 'static,
    {
        let Some(version) = found.resource_version() else { return };
        let mut applied = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if applied.len() >= APPLIED_MAX {
            applied.clear();
        }
        applied.insert(ObjectRef::from_obj(object).to_string(), (hash(object), version));
    }
}

fn hash(object: &impl Serialize) -> u64 {
    let mut hasher = DefaultHasher::new();
    serde_json::to_vec(object).expect("objects of Kubernetes are JSON").hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use kube::runtime::reflector;
    use kube::runtime::watcher::Event;
    use serde_json::json;

    use super::*;

    fn service(version: Option<&str>, port: u16) -> Service {
        let metadata = json!({"name": "cart", "namespace": "shop", "resourceVersion": version});
        serde_json::from_value(json!({"metadata": metadata, "spec": {"ports": [{"port": port}]}})).unwrap()
    }

    #[test]
    fn an_object_is_applied_again_when_it_must_be_another_or_somebody_touched_it() {
        let (applied, (store, mut writer)) = (Applied::default(), reflector::store());
        let wanted = service(None, 80);
        assert!(!applied.holds(&store, &wanted), "never seen");
        applied.note(&wanted, &service(Some("7"), 80));
        assert!(!applied.holds(&store, &wanted), "not there");
        writer.apply_watcher_event(&Event::Apply(service(Some("7"), 80)));
        assert!(applied.holds(&store, &wanted));
        assert!(!applied.holds(&store, &service(None, 81)), "it must be another");
        writer.apply_watcher_event(&Event::Apply(service(Some("8"), 99)));
        assert!(!applied.holds(&store, &wanted), "somebody touched it");
        applied.note(&wanted, &service(Some("9"), 80));
        writer.apply_watcher_event(&Event::Delete(service(Some("9"), 80)));
        assert!(!applied.holds(&store, &wanted), "somebody deleted it");
    }
}
