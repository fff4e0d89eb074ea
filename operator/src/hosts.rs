//! Which function has which host, by the rule of the activators: the oldest that claims it. Pure.

use std::collections::{BTreeSet, HashMap};

use kube::ResourceExt;
use wisp_api::route::{FunctionRoute, Place as Home};
use wisp_api::{FunctionKey, WasmFunction};

/// What names of Services end in nearly everywhere. A function's own are nobody else's; it matters only to whoever
/// writes such a name in `spec.ingress.hosts`.
const CLUSTER_DOMAIN: &str = "cluster.local";

/// A host, and the path prefix under it, without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Place {
    host: String,
    path: String,
}

/// Who claims what. Of two that claim a place, the first by age and name has it.
#[derive(Debug, Default)]
pub struct Hosts {
    claims: HashMap<FunctionKey, Claims>,
    claimants: HashMap<Place, BTreeSet<(u64, FunctionKey)>>,
}

#[derive(Debug, PartialEq, Eq)]
struct Claims {
    created_unix_seconds: u64,
    places: BTreeSet<Place>,
}

/// A host that a function asks for and does not get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The host.
    pub host: String,
    /// The path prefix under it.
    pub path: String,
    /// Who has it.
    pub by: FunctionKey,
}

impl Hosts {
    /// A function is as it is now. Returns who may have another place, or none, because of it.
    pub fn apply(&mut self, key: &FunctionKey, function: &WasmFunction, domain: &str) -> BTreeSet<FunctionKey> {
        let claims = Claims::of(key, function, domain);
        if self.claims.get(key) == Some(&claims) {
            return BTreeSet::new();
        }
        let mut touched = self.delete(key);
        for place in &claims.places {
            let claimant = (claims.created_unix_seconds, key.clone());
            self.claimants.entry(place.clone()).or_default().insert(claimant);
        }
        touched.extend(self.contested(&claims));
        self.claims.insert(key.clone(), claims);
        touched
    }

    /// A function is gone. Returns who may have another place because of it, itself included.
    pub fn delete(&mut self, key: &FunctionKey) -> BTreeSet<FunctionKey> {
        let Some(claims) = self.claims.remove(key) else { return BTreeSet::new() };
        let touched = self.contested(&claims);
        for place in &claims.places {
            if let Some(claimants) = self.claimants.get_mut(place) {
                claimants.remove(&(claims.created_unix_seconds, key.clone()));
                if claimants.is_empty() {
                    self.claimants.remove(place);
                }
            }
        }
        touched
    }

    /// The first place that a function claims and an older one has.
    #[must_use]
    pub fn taken(&self, key: &FunctionKey) -> Option<Taken> {
        self.claims.get(key)?.places.iter().find_map(|place| {
            let (_, first) = self.claimants.get(place)?.first()?;
            let path = if place.path.is_empty() { "/".to_owned() } else { place.path.clone() };
            (first != key).then(|| Taken { host: place.host.clone(), path, by: first.clone() })
        })
    }

    /// All who claim one of these places, where more than one does.
    fn contested(&self, claims: &Claims) -> BTreeSet<FunctionKey> {
        let several = claims.places.iter().filter_map(|place| self.claimants.get(place)).filter(|them| them.len() > 1);
        several.flatten().map(|(_, key)| key.clone()).collect()
    }
}

impl Claims {
    fn of(key: &FunctionKey, function: &WasmFunction, domain: &str) -> Self {
        let created = function.creation_timestamp().map_or(0, |time| time.0.as_second());
        let created_unix_seconds = u64::try_from(created).unwrap_or(0);
        let home = Home { domain, cluster_domain: Some(CLUSTER_DOMAIN), created_unix_seconds };
        let traffic = function.status.as_ref().map(|status| status.traffic.as_slice()).unwrap_or_default();
        let route = FunctionRoute::of(key, &function.spec, traffic, home);
        let place = |claim: wisp_api::route::HostClaim| Place {
            host: claim.host,
            path: claim.path.trim_end_matches('/').to_owned(),
        };
        Self { created_unix_seconds, places: route.claims.into_iter().map(place).collect() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(name: &str) -> FunctionKey {
        FunctionKey::new("shop", name)
    }

    fn apply(hosts: &mut Hosts, name: &str, minute: u8, ingress: &serde_json::Value) -> Vec<String> {
        let function = serde_json::from_value(json!({
            "apiVersion": "wisp.dev/v1alpha1", "kind": "WasmFunction",
            "metadata": {"name": name, "namespace": "shop", "creationTimestamp": format!("2026-01-01T00:{minute:02}:00Z")},
            "spec": {"component": {"image": "r/x:1"}, "ingress": ingress},
        }));
        names(hosts.apply(&key(name), &function.unwrap(), "example.com"))
    }

    fn names(keys: BTreeSet<FunctionKey>) -> Vec<String> {
        keys.into_iter().map(|key| key.name).collect()
    }

    fn taken_by(hosts: &Hosts, name: &str) -> Option<String> {
        hosts.taken(&key(name)).map(|taken| taken.by.name)
    }

    #[test]
    fn the_oldest_has_a_host_and_the_next_gets_it_when_that_one_goes() {
        let (mut hosts, ingress) = (Hosts::default(), json!({"hosts": ["a.example"]}));
        assert!(apply(&mut hosts, "young", 2, &ingress).is_empty());
        assert_eq!(apply(&mut hosts, "old", 1, &ingress), ["old", "young"]);
        assert_eq!((taken_by(&hosts, "old"), taken_by(&hosts, "young").as_deref()), (None, Some("old")));
        assert_eq!(hosts.taken(&key("young")).unwrap().host, "a.example");
        assert!(apply(&mut hosts, "old", 1, &ingress).is_empty(), "nothing changed");
        // A change is as good as a deletion.
        assert_eq!(apply(&mut hosts, "old", 1, &json!({})), ["old", "young"]);
        assert_eq!(taken_by(&hosts, "young"), None);
        apply(&mut hosts, "old", 1, &ingress);
        assert_eq!(names(hosts.delete(&key("old"))), ["old", "young"]);
        assert_eq!(taken_by(&hosts, "young"), None);
        assert!(names(hosts.delete(&key("young"))).is_empty());
        assert!(hosts.claimants.is_empty() && hosts.claims.is_empty());
    }

    #[test]
    fn other_paths_are_other_places_and_a_slash_at_the_end_is_none() {
        let mut hosts = Hosts::default();
        apply(&mut hosts, "a", 1, &json!({"hosts": ["x.example"], "path": "/a"}));
        apply(&mut hosts, "b", 2, &json!({"hosts": ["x.example"], "path": "/b"}));
        assert_eq!(taken_by(&hosts, "b"), None);
        apply(&mut hosts, "b", 2, &json!({"hosts": ["x.example"], "path": "/a/"}));
        assert_eq!(hosts.taken(&key("b")).unwrap().path, "/a");
    }

    #[test]
    fn a_functions_own_host_can_be_taken_too() {
        let mut hosts = Hosts::default();
        apply(&mut hosts, "thief", 1, &json!({"hosts": ["cart.shop.example.com"]}));
        apply(&mut hosts, "cart", 2, &json!({}));
        assert_eq!(taken_by(&hosts, "cart").as_deref(), Some("thief"));
    }
}
