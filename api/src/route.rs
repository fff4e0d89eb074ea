//! What an activator needs to know of a function: its hosts, its traffic, and the request limits of its revisions.
//! Made from a `WasmFunction` by whoever watches them; an activator only applies it.
//!
//! [`traffic`] says which revisions get a function's requests, [`FunctionRoute::of`] by which hosts they come.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::WasmFunctionSpec;
use crate::function::Limits;
use crate::ingress::Visibility;
use crate::key::{FunctionKey, RevisionKey};
use crate::status::TrafficStatus;

/// Requests that may wait for one revision. At 64 KiB of head each they hold 64 MiB at the very most; a burst of more
/// is better refused at once than late.
const QUEUE_REQUESTS_MAX: u32 = 1024;
/// Bytes that waiting requests may hold, per revision.
const QUEUE_BYTES_MAX: u64 = 64 << 20;

/// One function, as an activator sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FunctionRoute {
    /// The function.
    pub function: FunctionKey,
    /// When the function was created, in seconds since the Unix epoch: a host belongs to the oldest that claims it.
    pub created_unix_seconds: u64,
    /// Hosts and path prefixes that lead to this function.
    pub claims: Vec<HostClaim>,
    /// Where its requests go. Percentages sum to 100 over the targets; a target may have 0 and only a tag.
    pub targets: Vec<RouteTarget>,
}

/// A host, and the path prefix under it, that a function answers to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HostClaim {
    /// Lower case, without port: `hello.default.localhost`, or `*.example.com` for every name of one label more.
    pub host: String,
    /// A prefix of whole path segments; `/` takes every path.
    pub path: String,
    /// Set when this claim leads to one tagged target instead of the traffic split.
    pub tag: Option<String>,
}

/// A revision's share of its function's traffic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteTarget {
    /// The revision.
    pub revision: RevisionKey,
    /// Share of the untagged traffic, 0 to 100.
    pub percent: u8,
    /// The tag under which this revision has a host of its own.
    pub tag: Option<String>,
    /// What the activator enforces for this revision.
    pub limits: RequestLimits,
}

/// Limits that an activator enforces, per request and per queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestLimits {
    /// The whole request, waiting included.
    pub timeout: Duration,
    /// Largest request body.
    pub request_body_bytes: u64,
    /// Requests that may wait for a slot at once.
    pub queue_requests: u32,
    /// Bytes that waiting requests may hold in memory together.
    pub queue_bytes: u64,
}

/// Where a function lives among others.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// What public hosts end in.
    pub domain: &'a str,
    /// What names of Services end in, such as `cluster.local`; none where there is no cluster.
    pub cluster_domain: Option<&'a str>,
    /// When the function was first applied: of two that claim a host, the older has it.
    pub created_unix_seconds: u64,
}

impl RequestLimits {
    /// What is enforced before an instance has a request of a revision with these limits.
    #[must_use]
    pub fn of(limits: &Limits) -> Self {
        Self {
            timeout: limits.timeout.into(),
            request_body_bytes: limits.request_body.0,
            queue_requests: QUEUE_REQUESTS_MAX,
            queue_bytes: QUEUE_BYTES_MAX,
        }
    }
}

impl FunctionRoute {
    /// A function that lives at `place` and has this traffic. All revisions get its present limits; whoever knows
    /// better sets those of each target.
    #[must_use]
    pub fn of(key: &FunctionKey, spec: &WasmFunctionSpec, traffic: &[TrafficStatus], place: Place<'_>) -> Self {
        let targets = traffic.iter().map(|target| RouteTarget {
            revision: RevisionKey::new(&key.namespace, &target.revision),
            percent: target.percent,
            tag: target.tag.clone(),
            limits: RequestLimits::of(&spec.limits),
        });
        Self {
            function: key.clone(),
            created_unix_seconds: place.created_unix_seconds,
            claims: claims(key, spec, traffic, place),
            targets: targets.collect(),
        }
    }
}

