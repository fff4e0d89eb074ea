//! Which compiled code warm instances hold ready: that of the revisions that were applied or demanded last, as much of
//! it as the bounds allow.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use wisp_api::wire::{Artifact, Forget, InstanceDown, Prepare, instance_down};

use super::instance::{Instance, Phase};
use super::timers::Timer;
use super::{Fleet, Name};
use crate::catalog::Checked;
use crate::config::Settings;
use crate::event::{Effect, StreamId};

/// Artifacts that one instance loads at once: loading is to leave it time for an order.
const LOADING_MAX: usize = 2;

/// Changes are gathered for this long: at a start thousands of revisions are applied one after the other.
const GATHER: Duration = Duration::from_millis(50);

/// The artifacts of all revisions that may claim a warm instance, by how lately they mattered.
#[derive(Debug)]
pub(super) struct Shelf {
    artifacts_max: usize,
    bytes_max: u64,
    // Counts uses; the larger, the later.
    clock: u64,
    artifacts: HashMap<String, Stocked>,
    by_use: BTreeMap<u64, String>,
}

/// One artifact.
#[derive(Debug)]
struct Stocked {
    path: String,
    bytes: u64,
    used: u64,
    // How many revisions of each namespace have it.
    owners: BTreeMap<String, u32>,
}

impl Shelf {
    pub(super) fn new(settings: &Settings) -> Self {
        let (artifacts_max, bytes_max) = (settings.prepared_max, settings.prepared_bytes_max);
        Self { artifacts_max, bytes_max, clock: 0, artifacts: HashMap::new(), by_use: BTreeMap::new() }
    }

    /// A revision needs its artifact.
    pub(super) fn add(&mut self, record: &Checked) {
        let Some(artifact) = &record.spec.artifact else { return };
        let stocked = self.artifacts.entry(artifact.digest.clone()).or_insert_with(|| Stocked {
            path: String::new(),
            bytes: 0,
            used: 0,
            owners: BTreeMap::new(),
        });
        stocked.path.clone_from(&artifact.path);
        stocked.bytes = record.artifact_bytes;
        *stocked.owners.entry(record.key.namespace.clone()).or_default() += 1;
        self.touch(&artifact.digest);
    }

    /// A revision needs its artifact no longer.
    pub(super) fn remove(&mut self, record: &Checked) {
        let Some(artifact) = &record.spec.artifact else { return };
        let Some(stocked) = self.artifacts.get_mut(&artifact.digest) else { return };
        if let Some(count) = stocked.owners.get_mut(&record.key.namespace) {
            *count -= 1;
            if *count == 0 {
                stocked.owners.remove(&record.key.namespace);
            }
        }
        if stocked.owners.is_empty() {
            self.by_use.remove(&stocked.used);
            self.artifacts.remove(&artifact.digest);
        }
    }

    /// An artifact matters now. True when that changes the order.
    pub(super) fn touch(&mut self, digest: &str) -> bool {
        if self.by_use.last_key_value().is_some_and(|(_, last)| last == digest) {
            return false;
        }
        let Some(stocked) = self.artifacts.get_mut(digest) else { return false };
        self.clock += 1;
        let before = std::mem::replace(&mut stocked.used, self.clock);
        self.by_use.remove(&before);
        self.by_use.insert(self.clock, digest.to_owned());
        true
    }

    /// What an instance of `namespace` should hold, the most important first.
    fn choice(&self, namespace: &str) -> Vec<Artifact> {
        let mut bytes_left = self.bytes_max;
        let mut choice = Vec::new();
        for digest in self.by_use.values().rev() {
            let stocked = &self.artifacts[digest];
            if !namespace.is_empty() && !stocked.owners.contains_key(namespace) {
                continue;
            }
            if choice.len() == self.artifacts_max || stocked.bytes > bytes_left {
                break;
            }
            bytes_left -= stocked.bytes;
            choice.push(Artifact { digest: digest.clone(), path: stocked.path.clone() });
        }
        choice
    }
}

impl Fleet {
    /// A revision is in demand: its code should be at hand.
    pub(super) fn demanded(&mut self, revision: &Name) {
        let digest = self.revisions.get(revision).and_then(|known| known.digest());
        if digest.is_some_and(|digest| self.shelf.touch(digest)) {
            self.prepare_soon();
        }
    }

    pub(super) fn prepare_soon(&mut self) {
        self.timers.no_later(Timer::Prepare, self.now + GATHER);
    }

    pub(super) fn prepare(&mut self) {
        let warm: Vec<Name> = self.warm.iter().cloned().collect();
        warm.iter().for_each(|name| self.stock(name));
    }

    /// Gives a warm instance the next few orders that bring what it holds to what it should hold.
    pub(super) fn stock(&mut self, name: &Name) {
        let Some(instance) = self.instances.get_mut(name).filter(|instance| instance.phase == Phase::Warm) else {
            return;
        };
        let Some(stream) = instance.stream else { return };
        let choice = self.shelf.choice(&instance.namespace);
        let orders = instance.orders(choice);
        self.out.extend(orders.into_iter().map(|order| to_instance(stream, order)));
    }
}

impl Instance {
    fn orders(&mut self, choice: Vec<Artifact>) -> Vec<instance_down::Message> {
        let wanted: BTreeSet<&str> = choice.iter().map(|artifact| artifact.digest.as_str()).collect();
        let evicted: Vec<String> =
            self.prepared.iter().filter(|held| !wanted.contains(held.as_str())).cloned().collect();
        self.unloadable.retain(|digest| wanted.contains(digest.as_str()));
        let mut orders = Vec::new();
        for digest in evicted {
            self.prepared.remove(&digest);
            orders.push(instance_down::Message::Forget(Forget { digest }));
        }
        for artifact in choice {
            if self.loading.len() >= LOADING_MAX {
                break;
            }
            let digest = &artifact.digest;
            if self.prepared.contains(digest) || self.unloadable.contains(digest) || self.loading.contains(digest) {
                continue;
            }
            self.loading.insert(digest.clone());
            orders.push(instance_down::Message::Prepare(Prepare { artifact: Some(artifact) }));
        }
        orders
    }
}

fn to_instance(stream: StreamId, message: instance_down::Message) -> Effect {
    Effect::ToInstance(stream, InstanceDown { message: Some(message) })
}
