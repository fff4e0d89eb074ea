//! The instances of the simulation: they start, serve as many requests as they have slots, drain and go.

use std::time::Duration;

use crate::victims::{Candidate, victims};

/// An instance's number, in the order of their starts.
pub(super) type InstanceId = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Starting,
    Ready,
    Draining,
}

#[derive(Debug)]
struct Instance {
    id: InstanceId,
    state: State,
    in_flight: u32,
    since: Duration,
}

/// All instances of the revision.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    instances: Vec<Instance>,
    started: InstanceId,
}

impl Fleet {
    /// Instances asked for so far.
    pub(super) fn started(&self) -> u64 {
        self.started
    }

    /// Instances that exist: starting, ready or draining.
    pub(super) fn len(&self) -> usize {
        self.instances.len()
    }

    pub(super) fn ready(&self) -> u32 {
        self.count(State::Ready)
    }

    pub(super) fn starting(&self) -> u32 {
        self.count(State::Starting)
    }

    /// Since when the oldest start has been in progress.
    pub(super) fn oldest_start(&self) -> Option<Duration> {
        let starting = self.instances.iter().filter(|instance| instance.state == State::Starting);
        starting.map(|instance| instance.since).min()
    }

    /// Begins a start.
    pub(super) fn start(&mut self, now: Duration) -> InstanceId {
        self.started += 1;
        self.instances.push(Instance { id: self.started, state: State::Starting, in_flight: 0, since: now });
        self.started
    }

    /// Ends a start, unless the instance was given up in the meantime.
    pub(super) fn make_ready(&mut self, id: InstanceId) {
        if let Some(instance) = self.find(id) {
            instance.state = State::Ready;
        }
    }

    /// Gives a request to the ready instance with the fewest, if one has a free slot.
    pub(super) fn take_slot(&mut self, slots: u32) -> Option<InstanceId> {
        let free = self.instances.iter_mut().filter(|one| one.state == State::Ready && one.in_flight < slots);
        let instance = free.min_by_key(|one| one.in_flight)?;
        instance.in_flight += 1;
        Some(instance.id)
    }

    /// A request of the instance is done. The last one of a draining instance ends it.
    pub(super) fn give_back(&mut self, id: InstanceId) {
        if let Some(instance) = self.find(id) {
            instance.in_flight -= 1;
        }
        self.bury();
    }

    /// Lets `count` instances go, as the autoscaler would choose them.
    pub(super) fn drain(&mut self, count: usize, now: Duration) {
        let places: Vec<usize> =
            (0..self.instances.len()).filter(|&place| self.instances[place].state != State::Draining).collect();
        let candidates: Vec<Candidate> = places.iter().map(|&place| candidate(&self.instances[place], now)).collect();
        for victim in victims(&candidates, count) {
            self.instances[places[victim]].state = State::Draining;
        }
        self.bury();
    }

    fn bury(&mut self) {
        self.instances.retain(|instance| instance.state != State::Draining || instance.in_flight > 0);
    }

    fn find(&mut self, id: InstanceId) -> Option<&mut Instance> {
        self.instances.iter_mut().find(|instance| instance.id == id)
    }

    fn count(&self, state: State) -> u32 {
        u32::try_from(self.instances.iter().filter(|instance| instance.state == state).count()).unwrap_or(u32::MAX)
    }
}

fn candidate(instance: &Instance, now: Duration) -> Candidate {
    Candidate {
        ready: instance.state == State::Ready,
        in_flight: instance.in_flight,
        node_load: 0,
        age: now.saturating_sub(instance.since),
    }
}
