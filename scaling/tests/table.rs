//! Decisions by example. Where the formula is Knative's, so are the numbers.

use std::time::Duration;

use wisp_scaling::schedule::{Window, effective_min, next_change};
use wisp_scaling::{Candidate, Decider, Decision, Metric, Observation, Policy, Reason, victims};

/// A revision in a story: its decider, the time, and what is to be seen of it.
struct Revision {
    decider: Decider,
    now: Duration,
    seen: Observation,
}

fn seconds(value: f64) -> Duration {
    Duration::from_secs_f64(value)
}

fn revision(policy: Policy) -> Revision {
    let policy = policy.validate().expect("the policy is valid");
    let seen = Observation { usual_start: Duration::from_millis(4), ..Observation::default() };
    Revision { decider: Decider::new(policy, seconds(1000.0)), now: seconds(1000.0), seen }
}

impl Revision {
    fn with_ready(mut self, ready: u32) -> Self {
        self.seen.ready = ready;
        self
    }

    fn with_in_flight(mut self, in_flight: u32) -> Self {
        self.seen.in_flight = in_flight;
        self
    }

    fn with_waiting(mut self, waiting: u32) -> Self {
        self.seen.waiting = waiting;
        self
    }

    fn decide(&mut self) -> Decision {
        self.decider.decide(self.now, &self.seen)
    }

    /// Decides every two seconds, as Knative does, with as many instances ready as were wanted.
    fn runs_for(&mut self, length: f64) -> Decision {
        let end = self.now + seconds(length);
        let mut decision = self.decide();
        while self.now < end {
            self.seen.ready = decision.replicas;
            self.now = end.min(self.now + seconds(2.0));
            decision = self.decide();
        }
        decision
    }

    /// The same with the number of ready instances as it is.
    fn stays_for(&mut self, length: f64) -> Decision {
        let end = self.now + seconds(length);
        while self.now < end {
            self.decide();
            self.now = end.min(self.now + seconds(2.0));
        }
        self.decide()
    }
}

fn outcome(decision: &Decision) -> (u32, Reason) {
    (decision.replicas, decision.reason)
}

/// Ten requests an instance, and room for many more.
fn ten_each() -> Policy {
    Policy { target: 10.0, max: 1000, ..Policy::default() }
}

#[test]
fn a_steady_average_is_divided_by_the_target() {
    // (name, in flight, target, ready, instances, reason)
    let table = [
        ("exactly one", 70, 70.0, 1, 1, Reason::Stable),
        ("one too many", 71, 70.0, 1, 2, Reason::Stable),
        ("exactly ten", 100, 10.0, 10, 10, Reason::Stable),
        ("a tenth each", 1, 0.1, 6, 10, Reason::Stable),
        ("more than max", 30_000, 10.0, 1600, 1000, Reason::AtMax),
        ("half at most goes at once", 10, 10.0, 9, 4, Reason::RateDown),
        ("one of two goes", 1, 10.0, 2, 1, Reason::Stable),
    ];
    for (name, in_flight, target, ready, instances, reason) in table {
        let policy = Policy { target, max: 1000, ..Policy::default() };
        let mut revision = revision(policy).with_ready(1).with_in_flight(in_flight);
        revision.decide();
        revision.seen.ready = ready;
        // Panic, where there was any, ends one window after it.
        let decision = revision.stays_for(180.0);
        assert_eq!(outcome(&decision), (instances, reason), "{name}: {:?}", decision.inputs);
    }
}

#[test]
fn each_metric_counts_by_itself() {
    let seen = Observation { in_flight: 5, rps: 420.0, cpu: 2.1, ready: 3, ..Observation::default() };
    // (metric, target, instances)
    let table = [(Metric::Concurrency, 5.0, 1), (Metric::Rps, 140.0, 3), (Metric::Cpu, 0.7, 3), (Metric::Cpu, 0.5, 5)];
    for (metric, target, instances) in table {
        let mut revision = revision(Policy { metric, target, ..Policy::default() });
        revision.seen = seen.clone();
        assert_eq!(revision.stays_for(130.0).replicas, instances, "{metric:?} at {target}");
    }
}

#[test]
fn values_that_are_no_numbers_count_as_zero() {
    for cpu in [f64::NAN, f64::INFINITY, -3.0] {
        let mut revision = revision(Policy { metric: Metric::Cpu, target: 0.7, ..Policy::default() }).with_ready(1);
        revision.seen.cpu = cpu;
        revision.seen.in_flight = 1;
        assert_eq!(outcome(&revision.stays_for(10.0)), (1, Reason::Demand), "{cpu}");
    }
}

