//! The events of a simulation, in their order.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use super::Model;
use super::fleet::{Fleet, InstanceId};
use super::report::{Point, Report, Waits};
use super::trace::{Trace, exponential};
use crate::decider::Decider;
use crate::decision::Decision;
use crate::observation::{Observation, StartInProgress};
use crate::policy::{IDLE_MAX, Policy};

/// How often a busy revision is reported on, as activators and hosts do.
const REPORT_PERIOD: Duration = Duration::from_millis(250);

/// Over how long arrivals are counted for the rate.
const RATE_SPAN: Duration = Duration::from_secs(1);

/// Time after the last arrival at which a simulation is cut off: longer than any idle time and window.
const QUIET_MAX: Duration = IDLE_MAX.saturating_mul(2);

/// Runs `trace` against instances that behave like `model`, scaled by `policy`.
#[must_use]
pub fn simulate(policy: &Policy, model: &Model, trace: &Trace) -> Report {
    let mut run = Run::new(policy, model);
    let cut_off = trace.arrivals().last().copied().unwrap_or_default() + QUIET_MAX;
    let mut arrivals = trace.arrivals().iter().copied().peekable();
    run.decide();
    loop {
        let event_at = run.events.peek().map(|Reverse((at, _, _))| *at);
        match (arrivals.peek().copied(), event_at) {
            (Some(at), None) => run.arrive(at),
            (Some(at), Some(event_at)) if at <= event_at => run.arrive(at),
            (_, Some(event_at)) if event_at <= cut_off => {
                run.next_event();
                continue;
            }
            _ => break,
        }
        arrivals.next();
    }
    run.report(trace, model.seed)
}

/// Ordered by time and then by number, so that one seed gives one order.
type Entry = Reverse<(Duration, u64, Event)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Started(InstanceId),
    Finished(InstanceId),
    /// The next report, or what the decider asked for.
    Look,
}

struct Run<'a> {
    model: &'a Model,
    decider: Decider,
    random: fastrand::Rng,
    fleet: Fleet,
    events: BinaryHeap<Entry>,
    events_made: u64,
    now: Duration,
    /// When the next look is due; a look at another time is out of date.
    look_at: Option<Duration>,
    waiting: VecDeque<Duration>,
    in_flight: u32,
    recent: VecDeque<Duration>,
    replicas: u32,
    // What the report needs.
    waits: Vec<Duration>,
    points: Vec<Point>,
    served: usize,
    cold_starts: usize,
    decisions: usize,
    instance_seconds: f64,
}

impl<'a> Run<'a> {
    fn new(policy: &Policy, model: &'a Model) -> Self {
        Self {
            model,
            decider: Decider::new(policy.clone(), Duration::ZERO),
            random: fastrand::Rng::with_seed(model.seed),
            fleet: Fleet::default(),
            events: BinaryHeap::new(),
            events_made: 0,
            now: Duration::ZERO,
            look_at: None,
            waiting: VecDeque::new(),
            in_flight: 0,
            recent: VecDeque::new(),
            replicas: 0,
            waits: Vec::new(),
            points: Vec::new(),
            served: 0,
            cold_starts: 0,
            decisions: 0,
            instance_seconds: 0.0,
        }
    }

    fn arrive(&mut self, at: Duration) {
        self.pass_time(at);
        self.recent.push_back(at);
        let capacity_zero = self.fleet.ready() == 0;
        if capacity_zero {
            self.cold_starts += 1;
        }
        let edge = self.in_flight == 0 || self.waiting.is_empty();
        self.waiting.push_back(at);
        self.serve();
        // Reports go out at once on edges; the rest is in the next periodic one.
        let tells = capacity_zero || (edge && (self.in_flight == 1 || !self.waiting.is_empty()));
        if tells {
            self.decide();
        }
    }

    fn next_event(&mut self) {
        let Some(Reverse((at, _, event))) = self.events.pop() else { return };
        match event {
            Event::Look if self.look_at != Some(at) => {}
            Event::Look => {
                self.pass_time(at);
                self.decide();
            }
            Event::Started(id) => {
                self.pass_time(at);
                self.fleet.make_ready(id);
                self.serve();
                self.decide();
            }
            Event::Finished(id) => {
                self.pass_time(at);
                self.finish(id);
            }
        }
    }

