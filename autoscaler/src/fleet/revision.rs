//! One revision, and how the catalog changes.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use wisp_api::RevisionKey;
use wisp_scaling::schedule::{effective_min, next_change};
use wisp_scaling::{Decider, Policy, Reason};

use super::backoff::BackOff;
use super::explain::History;
use super::instance::Withdrawal;
use super::timers::Timer;
use super::usual::UsualStarts;
use super::{Fleet, Name, name_of};
use crate::catalog::{Checked, Start, Traffic};

/// One revision. There may be thousands at zero, so what only a busy one needs is behind a box.
pub(super) struct Revision {
    /// What the catalog says.
    pub(super) record: Checked,
    /// Decides; `None` while the revision is at zero and nothing of the past matters. See [`Revision::decider`].
    pub(super) decider: Option<Box<Decider>>,
    /// The last decision.
    pub(super) last: Option<Last>,
    /// When instances were asked for that have not been heard of.
    pub(super) requested: VecDeque<Duration>,
    /// Starts that failed of late.
    pub(super) backoff: Option<Box<BackOff>>,
    /// What its starts take.
    pub(super) usual_starts: UsualStarts,
    /// The endpoints update that named its endpoints last.
    pub(super) announced: u64,
    /// Decisions of the past.
    pub(super) history: Option<Box<History>>,
}

/// The last decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Last {
    pub(super) replicas: u32,
    pub(super) reason: Reason,
}

impl Revision {
    fn new(record: Checked) -> Self {
        Self {
            record,
            decider: None,
            last: None,
            requested: VecDeque::new(),
            backoff: None,
            usual_starts: UsualStarts::default(),
            announced: 0,
            history: None,
        }
    }

    /// What decides. A revision that comes from zero gets a new one: at zero the windows are empty anyway, and the
    /// memory of thousands that sleep is saved.
    pub(super) fn decider(&mut self, now: Duration, wall: Timestamp) -> &mut Decider {
        let is_new = self.last.is_none();
        self.decider.get_or_insert_with(|| {
            let policy = policy(&self.record, wall);
            let initial = if is_new { policy.initial } else { 0 };
            Box::new(Decider::new(Policy { initial, ..policy }, now))
        })
    }

    /// The policy that holds at `wall`, put in force.
    pub(super) fn follow_schedule(&mut self, wall: Timestamp) {
        if let (Some(decider), false) = (&mut self.decider, self.record.windows.is_empty()) {
            decider.set_policy(policy(&self.record, wall));
        }
    }

    /// When the schedule changes the policy again.
    pub(super) fn schedule_changes(&self, wall: Timestamp) -> Option<Timestamp> {
        next_change(&self.record.windows, wall)
    }

    pub(super) fn request_timeout(&self) -> Option<Duration> {
        let limits = self.record.spec.limits.as_ref()?;
        (limits.timeout_millis > 0).then(|| Duration::from_millis(limits.timeout_millis))
    }

    pub(super) fn digest(&self) -> Option<&str> {
        self.record.spec.artifact.as_ref().map(|artifact| artifact.digest.as_str())
    }

    /// True while it cannot be started, until something is there that it needs.
    pub(super) fn is_lacking(&self) -> bool {
        self.record.lacks.is_some()
    }

    pub(super) fn wanted(&self) -> u32 {
        self.last.map_or(0, |last| last.replicas)
    }

    /// True when warm instances should hold its code ready.
    pub(super) fn wants_preparing(&self) -> bool {
        self.record.start == Start::Warm && self.record.traffic == Traffic::Active
    }
}

fn policy(record: &Checked, wall: Timestamp) -> Policy {
    let policy = record.policy.clone();
    match record.traffic {
        Traffic::Inactive => Policy { min: 0, initial: 0, ..policy },
        Traffic::Active => {
            let min = policy.min.max(effective_min(&record.windows, wall)).min(policy.max);
            Policy { min, ..policy }
        }
    }
}

impl Fleet {
    pub(super) fn apply_revision(&mut self, record: Checked) {
        let (name, wall) = (name_of(&record.key), self.wall());
        if let Some(revision) = self.revisions.get_mut(&name) {
            if revision.wants_preparing() {
                self.shelf.remove(&revision.record);
            }
            revision.record = record;
            if let Some(decider) = &mut revision.decider {
                decider.set_policy(policy(&revision.record, wall));
            }
        } else {
            self.revisions.insert(name.clone(), Revision::new(record));
        }
        self.meet_members(&name);
        let revision = &self.revisions[&name];
        if revision.wants_preparing() {
            self.shelf.add(&revision.record);
        }
        self.prepare_soon();
        self.look_at(&name);
    }

    // Its instances may have connected before the catalog came, or before it could say all.
    fn meet_members(&mut self, name: &Name) {
        let members: Vec<Name> = self.members.get(name).into_iter().flatten().cloned().collect();
        let timeout = self.revisions[name].request_timeout();
        for member in &members {
            let Some(instance) = self.instances.get_mut(member) else { continue };
            instance.request_timeout = timeout.unwrap_or(instance.request_timeout);
            if instance.awaits_order() {
                // Nobody could have been faster.
                instance.born = self.now;
                self.specialize(member);
            } else {
                self.set_deadline(member);
            }
        }
    }

    pub(super) fn delete_revision(&mut self, key: &RevisionKey) {
        let name = name_of(key);
        let Some(revision) = self.revisions.remove(&name) else { return };
        if revision.wants_preparing() {
            self.shelf.remove(&revision.record);
            self.prepare_soon();
        }
        self.short.remove(&name);
        self.pending.remove(&name);
        self.timers.set(Timer::Revision(name.clone()), None);
        self.activators.values_mut().for_each(|activator| activator.forget(&name));
        let members: Vec<Name> = self.members.get(&name).into_iter().flatten().cloned().collect();
        members.iter().for_each(|member| self.dismiss(member, Withdrawal::Deleted));
    }

    /// The wall clock of this turn.
    pub(super) fn wall(&self) -> Timestamp {
        let since_epoch = self.origin + self.now;
        Timestamp::UNIX_EPOCH.checked_add(since_epoch).unwrap_or(Timestamp::MAX)
    }
}