#[test]
fn rates_bound_one_decision() {
    let mut up = revision(Policy { max_up_rate: 1.5, ..ten_each() }).with_ready(3).with_in_flight(300);
    let decision = up.stays_for(130.0);
    assert_eq!((decision.inputs.wanted_stable, decision.inputs.up_max), (30, 5));
    assert_eq!(outcome(&decision), (5, Reason::RateUp));

    let mut down = revision(Policy { max_down_rate: 1.5, ..ten_each() }).with_ready(9).with_in_flight(1);
    assert_eq!(outcome(&down.stays_for(130.0)), (6, Reason::RateDown));
}

#[test]
fn a_burst_starts_panic_and_the_number_stays_up_for_a_window() {
    let mut revision = revision(ten_each()).with_ready(1).with_in_flight(10);
    assert_eq!(outcome(&revision.runs_for(60.0)), (1, Reason::Stable));

    revision.seen.in_flight = 100;
    let burst = revision.runs_for(6.0);
    assert!(burst.inputs.panic);
    assert_eq!(outcome(&burst), (10, Reason::Panic));

    revision.seen.in_flight = 10;
    let after = revision.runs_for(40.0);
    assert_eq!(outcome(&after), (10, Reason::Panic), "still in panic");
    let calm = revision.runs_for(120.0);
    assert!(!calm.inputs.panic);
    assert_eq!(outcome(&calm), (1, Reason::Stable));
}

#[test]
fn a_wake_is_decided_at_once() {
    // (name, waiting, slots, activation, max, instances, reason)
    let table = [
        ("one request", 1, 100, 1, 100, 1, Reason::Wake),
        ("a full instance", 100, 100, 1, 100, 1, Reason::Wake),
        ("more than one holds", 250, 100, 1, 100, 3, Reason::Wake),
        ("activation", 1, 100, 4, 100, 4, Reason::Wake),
        ("max", 250, 1, 1, 20, 20, Reason::AtMax),
    ];
    for (name, waiting, slots, activation, max, instances, reason) in table {
        let policy = Policy { slots, activation, max, ..Policy::default() };
        let mut revision = revision(policy).with_waiting(waiting);
        assert_eq!(outcome(&revision.decide()), (instances, reason), "{name}");
    }
}

#[test]
fn more_requests_before_the_first_instance_is_ready_start_more() {
    let mut revision = revision(Policy { slots: 1, target: 1.0, ..Policy::default() }).with_waiting(1);
    assert_eq!(revision.decide().replicas, 1);
    revision.seen.starting = 1;
    revision.seen.waiting = 3;
    revision.now += Duration::from_millis(1);
    assert_eq!(outcome(&revision.decide()), (3, Reason::Wake));
}

#[test]
fn a_queue_that_outlives_a_start_grows_the_number_at_once() {
    let policy = Policy { slots: 10, target: 10.0, panic_threshold: 3.0, ..Policy::default() };
    let mut revision = revision(policy).with_ready(1).with_in_flight(10);
    revision.runs_for(60.0);
    revision.seen.waiting = 25;
    assert_eq!(revision.decide().replicas, 1, "the queue may drain by itself");
    let due = revision.decider.next_due(revision.now, &revision.seen).unwrap();
    assert_eq!(due - revision.now, revision.seen.usual_start);
    revision.now = due;
    assert_eq!(outcome(&revision.decide()), (4, Reason::QueueGrowth));
    // The queue is gone before the averages saw it: what was started for it is not dismissed at once.
    (revision.seen.waiting, revision.seen.ready) = (0, 4);
    revision.now += seconds(1.0);
    assert_eq!(outcome(&revision.decide()), (4, Reason::QueueHold));
}

#[test]
fn the_last_instance_goes_after_the_idle_time_and_not_before() {
    let mut revision = revision(ten_each()).with_waiting(1);
    revision.decide();
    (revision.seen.waiting, revision.seen.in_flight, revision.seen.ready) = (0, 1, 1);
    revision.now += seconds(0.004);
    revision.decide();
    revision.seen.in_flight = 0;
    revision.now += seconds(0.1);
    let quiet = revision.now;
    revision.decide();

    revision.now = quiet + seconds(29.999);
    assert_eq!(outcome(&revision.decide()), (1, Reason::Stable));
    let due = revision.decider.next_due(revision.now, &revision.seen).unwrap();
    assert_eq!(due, quiet + seconds(30.0));
    revision.now = due;
    assert_eq!(outcome(&revision.decide()), (0, Reason::Idle));
    assert_eq!(revision.decider.next_due(revision.now, &revision.seen), None, "an idle revision costs nothing");
}