    fn finish(&mut self, id: InstanceId) {
        let existed = self.fleet.len();
        self.fleet.give_back(id);
        self.in_flight -= 1;
        self.served += 1;
        self.serve();
        if self.in_flight == 0 || self.fleet.len() != existed {
            self.decide();
        }
    }

    fn serve(&mut self) {
        while !self.waiting.is_empty() {
            let Some(id) = self.fleet.take_slot(self.decider.policy().slots) else { return };
            if let Some(arrived) = self.waiting.pop_front() {
                self.waits.push(self.now - arrived);
            }
            self.in_flight += 1;
            let takes = exponential(&mut self.random, self.model.service);
            self.schedule(takes, Event::Finished(id));
        }
    }

    fn decide(&mut self) {
        let seen = self.observe();
        let decision = self.decider.decide(self.now, &seen);
        self.decisions += 1;
        if decision.replicas != self.replicas {
            self.note(&decision);
        }
        self.actuate(decision.replicas);
        let busy = self.in_flight > 0 || !self.waiting.is_empty();
        let report = busy.then(|| self.now + REPORT_PERIOD);
        let seen = self.observe();
        let due = self.decider.next_due(self.now, &seen);
        self.look_at = [report, due].into_iter().flatten().min();
        if let Some(at) = self.look_at {
            self.schedule(at - self.now, Event::Look);
        }
    }

    fn actuate(&mut self, replicas: u32) {
        let before = self.fleet.ready();
        let there = before + self.fleet.starting();
        for _ in there..replicas {
            let id = self.fleet.start(self.now);
            let takes = self.model.start.mul_f64(0.5 + self.random.f64());
            self.schedule(takes, Event::Started(id));
        }
        if there > replicas {
            self.fleet.drain((there - replicas) as usize, self.now);
            // Fewer instances are an event of their own: the rates count from what is ready.
            if self.fleet.ready() != before {
                self.decide();
            }
        }
    }

    fn observe(&mut self) -> Observation {
        while self.recent.front().is_some_and(|at| *at + RATE_SPAN <= self.now) {
            self.recent.pop_front();
        }
        Observation {
            waiting: u32::try_from(self.waiting.len()).unwrap_or(u32::MAX),
            in_flight: self.in_flight,
            rps: self.recent.len() as f64 / RATE_SPAN.as_secs_f64(),
            cpu: f64::from(self.in_flight) * self.model.cpu_per_request,
            ready: self.fleet.ready(),
            starting: self.fleet.starting(),
            unannounced: false,
            out_of_touch: false,
            slowest_start: self
                .fleet
                .oldest_start()
                .map(|since| StartInProgress { age: self.now - since, usual: self.model.start }),
            usual_start: self.model.start,
        }
    }

    fn note(&mut self, decision: &Decision) {
        self.replicas = decision.replicas;
        self.points.push(Point {
            at_seconds: self.now.as_secs_f64(),
            replicas: decision.replicas,
            demand: decision.inputs.waiting.saturating_add(decision.inputs.in_flight),
            reason: decision.reason,
        });
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.events_made += 1;
        self.events.push(Reverse((self.now + after, self.events_made, event)));
    }

    fn pass_time(&mut self, now: Duration) {
        self.instance_seconds += (now - self.now).as_secs_f64() * self.fleet.len() as f64;
        self.now = now;
    }

    fn report(self, trace: &Trace, seed: u64) -> Report {
        Report {
            seed,
            requests: trace.arrivals().len(),
            served: self.served,
            cold_starts: self.cold_starts,
            instances_started: self.fleet.started(),
            peak_replicas: self.points.iter().map(|point| point.replicas).max().unwrap_or(0),
            replicas: self.points,
            waits: Waits::of(self.waits),
            instance_hours: self.instance_seconds / 3600.0,
            decisions: self.decisions,
            end_seconds: self.now.as_secs_f64(),
        }
    }
}
