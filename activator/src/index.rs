//! Functions by host, and revisions by name: what the data path looks up and what others apply.
//!
//! Readers lock one shard of a map for the length of a look-up. Writers take turns.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use wisp_api::key::FunctionKey;
use wisp_api::route::{FunctionRoute, RequestLimits};
use wisp_api::wire;

use crate::admission::Offer;
use crate::endpoint::Endpoint;
use crate::hosts::{Function, HostClaims};
use crate::revision::{Dismissal, Revision, Signal};
use crate::route;
use crate::shards::Shards;
use crate::snapshot::{Conflict, FunctionSnapshot, RevisionSnapshot, Snapshot};

/// Functions, their hosts and their revisions.
#[derive(Debug)]
pub struct Index {
    /// By host.
    hosts: Shards<HostClaims>,
    /// By what stands behind `*.`.
    wildcards: Shards<HostClaims>,
    /// What only writers need; holding it is the right to write.
    writer: Mutex<Writer>,
    /// Each has connections of its own to each endpoint.
    workers: usize,
    signals: mpsc::UnboundedSender<Signal>,
}

#[derive(Debug, Default)]
struct Writer {
    functions: HashMap<FunctionKey, Arc<Function>>,
    revisions: HashMap<Box<str>, Arc<Revision>>,
}

/// Where a request goes.
#[derive(Debug)]
pub(crate) struct Hit {
    /// The revision.
    pub revision: Arc<Revision>,
    /// What is enforced for it.
    pub limits: RequestLimits,
}

impl Index {
    pub(crate) fn new(signals: mpsc::UnboundedSender<Signal>, workers: usize) -> Self {
        Self { hosts: Shards::default(), wildcards: Shards::default(), writer: Mutex::default(), workers, signals }
    }

    /// Adds a function, or replaces what was applied for it before. Requests on their way are not touched.
    pub fn apply(&self, route: FunctionRoute) {
        self.apply_as(&mut self.write(), route);
    }

    /// Removes a function. Requests that wait for it alone are answered 404; those at instances go on.
    pub fn delete(&self, key: &FunctionKey) {
        self.delete_as(&mut self.write(), key);
    }

    /// Makes these all the functions that there are.
    pub fn reset(&self, routes: Vec<FunctionRoute>) {
        let mut writer = self.write();
        let kept: HashSet<FunctionKey> = routes.iter().map(|route| route.function.clone()).collect();
        let gone: Vec<FunctionKey> = writer.functions.keys().filter(|key| !kept.contains(key)).cloned().collect();
        for key in gone {
            self.delete_as(&mut writer, &key);
        }
        for route in routes {
            self.apply_as(&mut writer, route);
        }
    }

    /// Claims that lost to an older one.
    #[must_use]
    pub fn conflicts(&self) -> Vec<Conflict> {
        let mut conflicts: Vec<Conflict> = Vec::new();
        for map in [&self.hosts, &self.wildcards] {
            map.for_each(|claims| conflicts.extend(claims.conflicts()));
        }
        conflicts.sort_by(|a, b| (&a.host, &a.path, &a.function).cmp(&(&b.host, &b.path, &b.function)));
        conflicts
    }

    /// The demand of one revision, `<namespace>/<name>`, and its endpoints.
    #[must_use]
    pub fn revision(&self, name: &str) -> Option<RevisionSnapshot> {
        self.write().revisions.get(name).map(|revision| revision.snapshot())
    }

    /// The demand of all revisions, and their endpoints, in the order of their names.
    #[must_use]
    pub fn revisions(&self) -> Vec<RevisionSnapshot> {
        let mut revisions: Vec<_> = self.write().revisions.values().map(|revision| revision.snapshot()).collect();
        revisions.sort_by(|a, b| a.revision.cmp(&b.revision));
        revisions
    }