#[test]
fn an_idle_revision_leaves_panic_and_shrinks_by_the_rate() {
    let mut revision = revision(ten_each()).with_ready(1).with_in_flight(100);
    assert!(revision.runs_for(10.0).inputs.panic);
    revision.seen.in_flight = 0;
    assert_eq!(revision.runs_for(28.0).replicas, 10);
    revision.now += seconds(2.0);
    let mut numbers = Vec::new();
    while revision.seen.ready > 0 {
        revision.seen.ready = revision.decide().replicas;
        numbers.push(revision.seen.ready);
    }
    assert_eq!(numbers, [5, 2, 1, 0]);
}

#[test]
fn a_request_that_crosses_the_scale_down_wins() {
    let mut revision = revision(ten_each()).with_ready(1);
    assert_eq!(revision.runs_for(30.0).replicas, 0);
    // The instance drains: it is not ready any more, and the request waits.
    (revision.seen.ready, revision.seen.waiting) = (0, 1);
    revision.now += seconds(0.001);
    assert_eq!(outcome(&revision.decide()), (1, Reason::Wake));
}

#[test]
fn whoever_is_silent_keeps_the_last_instance_but_starts_none() {
    let mut up = revision(ten_each()).with_ready(1);
    up.seen.out_of_touch = true;
    assert_eq!(outcome(&up.runs_for(600.0)), (1, Reason::OutOfTouch));
    up.seen.out_of_touch = false;
    assert_eq!(up.decide().replicas, 0);

    let mut down = revision(ten_each());
    down.seen.out_of_touch = true;
    assert_eq!(outcome(&down.runs_for(600.0)), (0, Reason::Idle));
}

#[test]
fn min_activation_and_initial_raise_the_number() {
    let mut least = revision(Policy { min: 2, ..ten_each() });
    assert_eq!(outcome(&least.runs_for(600.0)), (2, Reason::AtMin));
    assert_eq!(least.decider.next_due(least.now, &least.seen), None);

    let mut activation = revision(Policy { activation: 3, ..ten_each() }).with_ready(1).with_in_flight(10);
    assert_eq!(outcome(&activation.runs_for(60.0)), (3, Reason::Activation));

    let mut initial = revision(Policy { initial: 3, ..ten_each() });
    assert_eq!(outcome(&initial.stays_for(600.0)), (3, Reason::Initial), "until they are ready");
    initial.seen.ready = 3;
    assert!(initial.stays_for(29.0).replicas >= 1, "then for the idle time");
    initial.runs_for(2.0);
    assert_eq!(initial.runs_for(4.0).replicas, 0);
}

#[test]
fn a_restart_does_not_shrink_what_it_finds() {
    let mut revision = revision(ten_each()).with_ready(8).with_in_flight(30);
    assert_eq!(outcome(&revision.runs_for(58.0)), (8, Reason::Inherited));
    assert_eq!(outcome(&revision.runs_for(2.0)), (4, Reason::RateDown));
    assert_eq!(outcome(&revision.runs_for(2.0)), (3, Reason::Stable));
}

#[test]
fn the_scale_down_delay_keeps_the_highest_number() {
    let policy = Policy { scale_down_delay: seconds(300.0), ..ten_each() };
    let mut revision = revision(policy).with_ready(5).with_in_flight(50);
    revision.runs_for(130.0);
    let quiet = revision.now;
    revision.seen.in_flight = 0;
    assert_eq!(outcome(&revision.runs_for(250.0)), (5, Reason::ScaleDownDelay));
    let due = revision.decider.next_due(revision.now, &revision.seen).unwrap();
    assert!(due >= quiet + seconds(300.0) && due < quiet + seconds(361.0), "{:?}", due - quiet);
    assert_eq!(revision.runs_for(200.0).replicas, 0);
}

#[test]
fn another_policy_applies_to_what_is_known() {
    let mut revision = revision(ten_each()).with_ready(1).with_in_flight(40);
    assert_eq!(revision.runs_for(130.0).replicas, 4);
    revision.decider.set_policy(Policy { target: 20.0, window: seconds(120.0), ..ten_each() });
    assert_eq!(revision.decide().replicas, 2);
    revision.decider.set_policy(Policy { min: 3, ..ten_each() });
    assert_eq!(revision.decide().replicas, 4);
}

#[test]
fn time_that_goes_back_is_ignored() {
    let mut revision = revision(ten_each()).with_ready(1).with_in_flight(10);
    revision.runs_for(60.0);
    revision.now = Duration::ZERO;
    assert_eq!(outcome(&revision.decide()), (1, Reason::Stable));
}

