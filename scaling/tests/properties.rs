//! What holds for every policy and every history. proptest prints the smallest case that breaks it, and its seed.

use std::time::Duration;

use proptest::prelude::*;
use wisp_scaling::{Decider, Decision, Metric, Observation, Policy, StartInProgress};

/// One step of a history: time passes, then something is observed.
#[derive(Clone, Debug)]
struct Step {
    after: Duration,
    seen: Observation,
}

fn policies() -> impl Strategy<Value = Policy> {
    let numbers = (1..200_u32, 0.0..1.0_f64, 0.0..1.0_f64, 0.0..1.0_f64, 1..50_u32, 0.1..50.0_f64);
    let times = (1..120_u64, 0.1..1.0_f64, 0..120_u64, 1..90_u64);
    let rates = (1.1..4.0_f64, 1.1..20.0_f64, 1.1..4.0_f64);
    let policies =
        (numbers, times, rates).prop_map(|((max, min, activation, initial, slots, target), times, rates)| {
            let (window, panic, delay, idle) = times;
            let window = Duration::from_secs(window);
            Policy {
                // One policy in two may scale to zero.
                min: (f64::from(max) * (min - 0.5).max(0.0)) as u32,
                max,
                activation: (f64::from(max) * activation * 0.2) as u32,
                initial: (f64::from(max) * (initial - 0.7).max(0.0)) as u32,
                metric: Metric::Concurrency,
                target,
                slots,
                window,
                panic_window: window.mul_f64(panic),
                panic_threshold: rates.0,
                scale_down_delay: Duration::from_secs(delay.saturating_sub(60)),
                idle: Duration::from_secs(idle),
                max_up_rate: rates.1,
                max_down_rate: rates.2,
            }
        });
    policies.prop_map(|policy| policy.validate().expect("the policy is valid"))
}

prop_compose! {
    fn steps()(
        millis in prop_oneof![0..50_u64, 50..3_000_u64, 3_000..100_000_u64],
        waiting in prop_oneof![3 => Just(0_u32), 1 => 1..300_u32],
        in_flight in prop_oneof![2 => Just(0_u32), 1 => 1..400_u32],
        ready in prop_oneof![1 => Just(0_u32), 2 => 1..60_u32],
        starting in 0..4_u32,
        out_of_touch in prop::bool::weighted(0.2),
        start in 0..2_000_u64,
    ) -> Step {
        Step {
            after: Duration::from_millis(millis),
            seen: Observation {
                waiting,
                in_flight: if ready == 0 { 0 } else { in_flight },
                ready,
                starting,
                out_of_touch,
                slowest_start: (starting > 0).then(|| StartInProgress {
                    age: Duration::from_millis(start),
                    usual: Duration::from_millis(100),
                }),
                usual_start: Duration::from_millis(100),
                ..Observation::default()
            },
        }
    }
}

fn histories() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(steps(), 1..80)
}

