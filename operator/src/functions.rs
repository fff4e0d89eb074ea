//! All functions, as one watch shows them: which namespaces have some, who has which host, and who must be looked at
//! when that changes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{Stream, StreamExt};
use kube::runtime::reflector::Store;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::mpsc;
use wisp_api::scaling::Start;
use wisp_api::{FunctionKey, WasmFunction};

use crate::hosts::{Hosts, Taken};
use crate::watched::without_managers;

/// News that wait for a controller to take them; the watch waits with them.
const NEWS_WAITING: usize = 1024;

/// All functions.
pub struct Functions {
    store: Store<WasmFunction>,
    domain: String,
    census: Mutex<Census>,
}

/// Who must be looked at.
pub struct News {
    /// Functions whose hosts may be theirs now, or no longer.
    pub functions: mpsc::Receiver<FunctionKey>,
    /// Namespaces that want a pool since, or no longer.
    pub pools: mpsc::Receiver<String>,
    /// Namespaces that have functions since, or no longer.
    pub policies: mpsc::Receiver<String>,
}

struct Tell {
    functions: mpsc::Sender<FunctionKey>,
    pools: mpsc::Sender<String>,
    policies: mpsc::Sender<String>,
}

#[derive(Debug, Default)]
struct Census {
    // By namespace and name, with where their instances come from.
    namespaces: HashMap<String, BTreeMap<String, Start>>,
    hosts: Hosts,
}

/// What a change of one function means for others.
#[derive(Debug, Default, PartialEq, Eq)]
struct Change {
    functions: BTreeSet<FunctionKey>,
    /// Namespaces in which the first function came or the last went.
    populated: BTreeSet<String>,
    /// The same of functions that want a pool.
    pooled: BTreeSet<String>,
}

/// Follows all functions until it is dropped: the second is to be run.
pub fn follow(client: &Client, domain: String) -> (Arc<Functions>, impl Future<Output = ()> + use<>, News) {
    let (store, writer) = reflector::store();
    let events = watcher(Api::<WasmFunction>::all(client.clone()), watcher::Config::default());
    let events = events.default_backoff().modify(without_managers).reflect(writer);
    let functions = Arc::new(Functions { store, domain, census: Mutex::default() });
    let (tell_functions, about_functions) = mpsc::channel(NEWS_WAITING);
    let (tell_pools, pools) = mpsc::channel(NEWS_WAITING);
    let (tell_policies, policies) = mpsc::channel(NEWS_WAITING);
    let tell = Tell { functions: tell_functions, pools: tell_pools, policies: tell_policies };
    let run = Arc::clone(&functions).run(events, tell);
    (functions, run, News { functions: about_functions, pools, policies })
}

impl Functions {
    /// Waits until all of them have been seen once.
    pub async fn complete(&self) {
        // Fails when the watch has ended, and the process with it.
        let _ended = self.store.wait_until_ready().await;
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<WasmFunction>> {
        self.store.state()
    }

    /// A function of this namespace, if it has any.
    #[must_use]
    pub fn any_in(&self, namespace: &str) -> Option<FunctionKey> {
        let census = self.census();
        let name = census.namespaces.get(namespace)?.keys().next()?;
        Some(FunctionKey::new(namespace, name))
    }

    /// A function of this namespace that starts from a pool, if there is any.
    #[must_use]
    pub fn any_with_pool(&self, namespace: &str) -> Option<FunctionKey> {
        self.census().with_pool(namespace).map(|name| FunctionKey::new(namespace, name))
    }

    /// A host that this function asks for and another has.
    #[must_use]
    pub fn taken(&self, key: &FunctionKey) -> Option<Taken> {
        self.census().hosts.taken(key)
    }

    async fn run(self: Arc<Self>, events: impl Stream<Item = watcher::Result<Event<WasmFunction>>>, tell: Tell) {
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            let change = match event {
                Ok(Event::Apply(function)) => self.census().apply(&function, &self.domain),
                Ok(Event::Delete(function)) => self.census().delete(&key_of(&function)),
                // What is listed is looked at when the list is whole.
                Ok(Event::Init | Event::InitApply(_)) => continue,
                Ok(Event::InitDone) => self.census().replace(&self.store.state(), &self.domain),
                Err(error) => {
                    tracing::warn!(%error, "the watch of functions broke; it begins anew");
                    continue;
                }
            };
            if tell.about(change).await.is_err() {
                return;
            }
        }
    }

    fn census(&self) -> MutexGuard<'_, Census> {
        self.census.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tell {
    /// Fails when nobody listens any more.
    async fn about(&self, change: Change) -> Result<(), ()> {
        for function in change.functions {
            self.functions.send(function).await.map_err(drop)?;
        }
        for namespace in change.pooled {
            self.pools.send(namespace).await.map_err(drop)?;
        }
        for namespace in change.populated {
            self.policies.send(namespace).await.map_err(drop)?;
        }
        Ok(())
    }
}

impl Census {
    fn apply(&mut self, function: &WasmFunction, domain: &str) -> Change {
        let key = key_of(function);
        if function.metadata.deletion_timestamp.is_some() {
            return self.delete(&key);
        }
        let before = self.of(&key.namespace);
        let names = self.namespaces.entry(key.namespace.clone()).or_default();
        names.insert(key.name.clone(), function.spec.scaling.start);
        let functions = self.hosts.apply(&key, function, domain);
        self.change(&key.namespace, before, functions)
    }

