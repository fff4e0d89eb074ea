//! What an activator needs to know of a function: its hosts, its traffic, and the request limits of its revisions.
//! Made from a `WasmFunction` by whoever watches them; an activator only applies it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::key::{FunctionKey, RevisionKey};

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
