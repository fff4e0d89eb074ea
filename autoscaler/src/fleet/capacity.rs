//! Decides on one revision and brings what there is to what there should be.

use std::time::Duration;

use wisp_scaling::{Candidate, Observation, Reason, victims};

use super::backoff::{Allowance, Answer};
use super::instance::{Phase, Withdrawal};
use super::revision::{Last, Revision};
use super::timers::Timer;
use super::{Fleet, Name};
use crate::actuation::Actuation;
use crate::event::{Effect, Fact};

/// Reports lose their worth without anybody saying so: a revision with demand is looked at again after this long.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The wall clock may be set: a schedule is looked at this often at least.
const SCHEDULE_LOOK: Duration = Duration::from_secs(60);

/// How a revision's number compares with what it has.
enum Balance {
    Even,
    Lacks(u32),
    Exceeds(usize),
}

impl Fleet {
    /// One decision, and all that follows from it.
    pub(super) fn decide(&mut self, name: &Name) {
        self.expire_requests(name);
        let seen = self.observe(name);
        // While hosts have yet to report, only a queue proves that something is missing.
        if self.settling && seen.waiting == 0 {
            return;
        }
        let (now, wall) = (self.now, self.wall());
        // On a cluster the number alone makes new instances.
        let most = self.is_lacking(name).then(|| {
            let present = seen.ready.saturating_add(seen.starting);
            present.saturating_add(self.on_their_way_out(name))
        });
        let Some(revision) = self.revisions.get_mut(name) else { return };
        revision.follow_schedule(wall);
        let mut decision = revision.decider(now, wall).decide(now, &seen);
        if let Some(most) = most.filter(|most| decision.replicas > *most) {
            (decision.replicas, decision.reason) = (most, Reason::Lacking);
        }
        let last = Last { replicas: decision.replicas, reason: decision.reason };
        let before = revision.last.replace(last);
        // Most revisions begin at zero, and stay there: that is not worth telling, nor keeping.
        if before.map_or(last.replicas > 0, |before| before != last) {
            let from = before.map_or(0, |before| before.replicas);
            self.explain(name, from, decision);
            self.note(Fact::Decision { revision: name.to_string(), from, to: last.replicas, reason: last.reason });
        }
        if seen.demand() > 0 {
            self.demanded(name);
        }
        match self.balance(name, last.replicas, &seen) {
            Balance::Even => {
                self.short.remove(name);
            }
            Balance::Lacks(count) => self.add(name, count, &seen),
            Balance::Exceeds(_) if self.settling => {}
            Balance::Exceeds(count) => self.reduce(name, count),
        }
        if before.is_none_or(|before| before.replicas != last.replicas) {
            self.actuate_scale(name, last.replicas);
        }
        if most.is_some() && !self.settling {
            self.answer_waiting(name, &seen, Some(lacking()));
        }
        self.set_next_look(name, &seen);
    }

    fn balance(&self, name: &Name, wanted: u32, seen: &Observation) -> Balance {
        let have = seen.ready.saturating_add(seen.starting);
        if have < wanted {
            return Balance::Lacks(wanted - have);
        }
        // A request for a start cannot be called back: the instance is dismissed when it is heard of.
        let requested = self.revisions.get(name).map_or(0, |revision| revision.requested.len());
        let present = (have as usize).saturating_sub(requested);
        match present.saturating_sub(wanted as usize) {
            0 => Balance::Even,
            surplus => Balance::Exceeds(surplus),
        }
    }

    // In this order: what is still there costs nothing, what is warm costs little, what is new costs most.
    fn add(&mut self, name: &Name, count: u32, seen: &Observation) {
        let mut missing = count.saturating_sub(self.take_back(name, count));
        let allowance = self.allowance(name);
        if !matches!(allowance, Allowance::Nothing { .. }) {
            while missing > 0 && self.claim(name) {
                missing -= 1;
            }
        }
        self.short.remove(name);
        if missing == 0 {
            return;
        }
        self.short.insert(name.clone());
        match allowance {
            Allowance::All => {
                self.short.remove(name);
                self.request_start(name, missing);
            }
            Allowance::ClaimsOnly { answer, .. } => self.answer_waiting(name, seen, Some(answer)),
            Allowance::Nothing { answer, .. } => self.answer_waiting(name, seen, answer),
        }
    }

    fn reduce(&mut self, name: &Name, count: usize) {
        self.short.remove(name);
        let mut names = Vec::new();
        let mut candidates = Vec::new();
        for member in self.members.get(name).into_iter().flatten() {
            let Some(instance) = self.instances.get(member) else { continue };
            if instance.phase != Phase::Ready && !instance.is_starting() {
                continue;
            }
            names.push(member.clone());
            candidates.push(Candidate {
                ready: instance.phase == Phase::Ready,
                in_flight: instance.report.map_or(0, |report| report.in_flight(self.now)),
                // Where instances run is not known here.
                node_load: 0,
                age: self.now.saturating_sub(instance.born),
            });
        }
        for place in victims(&candidates, count) {
            self.dismiss(&names[place].clone(), Withdrawal::ScaleDown);
        }
    }

    fn actuate_scale(&mut self, name: &Name, replicas: u32) {
        if let Some(revision) = self.revisions.get(name) {
            let revision = revision.record.key.clone();
            self.out.push(Effect::Actuate(Actuation::Scaled { revision, replicas }));
        }
    }

    // Sets the timer for the first thing that can change the decision without an event; an idle revision has none.
    fn set_next_look(&mut self, name: &Name, seen: &Observation) {
        let wall = self.wall();
        let Some(revision) = self.revisions.get(name) else { return };
        let schedule = revision.schedule_changes(wall).map(|at| {
            let wait = Duration::try_from(at.duration_since(wall)).unwrap_or(SCHEDULE_LOOK);
            self.now + wait.min(SCHEDULE_LOOK)
        });
        let overdue = revision.requested.front().map(|asked| *asked + self.settings.start_deadline);
        let retry = match (self.short.contains(name), self.allowance(name)) {
            (true, Allowance::ClaimsOnly { until, .. } | Allowance::Nothing { until, .. }) => Some(until),
            _ => None,
        };
        let stale = (seen.demand() > 0).then_some(self.now + LOOK_AGAIN);
        let decider = revision.decider.as_ref().and_then(|decider| decider.next_due(self.now, seen));
        let next = [decider, schedule, overdue, retry, stale].into_iter().flatten().min();
        // A look in the same instant would be the same look.
        let next = next.map(|at| at.max(self.now + Duration::from_millis(1)));
        self.timers.set(Timer::Revision(name.clone()), next);
        let is_asleep = next.is_none() && seen.demand() == 0 && seen.ready == 0 && seen.starting == 0;
        let may_forget = |revision: &&mut Revision| is_asleep && revision.wanted() == 0 && !revision.is_lacking();
        if let Some(revision) = self.revisions.get_mut(name).filter(may_forget) {
            revision.decider = None;
        }
    }
}

fn lacking() -> Answer {
    let message = "its environment names a Secret or ConfigMap that is not there, or not all of it is; see its events";
    Answer { reason: "SourceMissing".into(), message: message.into() }
}
