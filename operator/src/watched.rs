//! One kind of object as one watch shows it: a store, and what changed, told when the store has it.

use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::SetOnce;

use crate::grouped::Grouped;

/// Changed objects, for a controller.
pub(crate) type Changes<K> = BoxStream<'static, watcher::Result<K>>;

/// What a watch has shown.
pub(crate) struct Mirror<K: Resource<DynamicType = ()> + Clone + 'static> {
    store: Store<K>,
    // The store says so too, but wakes only the last of those who wait for it.
    is_complete: SetOnce<()>,
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> Mirror<K> {
    pub(crate) fn new(store: Store<K>) -> Self {
        Self { store, is_complete: SetOnce::new() }
    }

    /// It has shown all.
    pub(crate) fn finish(&self) {
        let _again = self.is_complete.set(());
    }

    /// Waits until it has shown all once.
    pub(crate) async fn complete(&self) {
        self.is_complete.wait().await;
    }

    /// All of it.
    pub(crate) fn store(&self) -> &Store<K> {
        &self.store
    }
}

/// Watches all that `config` selects. The second must be polled for the first to be filled.
pub(crate) fn watched<K>(objects: Api<K>, config: watcher::Config) -> (Arc<Mirror<K>>, Changes<K>)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let (store, events) = mirrored(objects, config);
    let mirror = Arc::new(Mirror::new(store.clone()));
    let seen = Arc::clone(&mirror);
    let events = events.inspect_ok(move |event| {
        if matches!(event, Event::InitDone) {
            seen.finish();
        }
    });
    (mirror, follow(store, events).boxed())
}

/// The same by groups.
pub(crate) fn grouped<K>(
    objects: Api<K>,
    config: watcher::Config,
    groups_of: fn(&K) -> Vec<String>,
) -> (Arc<Grouped<K>>, Changes<K>)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let (store, events) = mirrored(objects, config);
    let grouped = Arc::new(Grouped::new(Mirror::new(store.clone()), groups_of));
    let seen = Arc::clone(&grouped);
    let changes = follow(store, events.inspect_ok(move |event| seen.see(event))).boxed();
    (grouped, changes)
}

/// Events, told when the store has them.
fn mirrored<K>(
    objects: Api<K>,
    config: watcher::Config,
) -> (Store<K>, impl Stream<Item = watcher::Result<Event<K>>> + use<K>)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    (store, watcher(objects, config).default_backoff().modify(without_managers).reflect(writer))
}

/// Who set which field is of no use here, and takes more memory than the object.
pub(crate) fn without_managers<K: Resource>(object: &mut K) {
    *object.managed_fields_mut() = Vec::new();
}

/// A list is in the store when it is whole, and then all of it has changed, and what is no longer in it. `events` are told
/// when `store` has them.
fn follow<K>(
    store: Store<K>,
    events: impl Stream<Item = watcher::Result<Event<K>>>,
) -> impl Stream<Item = watcher::Result<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let mut before: Vec<Arc<K>> = Vec::new();
    events.flat_map(move |event| {
        stream::iter(match event {
            Ok(Event::Apply(object) | Event::Delete(object)) => vec![Ok(object)],
            Ok(Event::Init) => {
                before = store.state();
                Vec::new()
            }
            Ok(Event::InitApply(_)) => Vec::new(),
            Ok(Event::InitDone) => {
                let now = store.state();
                let there: HashSet<ObjectRef<K>> = now.iter().map(|object| ObjectRef::from_obj(&**object)).collect();
                let gone = std::mem::take(&mut before).into_iter();
                let gone = gone.filter(|object| !there.contains(&ObjectRef::from_obj(&**object)));
                gone.chain(now).map(|object| Ok((*object).clone())).collect()
            }
            Err(error) => vec![Err(error)],
        })
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;
    use serde_json::json;

    use super::*;

    fn service(name: &str) -> Service {
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "shop"}})).unwrap()
    }

    #[tokio::test]
    async fn a_change_is_told_when_the_store_has_it_and_what_went_unseen_is_told_too() {
        let (store, writer) = reflector::store();
        let events = [
            Event::Init,
            Event::InitApply(service("a")),
            Event::InitApply(service("b")),
            Event::InitDone,
            Event::Apply(service("c")),
            Event::Delete(service("a")),
            Event::Init,
            Event::InitApply(service("c")),
            Event::InitDone,
        ];
        let known = store.clone();
        let mut told = std::pin::pin!(follow(store, stream::iter(events).map(Ok).reflect(writer)));
        let mut all = Vec::new();
        while let Some(Ok(object)) = told.next().await {
            let has = known.get(&ObjectRef::from_obj(&object)).is_some();
            all.push(format!("{}{}", if has { "+" } else { "-" }, object.name_any()));
        }
        all[..2].sort();
        assert_eq!(all, ["+a", "+b", "+c", "-a", "-b", "+c"]);
    }
}
