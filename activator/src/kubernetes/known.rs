//! What has been seen of functions and revisions, and what follows for the routes. Pure.

use std::collections::{HashMap, HashSet};

use kube::ResourceExt;
use kube::runtime::watcher::Event;
use wisp_api::route::{FunctionRoute, Place, RequestLimits};
use wisp_api::{FunctionKey, RevisionKey, WasmFunction, WasmRevision};

use super::Domains;

/// Functions and revisions as they were last seen. Of each only what routes need.
pub(crate) struct Known {
    domains: Domains,
    functions: Seen<FunctionKey, FunctionRoute>,
    revisions: Seen<RevisionKey, Limits>,
}

/// What a route takes from a revision.
struct Limits {
    function: FunctionKey,
    limits: RequestLimits,
}

/// What changed for the routes.
#[derive(Debug, PartialEq)]
pub(crate) enum Change {
    Apply(Box<FunctionRoute>),
    Delete(FunctionKey),
}

/// Objects of one kind. A list that is on its way replaces the last one when it is whole.
struct Seen<K, V> {
    objects: HashMap<K, V>,
    listed: Option<HashSet<K>>,
    complete: bool,
}

impl Known {
    pub(crate) fn new(domains: Domains) -> Self {
        Self { domains, functions: Seen::default(), revisions: Seen::default() }
    }

    /// Whether all objects have been seen once.
    pub(crate) fn is_complete(&self) -> bool {
        self.functions.complete && self.revisions.complete
    }

    /// All routes.
    pub(crate) fn routes(&self) -> Vec<FunctionRoute> {
        self.functions.objects.keys().filter_map(|key| self.route(key)).collect()
    }

    /// A function was seen, or is gone.
    pub(crate) fn function(&mut self, event: Event<WasmFunction>) -> Vec<Change> {
        let domains = self.domains.clone();
        let touched = self.functions.take(event, |object| (key_of(object), route_of(object, &domains)));
        touched.into_iter().map(|key| self.change(key)).collect()
    }

    /// A revision was seen, or is gone.
    pub(crate) fn revision(&mut self, event: Event<WasmRevision>) -> Vec<Change> {
        let touched = self.revisions.take(event, |object| {
            let namespace = object.namespace().unwrap_or_default();
            let limits = RequestLimits::of(&object.spec.template.limits);
            let function = FunctionKey::new(&namespace, &object.spec.function);
            (RevisionKey::new(namespace, object.name_any()), Some(Limits { function, limits }))
        });
        // Those that are gone get no traffic any more, or their function says otherwise soon.
        let functions = touched.iter().filter_map(|key| Some(self.revisions.objects.get(key)?.function.clone()));
        let functions: HashSet<FunctionKey> = functions.collect();
        functions
            .into_iter()
            .filter(|key| self.functions.objects.contains_key(key))
            .map(|key| self.change(key))
            .collect()
    }

    fn change(&self, key: FunctionKey) -> Change {
        self.route(&key).map_or(Change::Delete(key), |route| Change::Apply(Box::new(route)))
    }

    fn route(&self, key: &FunctionKey) -> Option<FunctionRoute> {
        let mut route = self.functions.objects.get(key)?.clone();
        for target in &mut route.targets {
            if let Some(known) = self.revisions.objects.get(&target.revision) {
                target.limits = known.limits;
            }
        }
        Some(route)
    }
}

fn key_of(object: &WasmFunction) -> FunctionKey {
    FunctionKey::new(object.namespace().unwrap_or_default(), object.name_any())
}

/// None for a function that has no traffic yet, or is about to go.
fn route_of(object: &WasmFunction, domains: &Domains) -> Option<FunctionRoute> {
    let traffic = &object.status.as_ref()?.traffic;
    if traffic.is_empty() || object.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let created = object.creation_timestamp().map_or(0, |time| time.0.as_second());
    let place = Place {
        domain: &domains.public,
        cluster_domain: Some(&domains.cluster),
        created_unix_seconds: u64::try_from(created).unwrap_or(0),
    };
    Some(FunctionRoute::of(&key_of(object), &object.spec, traffic, place))
}

