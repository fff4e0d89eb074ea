//! Whole lives of revisions, against a model of instances. Each failure names the seed that makes it again.

use std::time::Duration;

use wisp_scaling::simulation::{Model, Phase, Report, Trace, simulate};
use wisp_scaling::{Metric, Policy};

const SEEDS: std::ops::Range<u64> = 1..9;

fn phase(requests_per_second: f64, seconds: u64) -> Phase {
    Phase { requests_per_second, length: Duration::from_secs(seconds) }
}

fn policy() -> Policy {
    Policy { slots: 10, target: 7.0, ..Policy::default() }
}

/// Runs the phases with each seed. The model: 100 ms of service, so 10 requests a second are one in flight.
fn for_each_seed(policy: &Policy, phases: &[Phase], check: impl Fn(&Report)) {
    let policy = policy.clone().validate().expect("the policy is valid");
    for seed in SEEDS {
        let model = Model { service: Duration::from_millis(100), seed, ..Model::default() };
        let report = simulate(&policy, &model, &Trace::generate(phases, seed));
        println!("seed {seed}: {} requests, peak {}, {:?}", report.requests, report.peak_replicas, report.waits);
        assert_eq!(report.served, report.requests, "seed {seed}: no request waits for ever");
        check(&report);
    }
}

#[test]
fn steady_load_is_served_by_what_it_needs() {
    // 50 in flight on average want 8 instances of 7; Poisson arrivals add some.
    for_each_seed(&policy(), &[phase(500.0, 150)], |report| {
        let settled = report.replicas_at(149.0);
        assert!((7..=12).contains(&settled), "seed {}: {settled}", report.seed);
        assert!(report.waits.p99_seconds < 0.05, "seed {}: {:?}", report.seed, report.waits);
    });
}

#[test]
fn a_revision_goes_back_to_zero_and_stays_there() {
    for_each_seed(&policy(), &[phase(50.0, 20), phase(0.0, 100), phase(50.0, 5)], |report| {
        assert_eq!(report.replicas_at(19.0).min(1), 1, "seed {}", report.seed);
        assert_eq!(report.replicas_at(119.0), 0, "seed {}", report.seed);
        assert_eq!(report.replicas.last().map(|point| point.replicas), Some(0), "seed {}", report.seed);
        // The idle time and the last requests: then nothing is left to happen.
        assert!(report.end_seconds < 125.0 + 40.0, "seed {}: {}", report.seed, report.end_seconds);
    });
}

#[test]
fn replicas_follow_a_burst_up_and_down() {
    for_each_seed(&policy(), &[phase(50.0, 30), phase(1000.0, 30), phase(50.0, 200)], |report| {
        let (before, within, after) = (report.replicas_at(29.0), report.replicas_at(40.0), report.replicas_at(255.0));
        assert!(before <= 3 && within >= 14 && after <= 3, "seed {}: {before} {within} {after}", report.seed);
        assert!(report.waits.p99_seconds < 0.5, "seed {}: {:?}", report.seed, report.waits);
    });
}

#[test]
fn a_burst_from_zero_does_not_start_more_than_the_queue_needs() {
    let policy = policy();
    for seed in SEEDS {
        let model = Model { service: Duration::from_millis(5), seed, ..Model::default() };
        let burst: Trace = (0..40).map(|_| Duration::ZERO).collect();
        let report = simulate(&policy, &model, &burst);
        assert_eq!((report.served, report.instances_started), (40, 4), "seed {seed}");
        assert!(report.waits.max_seconds < 0.006, "seed {seed}: {:?}", report.waits);
    }
}

#[test]
fn sparse_requests_are_cold_and_cheap() {
    let minutes: Trace = (0..30_u64).map(|minute| Duration::from_secs(minute * 60)).collect();
    let report = simulate(&policy(), &Model::default(), &minutes);
    assert_eq!((report.cold_starts, report.instances_started, report.peak_replicas), (30, 30, 1));
    // 30 s of idle time each: a quarter of an hour.
    assert!((0.25..0.26).contains(&report.instance_hours), "{}", report.instance_hours);
}

#[test]
fn a_minimum_leaves_nothing_cold_after_the_start() {
    let warm = Policy { min: 2, ..policy() };
    for_each_seed(&warm, &[phase(0.0, 5), phase(20.0, 60), phase(0.0, 300)], |report| {
        assert_eq!(report.cold_starts, 0, "seed {}", report.seed);
        assert_eq!(report.replicas.last().map(|point| point.replicas), Some(2), "seed {}", report.seed);
    });
}

#[test]
fn slow_starts_do_not_make_a_crowd_of_one_request() {
    let slow = Model { start: Duration::from_secs(3), ..Model::default() };
    let report = simulate(&policy(), &slow, &[Duration::ZERO].into_iter().collect());
    assert_eq!((report.served, report.instances_started), (1, 1));
}

#[test]
fn other_metrics_follow_too() {
    let by_rate = Policy { metric: Metric::Rps, target: 30.0, ..policy() };
    let by_cpu = Policy { metric: Metric::Cpu, target: 0.03, ..policy() };
    for policy in [by_rate, by_cpu] {
        // 300 a second want 10 instances; 30 in flight keep 0.3 of a processor busy, which wants 10 as well.
        for_each_seed(&policy, &[phase(300.0, 150)], |report| {
            let settled = report.replicas_at(149.0);
            assert!((9..=14).contains(&settled), "seed {}: {settled}", report.seed);
        });
    }
}

#[test]
fn max_bounds_the_number_and_requests_wait_in_turn() {
    let small = Policy { max: 3, ..policy() };
    for_each_seed(&small, &[phase(600.0, 10), phase(0.0, 100)], |report| {
        assert_eq!(report.peak_replicas, 3, "seed {}", report.seed);
        assert!(report.waits.max_seconds > 1.0, "seed {}", report.seed);
    });
}

#[test]
fn one_seed_gives_one_report() {
    let trace = Trace::generate(&[phase(300.0, 30)], 9);
    let model = Model { seed: 9, ..Model::default() };
    assert_eq!(simulate(&policy(), &model, &trace), simulate(&policy(), &model, &trace));
}
