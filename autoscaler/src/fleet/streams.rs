//! Who is at the other end of a stream. Streams come and go; activators and instances stay.

use std::time::Duration;

use wisp_api::wire::{DemandHello, InstanceHello, InstanceState as HelloState, PROTOCOL};

use super::demand::Activator;
use super::instance::{Instance, Phase};
use super::timers::Timer;
use super::{Fleet, Name, Owner};
use crate::config::Admission;
use crate::event::{Effect, Fact, PeerKind, StreamId};

/// A stream must say who it is within this time.
const HELLO_DEADLINE: Duration = Duration::from_secs(10);

/// Longer names are no names of pods or processes of ours.
const NAME_BYTES_MAX: usize = 512;

/// More activators than this cannot share an instance's slots in any useful way.
const ACTIVATORS_MAX: usize = 1000;

impl Fleet {
    pub(super) fn opened(&mut self, stream: StreamId) {
        self.timers.set(Timer::Hello(stream), Some(self.now + HELLO_DEADLINE));
    }

    pub(super) fn refuse_silent(&mut self, stream: StreamId) {
        self.out.push(Effect::Close(stream));
    }

    /// Ends a stream because of what its peer said.
    pub(super) fn refuse(&mut self, stream: StreamId, peer: PeerKind, message: String) {
        self.closed(stream);
        self.note(Fact::Refused { peer, message });
        self.out.push(Effect::Close(stream));
    }

    pub(super) fn activator_hello(&mut self, stream: StreamId, hello: &DemandHello) {
        if let Err(message) = check(hello.protocol, &hello.activator) {
            return self.refuse(stream, PeerKind::Activator, message);
        }
        let name = Name::from(hello.activator.as_str());
        let is_full = self.activators.len() >= ACTIVATORS_MAX;
        match self.activators.get_mut(&name) {
            Some(activator) => {
                let before = activator.stream.replace(stream).filter(|before| *before != stream);
                activator.heard = self.now;
                activator.applied = 0;
                self.replace_stream(before);
                self.note(Fact::Reconnected { peer: PeerKind::Activator, name: name.to_string() });
            }
            None if is_full => {
                let message = format!("there are {ACTIVATORS_MAX} activators already; run fewer");
                return self.refuse(stream, PeerKind::Activator, message);
            }
            None => {
                self.activators.insert(name.clone(), Activator::new(stream, self.now));
            }
        }
        self.own(stream, Owner::Activator(name.clone()));
        self.watch_activator(&name);
        self.activators_changed();
        self.publish_everything_to(stream);
    }

    pub(super) fn instance_hello(&mut self, stream: StreamId, hello: InstanceHello) {
        if let Err(message) = check(hello.protocol, &hello.instance).and_then(|()| self.admit(&hello)) {
            return self.refuse(stream, PeerKind::Instance, message);
        }
        let name = Name::from(hello.instance.as_str());
        if !self.instances.contains_key(&name) {
            self.insert(&name, "it connected");
        }
        let told = told_revision(&hello);
        if let Err(message) = self.check_claim(&name, &hello, told.as_ref()) {
            self.refuse(stream, PeerKind::Instance, message);
            return self.abandon(&name);
        }
        let Some(instance) = self.instances.get_mut(&name) else { return };
        let before = instance.stream.filter(|before| *before != stream);
        let returns = instance.lost.is_some() || before.is_some();
        let state = hello.state();
        instance.connect(stream, hello, self.now);
        self.replace_stream(before);
        self.own(stream, Owner::Instance(name.clone()));
        if returns {
            self.note(Fact::Reconnected { peer: PeerKind::Instance, name: name.to_string() });
        }
        self.set_deadline(&name);
        self.resume(&name, state, told);
    }

    // What a host holds and what was known of it, brought together.
    fn resume(&mut self, name: &Name, state: HelloState, told: Option<Name>) {
        let Some(instance) = self.instances.get(name) else { return };
        let (phase, held) = (instance.phase, instance.revision.clone());
        if let (None, Some(told)) = (&held, &told) {
            self.assign(name, told);
            self.set_deadline(name);
        }
        match (phase, state) {
            (Phase::Withdrawing { .. }, _) => {}
            (Phase::Draining | Phase::Stopping, _) => self.send_drain(name),
            (_, HelloState::Draining) => self.host_drains(name),
            (_, HelloState::Ready) => self.became_ready(name, Duration::ZERO),
            (Phase::Expected, HelloState::Warm) if held.is_none() => self.became_warm(name),
            // A host that was started for a revision but begins as a warm one, or one that the order did not reach.
            (Phase::Expected | Phase::Claimed, HelloState::Warm) => self.specialize(name),
            (Phase::Warm, _) => self.became_warm(name),
            // It announces itself once it listens.
            (Phase::Expected | Phase::Claimed | Phase::Ready, _) => {}
        }
    }

    fn admit(&self, hello: &InstanceHello) -> Result<(), String> {
        match (self.settings.admission, self.instances.get(hello.instance.as_str())) {
            (Admission::Anyone, _) => Ok(()),
            (Admission::Expected, Some(instance)) if instance.token.as_ref() == Some(&hello.token) => Ok(()),
            (Admission::Expected, Some(_)) => {
                Err(format!("instance {:?} shows a wrong token; it was not started by this fleet", hello.instance))
            }
            (Admission::Expected, None) => {
                Err(format!("instance {:?} is not expected; it may belong to an earlier run", hello.instance))
            }
        }
    }