impl<K: Clone + Eq + std::hash::Hash, V> Seen<K, V> {
    /// Notes an event, and returns the keys that it touches.
    fn take<O>(&mut self, event: Event<O>, read: impl Fn(&O) -> (K, Option<V>)) -> Vec<K> {
        match event {
            Event::Init => {
                self.listed = Some(HashSet::new());
                Vec::new()
            }
            Event::InitApply(object) => {
                let (key, value) = read(&object);
                self.listed.get_or_insert_default().insert(key.clone());
                self.set(key, value)
            }
            Event::InitDone => {
                self.complete = true;
                let listed = self.listed.take().unwrap_or_default();
                let gone: Vec<K> = self.objects.keys().filter(|key| !listed.contains(key)).cloned().collect();
                for key in &gone {
                    self.objects.remove(key);
                }
                gone
            }
            Event::Apply(object) => {
                let (key, value) = read(&object);
                self.set(key, value)
            }
            Event::Delete(object) => self.set(read(&object).0, None),
        }
    }

    fn set(&mut self, key: K, value: Option<V>) -> Vec<K> {
        match value {
            Some(value) => self.objects.insert(key.clone(), value),
            None => self.objects.remove(&key),
        };
        vec![key]
    }
}

impl<K, V> Default for Seen<K, V> {
    fn default() -> Self {
        Self { objects: HashMap::new(), listed: None, complete: false }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn known() -> Known {
        Known::new(Domains { public: "example.com".to_owned(), cluster: "cluster.local".to_owned() })
    }

    fn function(name: &str, revision: &str) -> WasmFunction {
        serde_json::from_value(json!({
            "apiVersion": "wisp.dev/v1alpha1", "kind": "WasmFunction",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"component": {"image": "r/x:1"}, "limits": {"timeout": "1s"}},
            "status": {"traffic": [{"revision": revision, "percent": 100}]},
        }))
        .unwrap()
    }

    fn revision(name: &str, timeout: &str) -> WasmRevision {
        serde_json::from_value(json!({
            "apiVersion": "wisp.dev/v1alpha1", "kind": "WasmRevision",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"function": "cart", "digest": "sha256:0", "template":
                {"component": {"image": "r/x:1"}, "limits": {"timeout": timeout}}},
        }))
        .unwrap()
    }

    fn timeouts(changes: &[Change]) -> Vec<u64> {
        let routes = changes.iter().filter_map(|change| match change {
            Change::Apply(route) => Some(route.targets[0].limits.timeout.as_secs()),
            Change::Delete(_) => None,
        });
        routes.collect()
    }

    #[test]
    fn a_route_has_the_limits_of_its_revision_whichever_is_seen_first() {
        let mut first = known();
        first.revision(Event::Apply(revision("cart-00001", "7s")));
        assert_eq!(timeouts(&first.function(Event::Apply(function("cart", "cart-00001")))), [7]);
        let mut second = known();
        assert_eq!(timeouts(&second.function(Event::Apply(function("cart", "cart-00001")))), [1]);
        assert_eq!(timeouts(&second.revision(Event::Apply(revision("cart-00001", "7s")))), [7]);
    }

    #[test]
    fn a_function_without_traffic_or_about_to_go_has_no_route() {
        let mut known = known();
        let gone = [Change::Delete(FunctionKey::new("shop", "cart"))];
        let mut without = function("cart", "cart-00001");
        without.status = None;
        assert_eq!(known.function(Event::Apply(without)), gone);
        let mut going = function("cart", "cart-00001");
        going.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
        assert_eq!(known.function(Event::Apply(going)), gone);
    }

    #[test]
    fn a_new_list_takes_away_what_is_not_on_it() {
        let mut known = known();
        known.function(Event::Init);
        known.function(Event::InitApply(function("cart", "cart-00001")));
        known.function(Event::InitApply(function("till", "till-00001")));
        assert!(!known.is_complete());
        known.function(Event::InitDone);
        known.revision(Event::InitDone);
        assert!(known.is_complete());
        known.function(Event::Init);
        known.function(Event::InitApply(function("till", "till-00001")));
        assert_eq!(known.routes().len(), 2, "what was there stays until the list is whole");
        assert_eq!(known.function(Event::InitDone), [Change::Delete(FunctionKey::new("shop", "cart"))]);
        assert_eq!(known.routes().len(), 1);
    }
}