    fn delete(&mut self, key: &FunctionKey) -> Change {
        let before = self.of(&key.namespace);
        if let Some(names) = self.namespaces.get_mut(&key.namespace) {
            names.remove(&key.name);
            if names.is_empty() {
                self.namespaces.remove(&key.namespace);
            }
        }
        let functions = self.hosts.delete(key);
        self.change(&key.namespace, before, functions)
    }

    /// These are all that there are.
    fn replace(&mut self, listed: &[Arc<WasmFunction>], domain: &str) -> Change {
        let mut all = Change::default();
        let there: BTreeSet<FunctionKey> = listed.iter().map(|function| key_of(function)).collect();
        let known = self
            .namespaces
            .iter()
            .flat_map(|(namespace, names)| names.keys().map(move |name| FunctionKey::new(namespace, name)));
        let gone: Vec<FunctionKey> = known.filter(|key| !there.contains(key)).collect();
        gone.iter().for_each(|key| all.add(self.delete(key)));
        listed.iter().for_each(|function| all.add(self.apply(function, domain)));
        all
    }

    fn with_pool(&self, namespace: &str) -> Option<&str> {
        let mut names = self.namespaces.get(namespace)?.iter();
        names.find(|(_, start)| **start == Start::Warm).map(|(name, _)| name.as_str())
    }

    fn of(&self, namespace: &str) -> (bool, bool) {
        (self.namespaces.contains_key(namespace), self.with_pool(namespace).is_some())
    }

    fn change(&self, namespace: &str, before: (bool, bool), functions: BTreeSet<FunctionKey>) -> Change {
        let now = self.of(namespace);
        let when = |differs: bool| differs.then(|| namespace.to_owned()).into_iter().collect();
        Change { functions, populated: when(before.0 != now.0), pooled: when(before.1 != now.1) }
    }
}

impl Change {
    fn add(&mut self, other: Self) {
        self.functions.extend(other.functions);
        self.populated.extend(other.populated);
        self.pooled.extend(other.pooled);
    }
}

fn key_of(function: &WasmFunction) -> FunctionKey {
    FunctionKey::new(function.namespace().unwrap_or_default(), function.name_any())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn function(name: &str, spec: &Value) -> WasmFunction {
        let mut all = json!({"component": {"image": "r/x:1"}});
        all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        serde_json::from_value(json!({
            "apiVersion": "wisp.dev/v1alpha1", "kind": "WasmFunction",
            "metadata": {"name": name, "namespace": "shop", "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": all,
        }))
        .unwrap()
    }

    fn only(namespaces: &[&str]) -> BTreeSet<String> {
        namespaces.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_namespace_is_news_when_its_first_function_comes_and_its_last_goes() {
        let (mut census, fresh) = (Census::default(), json!({"scaling": {"start": "fresh"}}));
        let first = census.apply(&function("a", &fresh), "example.com");
        assert_eq!((first.populated, first.pooled), (only(&["shop"]), only(&[])));
        let second = census.apply(&function("b", &json!({})), "example.com");
        assert_eq!((second.populated, second.pooled), (only(&[]), only(&["shop"])));
        assert_eq!(census.apply(&function("b", &json!({})), "example.com"), Change::default());
        assert_eq!(census.delete(&FunctionKey::new("shop", "b")).pooled, only(&["shop"]));
        assert_eq!(census.delete(&FunctionKey::new("shop", "a")).populated, only(&["shop"]));
        assert_eq!(census.delete(&FunctionKey::new("shop", "a")), Change::default());
    }

    #[test]
    fn what_went_while_nobody_watched_is_gone() {
        let (mut census, claim) = (Census::default(), json!({"ingress": {"hosts": ["a.example"]}}));
        census.apply(&function("a", &claim), "example.com");
        census.apply(&function("b", &claim), "example.com");
        let b = FunctionKey::new("shop", "b");
        assert_eq!(census.hosts.taken(&b).unwrap().by.name, "a");
        let change = census.replace(&[Arc::new(function("b", &claim))], "example.com");
        assert!(change.functions.contains(&b) && change.populated.is_empty());
        assert_eq!(census.hosts.taken(&b), None);
    }

    #[test]
    fn one_that_is_being_deleted_has_nothing_any_more() {
        let mut census = Census::default();
        let mut leaving = function("a", &json!({}));
        census.apply(&leaving, "example.com");
        leaving.metadata.deletion_timestamp = leaving.metadata.creation_timestamp.clone();
        assert_eq!(census.apply(&leaving, "example.com").pooled, only(&["shop"]));
        assert_eq!(census.with_pool("shop"), None);
    }
}