#[test]
fn a_decision_is_readable_as_json() {
    let decision = revision(ten_each()).with_waiting(3).decide();
    let json = serde_json::to_value(&decision).unwrap();
    assert_eq!((&json["reason"], &json["inputs"]["waiting"]), (&"Wake".into(), &3.into()));
    assert_eq!(json["inputs"]["steps"]["queue"], 1);
    assert_eq!(serde_json::from_value::<Decision>(json).unwrap(), decision);
}

#[test]
fn the_least_useful_instances_go_first() {
    let candidate = |ready, in_flight, node_load, age| Candidate { ready, in_flight, node_load, age: seconds(age) };
    let candidates = [
        candidate(true, 1, 9, 1.0),
        candidate(true, 0, 1, 50.0),
        candidate(true, 0, 3, 90.0),
        candidate(true, 0, 3, 80.0),
        candidate(false, 0, 1, 99.0),
    ];
    assert_eq!(victims(&candidates, 9), [4, 3, 2, 1, 0]);
    assert_eq!(victims(&candidates, 2), [4, 3]);
    assert!(victims(&candidates, 0).is_empty() && victims(&[], 3).is_empty());
}

#[test]
fn a_schedule_follows_the_wall_clock_of_its_time_zone() {
    let hour = Duration::from_secs(3600);
    let workdays = Window::new("0 8 * * 1-5", "Europe/Berlin", 2, 10 * hour).unwrap();
    let nights = Window::new("30 2 * * *", "Europe/Berlin", 5, hour).unwrap();
    let windows = [workdays, nights];
    // (name, wall clock, least, next change)
    let table = [
        ("a Tuesday before eight", "2026-11-24T06:59:59Z", 0, "2026-11-24T07:00:00Z"),
        ("at eight", "2026-11-24T07:00:00Z", 2, "2026-11-24T17:00:00Z"),
        ("just before six", "2026-11-24T16:59:59.9Z", 2, "2026-11-24T17:00:00Z"),
        ("at six", "2026-11-24T17:00:00Z", 0, "2026-11-25T01:30:00Z"),
        ("a Saturday", "2026-11-28T12:00:00Z", 0, "2026-11-29T01:30:00Z"),
        ("the next Monday, in summer an hour earlier", "2026-07-06T06:00:00Z", 2, "2026-07-06T16:00:00Z"),
        ("02:30 does not exist: 03:30", "2026-03-29T01:10:00Z", 0, "2026-03-29T01:30:00Z"),
        ("from then on for an hour", "2026-03-29T01:30:00Z", 5, "2026-03-29T02:30:00Z"),
        ("and no longer", "2026-03-29T02:30:00Z", 0, "2026-03-30T00:30:00Z"),
        ("02:30 comes twice: the first", "2026-10-25T00:30:00Z", 5, "2026-10-25T01:30:00Z"),
        ("when the clock was put back", "2026-10-25T01:10:00Z", 5, "2026-10-25T01:30:00Z"),
        ("and not again", "2026-10-25T01:30:00Z", 0, "2026-10-26T01:30:00Z"),
    ];
    for (name, wall, least, change) in table {
        let wall = wall.parse().unwrap();
        assert_eq!(effective_min(&windows, wall), least, "{name}");
        assert_eq!(next_change(&windows, wall), Some(change.parse().unwrap()), "{name}");
    }
    let epoch = jiff::Timestamp::UNIX_EPOCH;
    assert_eq!((effective_min(&[], epoch), next_change(&[], epoch)), (0, None), "without windows");
}

#[test]
fn a_schedule_that_cannot_be_followed_is_refused() {
    let hour = Duration::from_secs(3600);
    let table = [
        ("0 8 * *", "UTC", hour, "cron \"0 8 * *\" is not minute, hour"),
        ("0 0 8 * * 1", "UTC", hour, "cron \"0 0 8 * * 1\" is not minute, hour"),
        ("0 25 * * *", "UTC", hour, "cron \"0 25 * * *\" is not minute, hour"),
        ("0 0 30 2 *", "UTC", hour, "cron \"0 0 30 2 *\" never comes"),
        ("0 8 * * *", "Mars/Base", hour, "time zone \"Mars/Base\" is unknown"),
        ("0 8 * * *", "UTC", Duration::ZERO, "for is 0ns"),
    ];
    for (cron, zone, length, message) in table {
        let error = Window::new(cron, zone, 1, length).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }
}
