//! A decision in words.

use wisp_scaling::{Decision, Reason};

/// Why the number is what it is.
pub(super) fn words(reason: Reason) -> &'static str {
    match reason {
        Reason::Stable => "the average over the stable window asks for it",
        Reason::Panic => "a burst: the panic window asks for it, or did lately",
        Reason::RateUp => "the averages ask for more than one step may rise",
        Reason::RateDown => "the averages ask for less than one step may fall",
        Reason::Wake => "requests wait and no instance is ready",
        Reason::QueueGrowth => "requests wait for longer than a start takes",
        Reason::QueueHold => "the queue asked for it a moment ago",
        Reason::Demand => "there is demand, too little to show in the averages",
        Reason::IdleWait => "no demand, but not for the idle time",
        Reason::Idle => "no demand for the idle time",
        Reason::Activation => "a number above zero is at least the activation scale",
        Reason::Initial => "a new revision starts with this many",
        Reason::Inherited => "so many were there when the autoscaler started",
        Reason::ScaleDownDelay => "more was wanted within the scale-down delay",
        Reason::OutOfTouch => "nobody asks, but somebody who might is silent",
        Reason::AtMin => "the least that scaling.min or a schedule allows",
        Reason::AtMax => "the most that scaling.max allows",
        Reason::Lacking => "a Secret or ConfigMap is missing: no more than there are",
    }
}

/// The step of the formula that bound the number, with its values: the steps are in the documentation of
/// `wisp_scaling`.
pub(super) fn step(decision: &Decision) -> String {
    let (inputs, replicas) = (&decision.inputs, decision.replicas);
    let demand = inputs.waiting.saturating_add(inputs.in_flight);
    match decision.reason {
        Reason::Stable => {
            format!("averages: {} / {} → {replicas}", number(inputs.average_stable), number(inputs.target))
        }
        Reason::Panic if inputs.wanted_panic >= replicas => {
            format!("averages: {} / {} → {replicas}", number(inputs.average_panic), number(inputs.target))
        }
        Reason::Panic => format!("panic: not below {replicas}"),
        Reason::RateUp => format!("averages: {} ready, at most {}", inputs.ready, inputs.up_max),
        Reason::RateDown => format!("averages: {} ready, at least {}", inputs.ready, inputs.down_min),
        Reason::Wake => format!("queue: {} waiting, none ready", inputs.waiting),
        Reason::QueueGrowth => format!("queue: {} waiting, {} ready", inputs.waiting, inputs.ready),
        Reason::QueueHold => format!("queue: held at {replicas}"),
        Reason::Demand => format!("idle: {demand} in demand"),
        Reason::IdleWait | Reason::Idle => format!("idle: {} s without demand", number(inputs.idle_seconds)),
        Reason::Activation => format!("least: activation {replicas}"),
        Reason::Initial => format!("least: initial {replicas}"),
        Reason::Inherited => format!("least: {replicas} at the start"),
        Reason::ScaleDownDelay => format!("delay: held at {replicas}"),
        Reason::OutOfTouch => "touch: not to zero".to_owned(),
        Reason::AtMin => format!("bounds: min {replicas}"),
        Reason::AtMax => format!("bounds: max {replicas}, not {}", inputs.steps.touch),
        Reason::Lacking => format!("lacking: {} ready, {} starting", inputs.ready, inputs.starting),
    }
}

/// At most two decimals, and none that say nothing.
pub(super) fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
pub(super) mod fixture {
    use std::time::Duration;

    use wisp_scaling::{Decider, Observation, Policy};

    use super::*;

    /// A decision with nothing going on.
    pub(in crate::command) fn decision(replicas: u32, reason: Reason) -> Decision {
        let quiet = Decider::new(Policy::default(), Duration::ZERO).decide(Duration::ZERO, &Observation::default());
        Decision { replicas, reason, ..quiet }
    }
}

#[cfg(test)]
mod tests {
    use super::fixture::decision;
    use super::*;

    #[test]
    fn numbers_have_no_empty_decimals() {
        for (value, text) in [(0.0, "0"), (70.0, "70"), (0.5, "0.5"), (1.2345, "1.23"), (100.0, "100")] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn the_step_that_bound_is_shown_with_its_values() {
        let mut wake = decision(1, Reason::Wake);
        wake.inputs.waiting = 3;
        assert_eq!(step(&wake), "queue: 3 waiting, none ready");

        let mut stable = decision(2, Reason::Stable);
        stable.inputs.average_stable = 99.5;
        assert_eq!(step(&stable), "averages: 99.5 / 70 → 2");

        let mut panic = decision(5, Reason::Panic);
        panic.inputs.wanted_panic = 2;
        assert_eq!(step(&panic), "panic: not below 5", "held from before");

        let mut at_max = decision(10, Reason::AtMax);
        at_max.inputs.steps.touch = 14;
        assert_eq!(step(&at_max), "bounds: max 10, not 14");
    }
}
