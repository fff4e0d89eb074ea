//! An instance goes without losing a request: it is withdrawn from all activators, they confirm, it drains, it ends.

use wisp_api::wire::{Drain, InstanceDown, instance_down};

use super::instance::{Phase, Withdrawal};
use super::{Fleet, Name};
use crate::event::Effect;

impl Fleet {
    /// Lets an instance go, by the shortest way that loses nothing.
    pub(super) fn dismiss(&mut self, name: &Name, cause: Withdrawal) {
        let Some(instance) = self.instances.get(name) else { return };
        let (phase, connected) = (instance.phase, instance.stream.is_some());
        let revision = instance.revision.clone();
        match phase {
            Phase::Ready => self.withdraw(name, cause),
            // A host that wants to end cannot be taken back.
            Phase::Withdrawing { sequence, .. } if cause != Withdrawal::ScaleDown => {
                self.enter(name, Phase::Withdrawing { sequence, cause }, cause.text());
            }
            Phase::Withdrawing { .. } | Phase::Stopping => {}
            Phase::Draining => self.send_drain(name),
            Phase::Expected | Phase::Warm | Phase::Claimed if connected => self.drain(name, cause.text()),
            Phase::Expected | Phase::Warm | Phase::Claimed => self.stop(name, cause.text()),
        }
        revision.iter().for_each(|revision| self.look_at(revision));
    }

    // Ready => Withdrawing
    pub(super) fn withdraw(&mut self, name: &Name, cause: Withdrawal) {
        // The update that this turn will publish.
        let sequence = self.sequence + 1;
        self.enter(name, Phase::Withdrawing { sequence, cause }, cause.text());
    }

    /// Instances that [`Self::take_back`] could have.
    pub(super) fn on_their_way_out(&self, revision: &Name) -> u32 {
        u32::try_from(self.leaving(revision).count()).unwrap_or(u32::MAX)
    }

    fn leaving(&self, revision: &Name) -> impl Iterator<Item = &Name> {
        self.members.get(revision).into_iter().flatten().filter(|name| {
            let phase = self.instances.get(*name).map(|instance| instance.phase);
            matches!(phase, Some(Phase::Withdrawing { cause: Withdrawal::ScaleDown, .. }))
        })
    }

    /// Takes back up to `count` instances that are on their way out only because the number fell.
    pub(super) fn take_back(&mut self, revision: &Name, count: u32) -> u32 {
        let back: Vec<Name> = self.leaving(revision).take(count as usize).cloned().collect();
        // Withdrawing => Ready
        back.iter().for_each(|name| self.enter(name, Phase::Ready, "demand came back"));
        u32::try_from(back.len()).unwrap_or(u32::MAX)
    }

    /// Lets those drain that no activator uses any more.
    pub(super) fn release_withdrawn(&mut self) {
        if self.withdrawing.is_empty() {
            return;
        }
        // One that is not connected cannot confirm. Its requests are refused by the draining host, and go elsewhere.
        let connected = self.activators.values().filter(|activator| activator.stream.is_some());
        let confirmed = connected.map(|activator| activator.applied).min().unwrap_or(u64::MAX);
        let released: Vec<Name> =
            self.withdrawing.iter().filter(|name| self.is_released(name, confirmed)).cloned().collect();
        released.iter().for_each(|name| self.drain(name, "every activator confirmed"));
    }

    fn is_released(&self, name: &Name, confirmed: u64) -> bool {
        let Some(instance) = self.instances.get(name) else { return false };
        // An update that is held back has not been sent, whatever was confirmed.
        let published = instance.revision.as_ref().is_none_or(|revision| !self.dirty.contains(revision));
        matches!(instance.phase, Phase::Withdrawing { sequence, .. } if sequence <= confirmed) && published
    }

    // (Withdrawing | Warm | Claimed | Expected) => Draining
    pub(super) fn drain(&mut self, name: &Name, cause: &str) {
        self.enter(name, Phase::Draining, cause);
        self.send_drain(name);
    }

    /// Tells a host to drain, again if the first order may have been lost.
    pub(super) fn send_drain(&mut self, name: &Name) {
        if let Some(stream) = self.instances.get(name).and_then(|instance| instance.stream) {
            // 0: the host knows its revision's timeout.
            let drain = instance_down::Message::Drain(Drain { deadline_millis: 0 });
            self.out.push(Effect::ToInstance(stream, InstanceDown { message: Some(drain) }));
        }
    }
}

impl Withdrawal {
    fn text(self) -> &'static str {
        match self {
            Self::ScaleDown => "the number fell",
            Self::Deleted => "its revision is gone",
            Self::Host => "its host was told to end",
            Self::Lost => "its stream broke and did not come back",
        }
    }
}