fn claims(key: &FunctionKey, spec: &WasmFunctionSpec, traffic: &[TrafficStatus], place: Place<'_>) -> Vec<HostClaim> {
    let path = &spec.ingress.path;
    let claim = |host: String, tag: Option<&String>| HostClaim { host, path: path.clone(), tag: tag.cloned() };
    let mut claims = Vec::new();
    // Without a cluster there is no inside from which a function could be reached otherwise.
    if spec.ingress.visibility == Visibility::Public || place.cluster_domain.is_none() {
        let host = host(key, place.domain);
        claims.push(claim(host.clone(), None));
        claims.extend(spec.ingress.hosts.iter().map(|host| claim(host.clone(), None)));
        let tags = traffic.iter().filter_map(|target| target.tag.as_ref());
        claims.extend(tags.map(|tag| claim(format!("{tag}-{host}"), Some(tag))));
    }
    if let Some(cluster_domain) = place.cluster_domain {
        let FunctionKey { namespace, name } = key;
        // Short names are what clients in other namespaces write; that of its own namespace says too little.
        let names = [
            format!("{name}.{namespace}.svc.{cluster_domain}"),
            format!("{name}.{namespace}.svc"),
            format!("{name}.{namespace}"),
        ];
        // A Service has all paths.
        claims.extend(names.map(|host| HostClaim { host, path: "/".to_owned(), tag: None }));
    }
    claims
}

/// The public host of a function.
#[must_use]
pub fn host(key: &FunctionKey, domain: &str) -> String {
    format!("{}.{}.{domain}", key.name, key.namespace)
}

/// Where a function's traffic goes, by revision. Percentages of targets that name the latest go to `latest`.
///
/// # Errors
/// The first revision that is named and is not in `known`.
pub fn traffic(spec: &WasmFunctionSpec, latest: &RevisionKey, known: &[String]) -> Result<Vec<TrafficStatus>, String> {
    if spec.traffic.is_empty() {
        return Ok(vec![TrafficStatus { revision: latest.name.clone(), percent: 100, tag: None, url: None }]);
    }
    let mut targets = Vec::new();
    for target in &spec.traffic {
        let revision = target.revision.clone().unwrap_or_else(|| latest.name.clone());
        if !known.contains(&revision) {
            return Err(revision);
        }
        targets.push(TrafficStatus { revision, percent: target.percent, tag: target.tag.clone(), url: None });
    }
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(ingress: &str) -> WasmFunctionSpec {
        let text = format!(r#"{{"component": {{"image": "r/hello:1"}}, "ingress": {ingress}}}"#);
        serde_json::from_str(&text).unwrap()
    }

    fn hosts(ingress: &str, cluster_domain: Option<&str>) -> Vec<String> {
        let tagged =
            TrafficStatus { revision: "cart-00001".to_owned(), percent: 100, tag: Some("new".to_owned()), url: None };
        let place = Place { domain: "example.com", cluster_domain, created_unix_seconds: 0 };
        let found = claims(&FunctionKey::new("shop", "cart"), &spec(ingress), &[tagged], place);
        found.into_iter().map(|claim| format!("{}{}", claim.host, claim.path)).collect()
    }

    #[test]
    fn a_public_function_has_its_host_those_it_asks_for_and_one_for_each_tag() {
        let found = hosts(r#"{"hosts": ["cart.example"], "path": "/cart"}"#, None);
        let wanted = ["cart.shop.example.com/cart", "cart.example/cart", "new-cart.shop.example.com/cart"];
        assert_eq!(found, wanted);
    }

    #[test]
    fn in_a_cluster_it_has_the_names_of_its_service_too() {
        let found = hosts("{}", Some("cluster.local"));
        assert!(found.contains(&"cart.shop.svc.cluster.local/".to_owned()), "{found:?}");
        assert!(found.contains(&"cart.shop/".to_owned()), "{found:?}");
        assert_eq!(found.len(), 5);
    }

    #[test]
    fn a_function_of_the_cluster_alone_has_no_public_host() {
        let found = hosts(r#"{"visibility": "cluster", "hosts": ["cart.example"]}"#, Some("cluster.local"));
        assert_eq!(found, ["cart.shop.svc.cluster.local/", "cart.shop.svc/", "cart.shop/"]);
    }
}
