//! What activators and hosts say, and whom it concerns.

use std::time::Duration;

use wisp_api::wire::{
    DemandReport, DemandUp, InstanceFailed, InstanceReady, InstanceReport, InstanceUp, Prepared, Wake, demand_up,
    instance_up,
};

use super::backoff::Failure;
use super::demand::HostReport;
use super::instance::{Phase, Withdrawal};
use super::timers::Timer;
use super::{Fleet, Name, Owner};
use crate::event::{Fact, PeerKind, StreamId};

/// How soon a host's report leads to a decision. Activators see demand first: this one may wait for others like it.
const HOST_REPORT_DELAY: Duration = Duration::from_millis(250);

impl Fleet {
    pub(super) fn activator_said(&mut self, stream: StreamId, message: DemandUp) {
        let Some(message) = message.message else { return };
        if let demand_up::Message::Hello(hello) = message {
            return self.activator_hello(stream, &hello);
        }
        // What comes before the hello is left over from an earlier stream.
        let Some(Owner::Activator(name)) = self.streams.get(&stream).cloned() else { return };
        match message {
            demand_up::Message::Report(report) => self.demand_reported(&name, report),
            demand_up::Message::Wake(wake) => self.woken(&name, &wake),
            demand_up::Message::Applied(applied) => {
                if let Some(activator) = self.activators.get_mut(&name) {
                    activator.heard = self.now;
                    activator.applied = activator.applied.max(applied.sequence);
                }
                self.watch_activator(&name);
            }
            demand_up::Message::Hello(_) => {}
        }
    }

    fn demand_reported(&mut self, name: &Name, report: DemandReport) {
        let Some(activator) = self.activators.get_mut(name) else { return };
        let was_silent = self.now >= activator.counts_until();
        let named = activator.report(report, self.now);
        named.iter().for_each(|revision| self.look_at(revision));
        if was_silent {
            self.look_at_all_with_instances();
        }
        self.watch_activator(name);
    }

    fn woken(&mut self, name: &Name, wake: &Wake) {
        let revision = match self.revisions.get_key_value(wake.revision.as_str()) {
            Some((revision, _)) => revision.clone(),
            // The catalog is late. The activator repeats its wake, and the demand is found when the revision comes.
            None => Name::from(wake.revision.as_str()),
        };
        if let Some(activator) = self.activators.get_mut(name) {
            activator.wake(&revision, wake.waiting, self.now);
        }
        self.watch_activator(name);
        self.note(Fact::Wake { revision: wake.revision.clone(), waiting: wake.waiting });
        self.demanded(&revision);
        self.look_at(&revision);
    }

    pub(super) fn instance_said(&mut self, stream: StreamId, message: InstanceUp) {
        let Some(message) = message.message else { return };
        if let instance_up::Message::Hello(hello) = message {
            return self.instance_hello(stream, hello);
        }
        let Some(Owner::Instance(name)) = self.streams.get(&stream).cloned() else { return };
        match message {
            instance_up::Message::Prepared(prepared) => self.prepared(&name, prepared),
            instance_up::Message::Ready(ready) => self.said_ready(stream, &name, &ready),
            instance_up::Message::Failed(failed) => self.said_failed(&name, failed),
            instance_up::Message::Draining(_) => self.host_drains(&name),
            instance_up::Message::Report(report) => self.host_reported(&name, &report),
            instance_up::Message::Hello(_) => {}
        }
    }

    fn said_ready(&mut self, stream: StreamId, name: &Name, ready: &InstanceReady) {
        let Some(instance) = self.instances.get_mut(name) else { return };
        let told = ready.revision.as_str();
        let held = instance.revision.clone();
        let agrees = held.as_deref().is_some_and(|held| held == told || held.rsplit('/').next() == Some(told));
        if !agrees {
            let message = format!("instance {name:?} is ready for {told:?} and was given {held:?}");
            self.refuse(stream, PeerKind::Instance, message);
            self.stop(name, "it serves what it was not given");
            held.iter().for_each(|revision| self.look_at(revision));
            return;
        }
        if ready.slots > 0 && ready.slots != instance.slots {
            instance.slots = ready.slots;
            self.dirty.extend(held);
        }
        match instance.phase {
            Phase::Draining | Phase::Stopping => self.send_drain(name),
            Phase::Withdrawing { .. } => {}
            _ => self.became_ready(name, Duration::from_micros(ready.specialize_micros)),
        }
    }

    fn said_failed(&mut self, name: &Name, failed: InstanceFailed) {
        let Some(instance) = self.instances.get(name) else { return };
        let revision = instance.revision.clone();
        match instance.phase {
            Phase::Expected | Phase::Claimed => self.start_refused(name, failed),
            Phase::Stopping => {}
            // No new request may reach it, and what it has is lost: there is nothing to wait for.
            phase => {
                if let (Phase::Ready, Some(revision)) = (phase, &revision) {
                    self.failed(revision, Failure::Crashed);
                }
                self.stop(name, &format!("{}: {}", failed.reason, failed.message));
            }
        }
        revision.iter().for_each(|revision| self.look_at(revision));
    }

    // Ready => Withdrawing, on the host's own wish
    pub(super) fn host_drains(&mut self, name: &Name) {
        self.dismiss(name, Withdrawal::Host);
    }

    fn prepared(&mut self, name: &Name, prepared: Prepared) {
        let Some(instance) = self.instances.get_mut(name) else { return };
        if !instance.loading.remove(&prepared.digest) {
            return;
        }
        if prepared.error.is_empty() {
            instance.prepared.insert(prepared.digest);
        } else {
            instance.unloadable.insert(prepared.digest);
        }
        self.stock(name);
    }

    fn host_reported(&mut self, name: &Name, report: &InstanceReport) {
        let Some(instance) = self.instances.get_mut(name) else { return };
        instance.report = Some(HostReport::after(instance.report, report, self.now));
        if let Some(revision) = &instance.revision
            && report.in_flight > 0
        {
            self.timers.no_later(Timer::Revision(revision.clone()), self.now + HOST_REPORT_DELAY);
        }
    }
}
