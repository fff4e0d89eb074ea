//! Whether a child is as it must be, so that it is not applied again: a function is looked at whenever one of its revisions
//! changes, all are when an operator begins, and nearly always nothing is to be done.
//!
//! An applied object carries a mark of what was applied. Where that is what would be applied now, and the object still has all
//! of it, applying it would change nothing; what others have added is theirs. A list is taken as a whole: to one that is longer it
//! is applied at each look, as most lists here must have nothing else.

use std::hash::{DefaultHasher, Hash, Hasher};

use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde_json::Value;
use wisp_api::names::ANNOTATION_APPLIED;

/// `object` with its mark.
pub(crate) fn marked<K: Resource + Serialize>(mut object: K) -> K {
    let mut hasher = DefaultHasher::new();
    json(&object).to_string().hash(&mut hasher);
    object.annotations_mut().insert(ANNOTATION_APPLIED.to_owned(), format!("{:016x}", hasher.finish()));
    object
}

/// Whether the store has all of `wanted`, which is marked.
pub(crate) fn holds<K>(store: &Store<K>, wanted: &K) -> bool
where
    K: Resource<DynamicType = ()> + Serialize + Clone + 'static,
{
    store.get(&ObjectRef::from_obj(wanted)).is_some_and(|found| is_as(&*found, wanted))
}

/// Whether `found` has all of `wanted`, which is marked.
pub(crate) fn is_as<K: Serialize>(found: &K, wanted: &K) -> bool {
    has(&json(found), &json(wanted))
}

fn has(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| found.get(key).is_some_and(|found| has(found, wanted)))
        }
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len() && found.iter().zip(wanted).all(|(found, wanted)| has(found, wanted))
        }
        (found, wanted) => found == wanted,
    }
}

fn json(object: &impl Serialize) -> Value {
    serde_json::to_value(object).expect("objects of Kubernetes are JSON")
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;
    use kube::runtime::reflector;
    use kube::runtime::watcher::Event;
    use serde_json::json;

    use super::*;

    fn service(spec: &Value) -> Service {
        serde_json::from_value(json!({"metadata": {"name": "cart", "namespace": "shop"}, "spec": spec})).unwrap()
    }

    #[test]
    fn an_object_is_applied_again_when_it_must_be_another_or_somebody_touched_it() {
        let (store, mut writer) = reflector::store();
        let ports = json!({"ports": [{"name": "http", "port": 80}]});
        let wanted = marked(service(&ports));
        assert!(!holds(&store, &wanted), "not there");
        let mut found = wanted.clone();
        writer.apply_watcher_event(&Event::Apply(found.clone()));
        assert!(holds(&store, &wanted));
        // The API server fills in, and others have their own.
        found.spec.as_mut().unwrap().ports.as_mut().unwrap()[0].protocol = Some("TCP".to_owned());
        found.labels_mut().insert("team".to_owned(), "shop".to_owned());
        writer.apply_watcher_event(&Event::Apply(found.clone()));
        assert!(holds(&store, &wanted));
        assert!(
            !holds(&store, &marked(service(&json!({"ports": [{"name": "http", "port": 81}]})))),
            "it must be another"
        );
        assert!(!holds(&store, &marked(service(&json!({})))), "it must be less");
        found.spec.as_mut().unwrap().ports.as_mut().unwrap()[0].port = 99;
        writer.apply_watcher_event(&Event::Apply(found.clone()));
        assert!(!holds(&store, &wanted), "somebody touched it");
        writer.apply_watcher_event(&Event::Delete(found));
        assert!(!holds(&store, &wanted), "somebody deleted it");
    }
}