/// Runs a history; gives each decision with its time.
fn run(policy: &Policy, history: &[Step]) -> (Decider, Vec<(Duration, Decision)>) {
    let policy = policy.clone();
    let mut decider = Decider::new(policy, Duration::ZERO);
    let mut now = Duration::ZERO;
    let decisions = history.iter().map(|step| {
        now += step.after;
        (now, decider.decide(now, &step.seen))
    });
    let decisions = decisions.collect();
    (decider, decisions)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn the_number_is_never_below_min_nor_above_max(policy in policies(), history in histories()) {
        for (_, decision) in run(&policy, &history).1 {
            prop_assert!((policy.min..=policy.max).contains(&decision.replicas), "{decision:?}");
            prop_assert_eq!(decision.inputs.steps.bounds, decision.replicas);
        }
    }

    #[test]
    fn there_is_no_panic_before_the_threshold_is_reached(policy in policies(), history in histories()) {
        let mut over = false;
        for (_, decision) in run(&policy, &history).1 {
            let inputs = &decision.inputs;
            over |= f64::from(inputs.wanted_panic) / f64::from(inputs.ready.max(1)) >= policy.panic_threshold;
            prop_assert!(over || !inputs.panic, "{decision:?}");
        }
    }

    #[test]
    fn the_number_never_falls_in_panic(policy in policies(), history in histories()) {
        let decisions = run(&policy, &history).1;
        for pair in decisions.windows(2) {
            let (before, after) = (&pair[0].1, &pair[1].1);
            if before.inputs.panic && after.inputs.panic {
                prop_assert!(after.replicas >= before.replicas, "{before:?}\n{after:?}");
            }
        }
    }

    #[test]
    fn zero_comes_only_after_the_idle_time_without_demand(policy in policies(), history in histories()) {
        let (mut quiet_since, mut before, mut demand_before) = (Duration::ZERO, 0, 0);
        for (step, (now, decision)) in history.iter().zip(run(&policy, &history).1) {
            let demand = step.seen.demand();
            // Demand holds until an observation says otherwise.
            if demand > 0 || demand_before > 0 {
                quiet_since = now;
            }
            let up = before > 0 || step.seen.ready > 0 || step.seen.starting > 0;
            if decision.replicas == 0 {
                prop_assert_eq!(demand, 0);
                prop_assert!(!up || now - quiet_since >= policy.idle, "{:?}", decision);
                prop_assert!(!up || !step.seen.out_of_touch, "{:?}", decision);
            }
            (before, demand_before) = (decision.replicas, demand);
        }
    }

    #[test]
    fn more_demand_never_means_fewer_instances(
        policy in policies(),
        history in histories(),
        more in 0..200_u32,
        which in any::<bool>(),
    ) {
        let (less, _) = run(&policy, &history);
        let mut now: Duration = history.iter().map(|step| step.after).sum();
        let (mut lower, mut higher) = (less.clone(), less);
        let mut seen = history.last().unwrap().seen.clone();
        seen.ready = seen.ready.max(1);
        let mut seen_more = seen.clone();
        if which { seen_more.waiting += more } else { seen_more.in_flight += more }
        // The two part here, and stay apart for a while.
        for _ in 0..40 {
            now += Duration::from_millis(400);
            let (low, high) = (lower.decide(now, &seen), higher.decide(now, &seen_more));
            prop_assert!(low.replicas <= high.replicas, "{low:?}\n{high:?}");
        }
    }

    #[test]
    fn demand_always_has_an_instance_or_gets_one(policy in policies(), history in histories()) {
        for (step, (_, decision)) in history.iter().zip(run(&policy, &history).1) {
            prop_assert!(step.seen.demand() == 0 || decision.replicas > 0, "{decision:?}");
        }
    }

    #[test]
    fn a_quiet_revision_reaches_min_and_then_needs_nobody(policy in policies(), history in histories()) {
        let (mut decider, decisions) = run(&policy, &history);
        let (mut now, last) = decisions.last().cloned().unwrap();
        let mut seen = Observation { ready: last.replicas, ..Observation::default() };
        let mut wakes = 0;
        loop {
            let decision = decider.decide(now, &seen);
            if decision.replicas != seen.ready {
                seen.ready = decision.replicas;
                continue;
            }
            let Some(due) = decider.next_due(now, &seen) else { break };
            prop_assert!(due > now);
            now = due;
            wakes += 1;
            prop_assert!(wakes < 5_000, "{decision:?}");
        }
        prop_assert_eq!(seen.ready, policy.min);
    }

    #[test]
    fn nothing_changes_when_nothing_is_due(policy in policies(), history in histories(), part in 0.0..1.0_f64) {
        let (mut decider, decisions) = run(&policy, &history);
        let (now, last) = decisions.last().cloned().unwrap();
        // A start in progress ages by itself; all else stays as it was.
        let seen = Observation { starting: 0, slowest_start: None, ..history.last().unwrap().seen.clone() };
        let last = if seen == history.last().unwrap().seen { last } else { decider.decide(now, &seen) };
        let again = decider.decide(now, &seen);
        if again.replicas == last.replicas && decider.next_due(now, &seen).is_none() {
            let later = decider.decide(now + Duration::from_secs_f64(part * 100_000.0), &seen);
            prop_assert_eq!(later.replicas, last.replicas, "{:?}", later);
        }
    }
}
