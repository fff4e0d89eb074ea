//! All that the autoscaler knows, and every decision that it takes: a function of what happened and when.
//!
//! One event is one turn: it changes the state, then everything that follows from it is done in the same turn, so that
//! a wake leaves as an order to a warm instance and a ready instance leaves as an endpoint without waiting for a tick.
//! In the order of the data:
//!
//! - [`streams`] learns who is at the other end of a stream; [`messages`] reads what they say.
//! - [`demand`] keeps reports, [`observe`] sums them up for one revision, beside [`usual`] starts.
//! - [`capacity`] decides and compares with what there is: [`claims`] and [`starts`] give more, [`withdrawal`] less.
//! - [`endpoints`] tells activators; [`prepare`] tells warm instances what to hold ready.
//! - [`lifecycle`] moves one instance from state to state; [`timers`] bring back what waits.
//! - [`backoff`] spaces out failures; [`explain`] and [`view`] show what happened and what is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use wisp_api::RevisionKey;

use crate::actuation::Actuation;
use crate::config::Settings;
use crate::event::{Effect, Event, Fact, StreamId};
use crate::snapshot::ColdStarts;

use demand::Activator;
use instance::Instance;
use prepare::Shelf;
use revision::Revision;
use timers::{Timer, Timers};
use usual::UsualStarts;

mod backoff;
mod capacity;
mod claims;
mod demand;
mod endpoints;
mod explain;
mod instance;
mod lifecycle;
mod messages;
mod observe;
mod prepare;
mod revision;
mod starts;
mod streams;
mod timers;
mod usual;
mod view;
mod withdrawal;

#[cfg(test)]
mod claims_property;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

/// The name of a revision (`<namespace>/<name>`), an instance or an activator, as it is on the wire. Shared, because
/// the indexes below name the same things.
type Name = Arc<str>;

/// The state, and what is left to do in this turn.
pub(crate) struct Fleet {
    settings: Settings,
    // Time of this turn, since the origin.
    now: Duration,
    // Time of the origin, since the Unix epoch.
    origin: Duration,
    // Until hosts had time to report, the fleet may be larger than it looks.
    settling: bool,

    revisions: HashMap<Name, Revision>,
    instances: HashMap<Name, Instance>,
    activators: BTreeMap<Name, Activator>,
    streams: HashMap<StreamId, Owner>,
    // Instances by revision, those of unknown revisions too.
    members: HashMap<Name, BTreeSet<Name>>,
    warm: BTreeSet<Name>,
    // Revisions that would take a warm instance if there were one.
    short: BTreeSet<Name>,
    shelf: Shelf,
    timers: Timers,
    cold_starts: ColdStarts,
    // Of all revisions.
    usual_starts: UsualStarts,

    // The last endpoints update.
    sequence: u64,
    // Revisions whose endpoints changed since then.
    dirty: BTreeSet<Name>,
    // Revisions that an update has named while the fleet was settling.
    named: BTreeSet<Name>,
    // Instances that activators have yet to let go.
    withdrawing: BTreeSet<Name>,
    // Revisions to decide on in this turn.
    pending: BTreeSet<Name>,
    warm_changed: bool,
    out: Vec<Effect>,
}

/// Whose stream it is.
#[derive(Clone, Debug)]
enum Owner {
    Activator(Name),
    Instance(Name),
}

impl Fleet {
    /// A fleet that knows nothing yet. `origin` is the time since the Unix epoch at which event times begin.
    pub(crate) fn new(settings: Settings, origin: Duration) -> Self {
        let settling = !settings.settle.is_zero();
        let mut timers = Timers::default();
        timers.set(Timer::Settle, settling.then_some(settings.settle));
        let shelf = Shelf::new(&settings);
        let usual_starts = UsualStarts::expected(&settings);
        Self {
            settings,
            now: Duration::ZERO,
            origin,
            settling,
            revisions: HashMap::new(),
            instances: HashMap::new(),
            activators: BTreeMap::new(),
            streams: HashMap::new(),
            members: HashMap::new(),
            warm: BTreeSet::new(),
            short: BTreeSet::new(),
            shelf,
            timers,
            cold_starts: ColdStarts::default(),
            usual_starts,
            sequence: 0,
            dirty: BTreeSet::new(),
            named: BTreeSet::new(),
            withdrawing: BTreeSet::new(),
            pending: BTreeSet::new(),
            warm_changed: true,
            out: Vec::new(),
        }
    }

    /// One turn: takes what happened at `now`, and gives what is to be done, in order.
    pub(crate) fn apply(&mut self, event: Event, now: Duration) -> Vec<Effect> {
        self.now = self.now.max(now);
        match event {
            Event::Tick => {}
            Event::Apply(checked) => self.apply_revision(*checked),
            Event::Delete(key) => self.delete_revision(&key),
            Event::Expected { instance, token, revision } => self.expect(&instance, token, revision.as_ref()),
            Event::Exited { instance, cause } => self.exited(&instance, &cause),
            Event::StartFailed { revision, reason, message } => self.start_failed(&revision, reason, message),
            Event::Opened(stream) => self.opened(stream),
            Event::Activator(stream, message) => self.activator_said(stream, message),
            Event::Instance(stream, message) => self.instance_said(stream, message),
            Event::Closed(stream) => self.closed(stream),
        }
        self.run_timers();
        self.finish_turn();
        std::mem::take(&mut self.out)
    }

    /// When something is due though nothing happens.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.timers.next()
    }

    /// Corrects the time of the origin: the wall clock may be set, and a laptop may sleep.
    pub(crate) fn set_origin(&mut self, origin: Duration) {
        self.origin = origin;
    }

    fn run_timers(&mut self) {
        while let Some(timer) = self.timers.pop(self.now) {
            match timer {
                Timer::Hello(stream) => self.refuse_silent(stream),
                Timer::Activator(name) => self.activator_silent(&name),
                Timer::Instance(name) => self.instance_overdue(&name),
                Timer::Revision(name) => self.look_at(&name),
                Timer::Replace => self.warm_changed = true,
                Timer::Prepare => self.prepare(),
                Timer::Settle => self.settled(),
            }
        }
    }

    // Endpoints go first and again last: a new one is not to wait for a decision, and a decision may withdraw one.
    fn finish_turn(&mut self) {
        self.publish();
        while let Some(revision) = self.pending.pop_first() {
            self.decide(&revision);
        }
        self.publish();
        self.release_withdrawn();
        if std::mem::take(&mut self.warm_changed) && self.settings.warm_instances > 0 {
            let count = self.settings.warm_instances;
            self.out.push(Effect::Actuate(Actuation::Warm { namespace: None, count }));
        }
    }

    /// Decides on a revision in this turn.
    fn look_at(&mut self, revision: &Name) {
        if self.revisions.contains_key(revision) {
            self.pending.insert(revision.clone());
        }
    }

    fn look_at_all_with_instances(&mut self) {
        let populated: Vec<Name> = self.members.keys().cloned().collect();
        populated.iter().for_each(|revision| self.look_at(revision));
    }

    // Settling => Settled
    fn settled(&mut self) {
        self.settling = false;
        self.named.clear();
        self.publish_everything();
        let all: Vec<Name> = self.revisions.keys().cloned().collect();
        self.pending.extend(all);
    }

    fn note(&mut self, fact: Fact) {
        self.out.push(Effect::Note(fact));
    }
}

/// The name on the wire.
fn name_of(key: &RevisionKey) -> Name {
    Name::from(key.to_string())
}
