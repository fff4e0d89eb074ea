//! What activators are told. Whatever changes in one turn leaves in one update.

use wisp_api::wire::{DemandDown, Endpoint, EndpointsUpdate, RevisionEndpoints, demand_down};

use super::instance::Phase;
use super::{Fleet, Name};
use crate::event::{Effect, StreamId};

impl Fleet {
    /// Sends what has changed to all activators.
    pub(super) fn publish(&mut self) {
        let (held, ready): (Vec<Name>, Vec<Name>) =
            std::mem::take(&mut self.dirty).into_iter().partition(|name| self.is_held(name));
        self.dirty.extend(held);
        if ready.is_empty() {
            return;
        }
        if self.settling {
            self.named.extend(ready.iter().cloned());
        }
        self.sequence += 1;
        for name in &ready {
            if let Some(revision) = self.revisions.get_mut(name) {
                revision.announced = self.sequence;
            }
        }
        let revisions = ready.iter().map(|name| self.endpoints(name)).collect();
        let update = EndpointsUpdate { sequence: self.sequence, full: false, revisions };
        let connected: Vec<StreamId> = self.activators.values().filter_map(|activator| activator.stream).collect();
        self.send_update(&connected, &update);
    }

    /// Sends everything to all activators.
    pub(super) fn publish_everything(&mut self) {
        self.dirty.clear();
        self.sequence += 1;
        let connected: Vec<StreamId> = self.activators.values().filter_map(|activator| activator.stream).collect();
        self.send_update(&connected, &self.everything());
    }

    /// Sends everything to an activator that has just connected.
    pub(super) fn publish_everything_to(&mut self, stream: StreamId) {
        // It may know instances that have yet to report here: it keeps them until the fleet has settled.
        if !self.settling {
            self.sequence += 1;
            self.send_update(&[stream], &self.everything());
        }
    }

    // An update names all endpoints of a revision. Those that have yet to report would be lost to it, which only a
    // revision that lacks capacity can afford. Once it was named, activators know what is known here.
    fn is_held(&self, name: &Name) -> bool {
        self.settling && !self.named.contains(name) && self.observe(name).waiting == 0
    }

    fn everything(&self) -> EndpointsUpdate {
        let revisions = self.members.keys().map(|name| self.endpoints(name));
        let revisions = revisions.filter(|revision| !revision.endpoints.is_empty()).collect();
        EndpointsUpdate { sequence: self.sequence, full: true, revisions }
    }

    fn endpoints(&self, revision: &Name) -> RevisionEndpoints {
        let connected = self.activators.values().filter(|activator| activator.stream.is_some()).count().max(1);
        let sharing = u32::try_from(connected).unwrap_or(u32::MAX);
        let members = self.members.get(revision).into_iter().flatten();
        let endpoints = members.filter_map(|name| {
            let instance = self.instances.get(name).filter(|instance| instance.phase == Phase::Ready)?;
            Some(Endpoint {
                instance: name.to_string(),
                address: instance.address.clone(),
                // Rounded up: the host has the last word, and a slot that nobody may use is worse than a refusal.
                slots: instance.slots.div_ceil(sharing),
                start_micros: u64::try_from(instance.start_took.as_micros()).unwrap_or(u64::MAX),
            })
        });
        RevisionEndpoints { revision: revision.to_string(), endpoints: endpoints.collect() }
    }

    fn send_update(&mut self, streams: &[StreamId], update: &EndpointsUpdate) {
        for &stream in streams {
            let message = DemandDown { message: Some(demand_down::Message::Endpoints(update.clone())) };
            self.out.push(Effect::ToActivator(stream, message));
        }
    }
}
