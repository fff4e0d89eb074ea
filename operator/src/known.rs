//! The children that are there, so that what is as it must be is not applied again: a function is looked at whenever one of
//! its revisions changes, and nearly always nothing is to be done.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use wisp_api::WarmPool;

use crate::children;
use crate::watched::{Changes, watched};

/// Everything that the operator applies for a function has it.
pub(crate) const CHILDREN: &str = "app.kubernetes.io/managed-by=wisp";
/// Objects that are remembered: four for each of 25,000 functions. Beyond, all are applied once more.
const APPLIED_MAX: usize = 100_000;

/// Children of all functions.
pub struct Known {
    pub(crate) services: Store<Service>,
    pub(crate) slices: Store<EndpointSlice>,
    pub(crate) ingresses: Store<Ingress>,
    pub(crate) policies: Store<NetworkPolicy>,
    pub(crate) pools: Store<WarmPool>,
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

/// What was applied, and the version that it had then. An object of another version is another one, or was changed.
#[derive(Debug, Default)]
pub(crate) struct Applied(Mutex<HashMap<String, (u64, String)>>);

impl Known {
    /// Watches them all.
    #[must_use]
    pub fn watch(client: &Client) -> (Self, ChildChanges) {
        let ours = watcher::Config::default().labels(CHILDREN);
        let named = ours.clone().fields(&format!("metadata.name={}", children::POLICY));
        let (services, service_changes) = watched(Api::all(client.clone()), ours.clone());
        let (slices, slice_changes) = watched(Api::all(client.clone()), ours.clone());
        let (ingresses, ingress_changes) = watched(Api::all(client.clone()), ours);
        let (policies, policy_changes) = watched(Api::all(client.clone()), named);
        let (pools, pool_changes) = watched(Api::all(client.clone()), watcher::Config::default());
        let changes = ChildChanges {
            services: service_changes,
            slices: slice_changes,
            ingresses: ingress_changes,
            policies: policy_changes,
            pools: pool_changes,
        };
        (Self { services, slices, ingresses, policies, pools, applied: Applied::default() }, changes)
    }
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