    // An instance serves one revision in its life: a host that says otherwise is not to be trusted with any.
    fn check_claim(&self, name: &Name, hello: &InstanceHello, told: Option<&Name>) -> Result<(), String> {
        let instance = &self.instances[name];
        match (&instance.revision, told) {
            (Some(held), Some(told)) if held != told => {
                Err(format!("instance {name:?} was given {held:?} and says that it serves {told:?}"))
            }
            (_, None) if matches!(hello.state(), HelloState::Ready) => {
                Err(format!("instance {name:?} says that it is ready without naming its revision"))
            }
            (Some(held), None) if instance.phase == Phase::Ready && hello.state() == HelloState::Warm => {
                Err(format!("instance {name:?} served {held:?} and says that it is warm"))
            }
            _ => Ok(()),
        }
    }

    // A host that contradicts itself: no requests, no orders.
    fn abandon(&mut self, name: &Name) {
        let revision = self.instances.get(name).and_then(|instance| instance.revision.clone());
        self.stop(name, "it contradicts what it was given");
        revision.iter().for_each(|revision| self.look_at(revision));
    }

    pub(super) fn closed(&mut self, stream: StreamId) {
        self.timers.set(Timer::Hello(stream), None);
        match self.streams.remove(&stream) {
            Some(Owner::Activator(name)) => {
                if let Some(activator) = self.activators.get_mut(&name) {
                    activator.stream = None;
                    self.watch_activator(&name);
                    self.activators_changed();
                }
            }
            Some(Owner::Instance(name)) => self.instance_lost(&name),
            None => {}
        }
    }

    // The endpoint stays: the host may well be serving, and will come back.
    fn instance_lost(&mut self, name: &Name) {
        let Some(instance) = self.instances.get_mut(name) else { return };
        instance.stream = None;
        instance.lost = Some(self.now);
        instance.loading.clear();
        let revision = instance.revision.clone();
        if instance.phase == Phase::Draining && self.settings.admission == Admission::Anyone {
            // Where nobody announces instances, nobody says that one is gone either. It is remembered for a while, so
            // that one that comes back is not taken for another.
            self.enter(name, Phase::Stopping, "its stream ended after the order to drain");
        }
        self.set_deadline(name);
        revision.iter().for_each(|revision| self.look_at(revision));
    }

    /// An activator has said nothing for a while.
    pub(super) fn activator_silent(&mut self, name: &Name) {
        let Some(activator) = self.activators.get(name) else { return };
        let counted: Vec<Name> = activator.revisions().cloned().collect();
        if self.now >= activator.heard + self.settings.activator_grace {
            if let Some(activator) = self.activators.remove(name)
                && let Some(stream) = activator.stream
            {
                self.streams.remove(&stream);
                self.out.push(Effect::Close(stream));
            }
            self.activators_changed();
        } else {
            let until = self.activators[name].heard + self.settings.activator_grace;
            self.timers.set(Timer::Activator(name.clone()), Some(until));
        }
        counted.iter().for_each(|revision| self.look_at(revision));
    }

    /// Looks at an activator again when its last report has lost its worth.
    pub(super) fn watch_activator(&mut self, name: &Name) {
        if let Some(activator) = self.activators.get(name) {
            self.timers.set(Timer::Activator(name.clone()), Some(activator.counts_until()));
        }
    }

    // Whether zero is believed, and each activator's share of the slots, depend on who is there.
    fn activators_changed(&mut self) {
        self.look_at_all_with_instances();
        if self.activators.len() > 1 {
            self.dirty.extend(self.members.keys().cloned());
        }
    }

    fn own(&mut self, stream: StreamId, owner: Owner) {
        self.timers.set(Timer::Hello(stream), None);
        self.streams.insert(stream, owner);
    }

    // The peer has a new stream: the old one is dead, though nobody may have noticed.
    fn replace_stream(&mut self, before: Option<StreamId>) {
        if let Some(before) = before {
            self.streams.remove(&before);
            self.out.push(Effect::Close(before));
        }
    }
}

impl Instance {
    fn connect(&mut self, stream: StreamId, hello: InstanceHello, now: Duration) {
        if let (Phase::Expected, Some(start)) = (self.phase, &mut self.start) {
            start.boot = now.saturating_sub(self.born);
        }
        self.stream = Some(stream);
        self.came_warm = hello.state() == HelloState::Warm;
        self.lost = None;
        self.namespace = hello.namespace;
        self.address = hello.address;
        self.slots = hello.slots.max(1);
        self.prepared = hello.prepared.into_iter().collect();
        self.loading.clear();
        self.unloadable.clear();
    }
}

fn check(protocol: u32, name: &str) -> Result<(), String> {
    if protocol != PROTOCOL {
        return Err(format!("{name:?} speaks protocol {protocol}, this autoscaler {PROTOCOL}; upgrade the older one"));
    }
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(format!("a peer's name has {} bytes; it must have 1 to {NAME_BYTES_MAX}", name.len()));
    }
    Ok(())
}

/// The revision that a host says it has. A host knows its revision's name, and may leave the namespace to its own field.
fn told_revision(hello: &InstanceHello) -> Option<Name> {
    match hello.revision.as_str() {
        "" => None,
        full if full.contains('/') => Some(Name::from(full)),
        short => Some(Name::from(format!("{}/{short}", hello.namespace))),
    }
}
