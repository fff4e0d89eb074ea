//! An instance goes from state to state here and nowhere else, so that the indexes, the timers and whoever watches
//! always agree with it.
//!
//! ```text
//! Expected => Warm => Claimed => Ready => Withdrawing => Draining => Stopping => gone
//!     \_______________________↗    \__________(the host failed)_____↗
//! ```
//! Any state may go to Stopping, and any to gone.

use std::time::Duration;

use super::instance::{Catalog, Instance, Phase, Withdrawal};
use super::timers::Timer;
use super::{Fleet, Name};
use crate::actuation::Actuation;
use crate::event::{Effect, Fact};

/// A claimed instance is replaced this much later: starting a process takes processor time that the claimed one needs to
/// get ready, and its first request to be answered.
const REPLACE_AFTER: Duration = Duration::from_millis(30);

impl Fleet {
    /// Adds an instance that has just been heard of.
    pub(super) fn insert(&mut self, name: &Name, cause: &str) {
        let instance = Instance::new(self.now);
        let to = Some(instance.phase.state());
        self.instances.insert(name.clone(), instance);
        self.note(Fact::Instance { instance: name.to_string(), revision: None, from: None, to, cause: cause.into() });
        self.set_deadline(name);
    }

    /// Gives an instance its revision, for the rest of its life.
    pub(super) fn assign(&mut self, name: &Name, revision: &Name) {
        let timeout = self.revisions.get(revision).and_then(|known| known.request_timeout());
        let Some(instance) = self.instances.get_mut(name) else { return };
        debug_assert!(
            instance.revision.as_ref().is_none_or(|held| held == revision),
            "an instance serves one revision"
        );
        instance.revision = Some(revision.clone());
        instance.request_timeout = timeout.unwrap_or(instance.request_timeout);
        self.members.entry(revision.clone()).or_default().insert(name.clone());
    }

    /// From one state to another.
    pub(super) fn enter(&mut self, name: &Name, phase: Phase, cause: &str) {
        let Some(instance) = self.instances.get_mut(name) else { return };
        let from = std::mem::replace(&mut instance.phase, phase);
        instance.entered = self.now;
        let revision = instance.revision.clone();
        if from == Phase::Warm {
            self.warm.remove(name);
            self.warm_lost(phase);
        }
        if phase == Phase::Warm {
            self.warm.insert(name.clone());
        }
        match phase {
            Phase::Withdrawing { .. } => self.withdrawing.insert(name.clone()),
            _ => self.withdrawing.remove(name),
        };
        if let Some(revision) = &revision
            && (from == Phase::Ready) != (phase == Phase::Ready)
        {
            self.dirty.insert(revision.clone());
        }
        let (from, to) = (Some(from.state()), Some(phase.state()));
        let revision = revision.map(|revision| revision.to_string());
        self.note(Fact::Instance { instance: name.to_string(), revision, from, to, cause: cause.into() });
        self.set_deadline(name);
    }

    fn warm_lost(&mut self, phase: Phase) {
        if phase == Phase::Claimed {
            self.timers.no_later(Timer::Replace, self.now + REPLACE_AFTER);
        } else {
            self.warm_changed = true;
        }
    }

    /// Forgets an instance that is gone.
    pub(super) fn remove(&mut self, name: &Name, cause: &str) {
        let Some(instance) = self.instances.remove(name) else { return };
        self.warm.remove(name);
        // One that nobody claimed was one of the warm ones, or would have become one.
        self.warm_changed |= instance.revision.is_none();
        self.withdrawing.remove(name);
        self.timers.set(Timer::Instance(name.clone()), None);
        if let Some(stream) = instance.stream {
            self.streams.remove(&stream);
            self.out.push(Effect::Close(stream));
        }
        if let Some(revision) = &instance.revision {
            if instance.phase == Phase::Ready {
                self.dirty.insert(revision.clone());
            }
            if let Some(members) = self.members.get_mut(revision) {
                members.remove(name);
                if members.is_empty() {
                    self.members.remove(revision);
                }
            }
            self.look_at(revision);
        }
        let (from, revision) = (Some(instance.phase.state()), instance.revision.map(|revision| revision.to_string()));
        self.note(Fact::Instance { instance: name.to_string(), revision, from, to: None, cause: cause.into() });
    }

    // Any => Stopping
    pub(super) fn stop(&mut self, name: &Name, cause: &str) {
        self.enter(name, Phase::Stopping, cause);
        self.out.push(Effect::Actuate(Actuation::Stop { instance: name.to_string() }));
    }

    /// An instance has been in its state for too long.
    pub(super) fn instance_overdue(&mut self, name: &Name) {
        let Some(instance) = self.instances.get(name) else { return };
        let revision = instance.revision.clone();
        match instance.phase {
            // Expected => Stopping, Claimed => Stopping
            Phase::Expected | Phase::Claimed => self.start_overdue(name),
            Phase::Warm => self.stop(name, "its stream broke and did not come back"),
            Phase::Ready if instance.lost.is_none() => self.withdraw(name, Withdrawal::Deleted),
            // It may be serving, though nothing is heard of it: it gets the time of a drain.
            Phase::Ready => self.withdraw(name, Withdrawal::Lost),
            Phase::Withdrawing { .. } => self.drain(name, "not every activator confirmed in time"),
            Phase::Draining => self.stop(name, "it did not drain in time"),
            Phase::Stopping => self.remove(name, "it should be gone, though nobody said so"),
        }
        revision.iter().for_each(|revision| self.look_at(revision));
    }

    /// Sets the timer of an instance by its state.
    pub(super) fn set_deadline(&mut self, name: &Name) {
        let Some(instance) = self.instances.get(name) else { return };
        let known = instance.revision.as_ref().is_none_or(|revision| self.revisions.contains_key(revision));
        let catalog = if known { Catalog::Knows } else { Catalog::Misses };
        let deadline = instance.deadline(&self.settings, catalog);
        self.timers.set(Timer::Instance(name.clone()), deadline);
    }
}