    /// All that is known.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut functions: Vec<_> = self.write().functions.values().map(|function| describe(&function.route)).collect();
        functions.sort_by(|a, b| a.function.cmp(&b.function));
        Snapshot { functions, revisions: self.revisions(), conflicts: self.conflicts() }
    }

    /// Where a request for this host (in normal form) and path goes; `random` decides between revisions.
    pub(crate) fn find(&self, host: &str, path: &str, random: u32) -> Option<Hit> {
        let exact = self.hosts.read(host, |claims| hit(claims, path, random)).flatten();
        exact.or_else(|| self.wildcards.read(route::behind_first_label(host)?, |claims| hit(claims, path, random))?)
    }

    /// Gives revisions the endpoints that the autoscaler names. Returns those withdrawn to which a request is about to be
    /// sent: the update is applied when that has happened.
    pub(crate) fn endpoints(&self, update: &wire::EndpointsUpdate) -> Vec<Arc<Endpoint>> {
        let mut unsent = Vec::new();
        let mut writer = self.write();
        let mut left: BTreeSet<Box<str>> = BTreeSet::new();
        if update.full {
            left = writer.revisions.keys().cloned().collect();
        }
        for named in &update.revisions {
            left.remove(named.revision.as_str());
            let revision = self.revision_of(&mut writer, &named.revision);
            let offers = named.endpoints.iter().filter_map(|endpoint| self.offer(&revision, endpoint)).collect();
            unsent.extend(revision.offer(offers));
            forget_if_unused(&mut writer, &revision);
        }
        for name in left {
            if let Some(revision) = writer.revisions.get(&name).filter(|revision| !revision.has_no_endpoints()).cloned()
            {
                unsent.extend(revision.offer(Vec::new()));
                forget_if_unused(&mut writer, &revision);
            }
        }
        unsent
    }

    /// Answers those that wait for a revision which cannot start.
    pub(crate) fn start_failed(&self, failed: wire::StartFailed) {
        if let Some(revision) = self.write().revisions.get(failed.revision.as_str()).cloned() {
            revision.dismiss(&Dismissal::StartFailed { reason: failed.reason, message: failed.message });
        }
    }

    /// All revisions, for a full report.
    pub(crate) fn all_revisions(&self) -> Vec<Arc<Revision>> {
        self.write().revisions.values().cloned().collect()
    }

    /// Lets go of a revision at rest that nobody routes to.
    pub(crate) fn forget_if_unused(&self, revision: &Arc<Revision>) {
        forget_if_unused(&mut self.write(), revision);
    }

    fn write(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply_as(&self, writer: &mut Writer, mut route: FunctionRoute) {
        for claim in &mut route.claims {
            claim.host.make_ascii_lowercase();
        }
        let names = route.targets.iter().map(|target| target.revision.to_string());
        let revisions: Box<[Arc<Revision>]> = names.map(|name| self.revision_of(writer, &name)).collect();
        for revision in &revisions {
            revision.routes.fetch_add(1, Ordering::Relaxed);
        }
        let function = Arc::new(Function { route, revisions });
        let key = function.route.function.clone();
        let old = writer.functions.insert(key.clone(), Arc::clone(&function));
        self.claim(&key, old.as_deref(), Some(&function));
        // Those that wait for a revision which lost its traffic still get it.
        for revision in old.iter().flat_map(|old| &old.revisions) {
            revision.routes.fetch_sub(1, Ordering::Relaxed);
            forget_if_unused(writer, revision);
        }
    }

    fn delete_as(&self, writer: &mut Writer, key: &FunctionKey) {
        let Some(old) = writer.functions.remove(key) else { return };
        self.claim(key, Some(&old), None);
        for revision in &old.revisions {
            if revision.routes.fetch_sub(1, Ordering::Relaxed) == 1 {
                revision.dismiss(&Dismissal::Deleted);
            }
            forget_if_unused(writer, revision);
        }
    }

    /// Publishes anew each host that the function claimed or claims.
    fn claim(&self, key: &FunctionKey, old: Option<&Function>, new: Option<&Arc<Function>>) {
        let of = |function: &Function| function.route.claims.iter().map(|claim| claim.host.clone()).collect::<Vec<_>>();
        let mut hosts = old.map(of).unwrap_or_default();
        hosts.extend(new.map(|function| of(function)).unwrap_or_default());
        hosts.sort_unstable();
        hosts.dedup();
        for host in hosts {
            let (map, name) = match host.strip_prefix("*.") {
                Some(rest) => (&self.wildcards, rest),
                None => (&self.hosts, host.as_str()),
            };
            let claims = map.read(name, |claims| claims.replaced(key, &host, new));
            let claims = claims.unwrap_or_else(|| HostClaims::default().replaced(key, &host, new));
            map.set(name, Some(claims).filter(|claims| !claims.is_empty()));
        }
    }

    fn offer(&self, revision: &Revision, endpoint: &wire::Endpoint) -> Option<Offer<Arc<Endpoint>>> {
        let start = Duration::from_micros(endpoint.start_micros);
        let new = || Endpoint::new(&endpoint.address, start, self.workers).map(Arc::new);
        let known = revision.known(&endpoint.instance, &endpoint.address).map(Ok);
        match known.unwrap_or_else(new) {
            Ok(made) => Some(Offer { instance: endpoint.instance.clone(), slots: endpoint.slots, endpoint: made }),
            Err(error) => {
                tracing::warn!(revision = %revision.name, instance = endpoint.instance, %error, "endpoint left out");
                None
            }
        }
    }

    fn revision_of(&self, writer: &mut Writer, name: &str) -> Arc<Revision> {
        if let Some(known) = writer.revisions.get(name) {
            return Arc::clone(known);
        }
        let revision = Revision::new(name, self.signals.clone());
        writer.revisions.insert(name.into(), Arc::clone(&revision));
        revision
    }
}

fn forget_if_unused(writer: &mut Writer, revision: &Arc<Revision>) {
    if revision.is_unused() {
        writer.revisions.remove(&revision.name);
    }
}

fn hit(claims: &HostClaims, path: &str, random: u32) -> Option<Hit> {
    let claim = claims.find(path)?;
    let targets = &claim.function.route.targets;
    let index = match claim.tag() {
        Some(tag) => targets.iter().position(|target| target.tag.as_deref() == Some(tag))?,
        None => route::by_percent(targets.iter().map(|target| target.percent), random)?,
    };
    Some(Hit { revision: Arc::clone(&claim.function.revisions[index]), limits: targets[index].limits })
}

fn describe(route: &FunctionRoute) -> FunctionSnapshot {
    FunctionSnapshot {
        function: route.function.clone(),
        claims: route.claims.iter().map(|claim| format!("{}{}", claim.host, claim.path)).collect(),
        targets: route.targets.iter().map(|target| (target.revision.to_string(), target.percent)).collect(),
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
