//! A warm instance becomes a revision's. It happens once in an instance's life.

use std::time::Duration;

use wisp_api::wire::{InstanceDown, Specialize, instance_down};

use super::instance::{Instance, Phase, StartClock};
use super::revision::Revision;
use super::{Fleet, Name};
use crate::actuation::Actuation;
use crate::catalog::Start;
use crate::event::{ColdStart, Effect, Fact, StartKind};

impl Fleet {
    /// Claims a warm instance for a revision, if one fits.
    pub(super) fn claim(&mut self, revision: &Name) -> bool {
        let Some(instance) = self.best_warm(revision) else { return false };
        let digest = self.revisions[revision].digest();
        let prepared = digest.is_some_and(|digest| self.instances[&instance].prepared.contains(digest));
        let kind = if prepared { StartKind::Prepared } else { StartKind::Warm };
        if let Some(claimed) = self.instances.get_mut(&instance) {
            claimed.start = Some(StartClock { asked: self.now, kind, boot: Duration::ZERO });
        }
        self.assign(&instance, revision);
        self.specialize(&instance);
        let key = self.revisions[revision].record.key.clone();
        self.out.push(Effect::Actuate(Actuation::Claimed { instance: instance.to_string(), revision: key }));
        true
    }

    // One that has the code ready, else any; of those the oldest, which had the most time to get ready in other ways.
    fn best_warm(&self, revision: &Name) -> Option<Name> {
        let known = self.revisions.get(revision)?;
        let digest = known.digest();
        let best = self.fitting(known).min_by_key(|(_, instance)| {
            let prepared = digest.is_some_and(|digest| instance.prepared.contains(digest));
            (!prepared, instance.born)
        });
        best.map(|(name, _)| name.clone())
    }

    /// Warm instances that may become the revision's.
    fn fitting(&self, revision: &Revision) -> impl Iterator<Item = (&Name, &Instance)> {
        let takes_warm = revision.record.start == Start::Warm;
        let names = takes_warm.then_some(&self.warm).into_iter().flatten();
        names.filter_map(move |name| {
            let instance = self.instances.get(name)?;
            instance.is_claimable_by(&revision.record.key.namespace).then_some((name, instance))
        })
    }

    /// How the revision's next instance would start.
    pub(super) fn next_start(&self, revision: &Revision) -> StartKind {
        if self.fitting(revision).next().is_some() { StartKind::Warm } else { StartKind::Fresh }
    }

    // (Warm | Expected) => Claimed, or Claimed => Claimed after a broken stream. The order names the one revision that
    // it has; where that has yet to come, or lacks something, it is given later.
    pub(super) fn specialize(&mut self, name: &Name) {
        let Some(instance) = self.instances.get(name) else { return };
        let (Some(stream), Some(revision)) = (instance.stream, instance.revision.clone()) else { return };
        let Some(known) = self.revisions.get(&revision).filter(|known| !known.is_lacking()) else { return };
        let spec = known.record.spec.as_ref().clone();
        let message =
            InstanceDown { message: Some(instance_down::Message::Specialize(Specialize { spec: Some(spec) })) };
        self.out.push(Effect::ToInstance(stream, message));
        self.enter(name, Phase::Claimed, "it was given its revision");
        self.look_at(&revision);
    }

    // Expected => Warm
    pub(super) fn became_warm(&mut self, name: &Name) {
        if self.instances.get(name).is_some_and(|instance| instance.phase != Phase::Warm) {
            self.enter(name, Phase::Warm, "it connected");
        }
        let short: Vec<Name> = self.short.iter().cloned().collect();
        short.iter().for_each(|revision| self.look_at(revision));
        self.stock(name);
    }

    // (Expected | Claimed | Warm) => Ready
    pub(super) fn became_ready(&mut self, name: &Name, specialize: Duration) {
        let Some(instance) = self.instances.get_mut(name) else { return };
        let Some(revision) = instance.revision.clone() else { return };
        if instance.phase == Phase::Ready {
            // It came back: where it serves may have changed.
            self.dirty.insert(revision.clone());
            return self.look_at(&revision);
        }
        let clock = instance.start;
        if let Some(clock) = clock {
            instance.start_took = self.now.saturating_sub(clock.asked);
        }
        let total = instance.start_took;
        self.enter(name, Phase::Ready, "it is ready");
        if let Some(StartClock { kind: start, boot, .. }) = clock {
            let (revision, instance) = (revision.to_string(), name.to_string());
            self.started(ColdStart { revision, instance, start, total, boot, specialize });
        }
        self.look_at(&revision);
    }

    fn started(&mut self, cold_start: ColdStart) {
        if let Some(revision) = self.revisions.get_mut(cold_start.revision.as_str()) {
            let of_all = self.usual_starts.of(cold_start.start);
            revision.usual_starts.learn(cold_start.start, cold_start.total, of_all);
        }
        self.usual_starts.learn(cold_start.start, cold_start.total, None);
        self.cold_starts.record(&cold_start);
        self.note(Fact::ColdStart(cold_start));
    }
}
