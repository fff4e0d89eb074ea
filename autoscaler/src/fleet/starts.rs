//! New instances: asked for, expected, failed.

use std::time::Duration;

use wisp_api::RevisionKey;
use wisp_api::wire::{DemandDown, InstanceFailed, StartFailed, demand_down};
use wisp_scaling::Observation;

use super::backoff::{Allowance, Answer, Failure};
use super::instance::{Phase, StartClock, Withdrawal};
use super::revision::Revision;
use super::{Fleet, Name, name_of};
use crate::actuation::Actuation;
use crate::event::{Effect, Fact, StartKind};

impl Fleet {
    pub(super) fn request_start(&mut self, name: &Name, count: u32) {
        let now = self.now;
        let Some(revision) = self.revisions.get_mut(name) else { return };
        revision.requested.extend((0..count).map(|_| now));
        let revision = revision.record.key.clone();
        self.out.push(Effect::Actuate(Actuation::Start { revision, count }));
    }

    /// Somebody started an instance. To a new leader its revision may have yet to come.
    pub(super) fn expect(&mut self, instance: &str, token: String, revision: Option<&RevisionKey>) {
        let (name, revision) = (Name::from(instance), revision.map(name_of));
        let is_new = !self.instances.contains_key(&name);
        if is_new {
            self.insert(&name, "it was started");
        }
        if let Some(known) = self.instances.get_mut(&name).filter(|_| !token.is_empty()) {
            known.token = Some(token);
        }
        let Some(revision) = revision else { return };
        // One that is announced again, with another token, answers no second request.
        let asking = self.revisions.get_mut(&revision).filter(|_| is_new);
        let asked = asking.and_then(|known| known.requested.pop_front());
        if self.instances[&name].revision.is_none() {
            self.assign(&name, &revision);
        }
        if let (Some(known), Some(asked)) = (self.instances.get_mut(&name), asked) {
            known.start = Some(StartClock { asked, kind: StartKind::Fresh, boot: Duration::ZERO });
        }
        if self.revisions.contains_key(&revision) {
            self.look_at(&revision);
        } else if self.settings.settle.is_zero() {
            // No instance is older than the catalog: its revision was deleted while it was started.
            self.dismiss(&name, Withdrawal::Deleted);
        }
    }

    /// An instance is gone.
    pub(super) fn exited(&mut self, instance: &str, cause: &str) {
        let name = Name::from(instance);
        let Some(known) = self.instances.get(&name) else { return };
        let failure = match known.phase {
            Phase::Expected | Phase::Claimed => {
                let message = format!("instance {instance} ended before it was ready ({cause}); see its log");
                Some(Failure::Vanished(Answer { reason: "InstanceExited".into(), message }))
            }
            Phase::Ready => Some(Failure::Crashed),
            _ => None,
        };
        if let (Some(failure), Some(revision)) = (failure, known.revision.clone()) {
            self.failed(&revision, failure);
        }
        self.remove(&name, cause);
    }

    /// Nobody could start an instance.
    pub(super) fn start_failed(&mut self, key: &RevisionKey, reason: String, message: String) {
        let name = name_of(key);
        if let Some(revision) = self.revisions.get_mut(&name) {
            revision.requested.pop_front();
            self.failed(&name, Failure::NoStart(Answer { reason, message }));
        }
    }

    // (Expected | Claimed) => Stopping, or Expected => Expected for want of what its revision lacks
    pub(super) fn start_overdue(&mut self, name: &Name) {
        let Some(instance) = self.instances.get(name) else { return };
        if instance.phase == Phase::Expected && instance.revision.as_ref().is_some_and(|held| self.is_lacking(held)) {
            return self.enter(name, Phase::Expected, "its revision still lacks something");
        }
        if let Some(revision) = instance.revision.clone() {
            let message = format!("instance {name} did not become ready in time; see its log");
            self.failed(&revision, Failure::Vanished(Answer { reason: "StartTimeout".into(), message }));
        }
        self.stop(name, "it did not become ready in time");
    }

    // (Expected | Claimed) => Stopping
    pub(super) fn start_refused(&mut self, name: &Name, failed: InstanceFailed) {
        let Some(instance) = self.instances.get(name) else { return };
        let cause = format!("{}: {}", failed.reason, failed.message);
        if let Some(revision) = instance.revision.clone() {
            let answer = Answer { reason: failed.reason, message: failed.message };
            self.failed(&revision, Failure::Refused(answer));
        }
        self.stop(name, &cause);
    }

    /// Gives up on starts that nobody has answered.
    pub(super) fn expire_requests(&mut self, name: &Name) {
        let Some(revision) = self.revisions.get_mut(name) else { return };
        let deadline = self.settings.start_deadline;
        let mut expired = false;
        while revision.requested.front().is_some_and(|asked| *asked + deadline <= self.now) {
            revision.requested.pop_front();
            expired = true;
        }
        if expired {
            let message = format!("no instance of {name} appeared within {deadline:?}; is there room for one?");
            self.failed(name, Failure::NoStart(Answer { reason: "StartTimeout".into(), message }));
        }
    }

    pub(super) fn failed(&mut self, name: &Name, failure: Failure) {
        let now = self.now;
        let Some(revision) = self.revisions.get_mut(name) else { return };
        if let Failure::Refused(answer) | Failure::NoStart(answer) | Failure::Vanished(answer) = &failure {
            let Answer { reason, message } = answer.clone();
            self.out.push(Effect::Note(Fact::StartFailed { revision: name.to_string(), reason, message }));
        }
        revision.backoff.get_or_insert_default().record(failure, now);
        self.look_at(name);
    }

    pub(super) fn allowance(&self, name: &Name) -> Allowance {
        let backoff = self.revisions.get(name).and_then(|revision| revision.backoff.as_ref());
        backoff.map_or(Allowance::All, |backoff| backoff.allowance(self.now))
    }

    pub(super) fn is_lacking(&self, name: &Name) -> bool {
        self.revisions.get(name).is_some_and(Revision::is_lacking)
    }

    /// Tells those who wait that it is in vain, unless something may still come for them.
    pub(super) fn answer_waiting(&mut self, name: &Name, seen: &Observation, answer: Option<Answer>) {
        let Some(Answer { reason, message }) = answer else { return };
        let now = self.observe(name);
        // What waits for the same thing is no hope.
        let is_coming = now.starting > 0 && !self.is_lacking(name);
        if seen.waiting == 0 || now.ready > 0 || is_coming {
            return;
        }
        let failed = StartFailed { revision: name.to_string(), reason, message };
        let message = DemandDown { message: Some(demand_down::Message::StartFailed(failed)) };
        for activator in self.activators.values_mut() {
            if let Some(stream) = activator.stream
                && activator.answered(name)
            {
                self.out.push(Effect::ToActivator(stream, message.clone()));
            }
        }
    }
}
