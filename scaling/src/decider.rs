//! From observations to a number of instances: the steps of `lib.rs`, one function each, in their order.

use std::time::Duration;

use crate::decision::{Decision, Explanation, Reason, Steps, Wanted};
use crate::hold::{Inherited, Peak};
use crate::observation::Observation;
use crate::panic::{Load, Panic};
use crate::policy::{Policy, REPLICAS_MAX};
use crate::queue::{Pull, Queue};
use crate::window::Window;

/// What one revision's decisions remember. It tells nothing apart but by what it is given: equal inputs, equal decisions.
#[derive(Clone, Debug)]
pub struct Decider {
    policy: Policy,
    stable: Window,
    burst: Window,
    panic: Panic,
    queue: Queue,
    /// The same as panic, for a queue that grew: what it called for keeps the averages from passing the panic threshold, and
    /// a drained queue must not dismiss it at once.
    surge: Panic,
    /// What was wanted within the scale-down delay.
    delay: Peak,
    start: Start,
    /// The last time at which there was demand, or life began.
    demand_at: Duration,
    last: Last,
}

/// How far a revision has come since its decider began.
#[derive(Clone, Copy, Debug)]
enum Start {
    /// Nothing has been observed.
    Unseen,
    /// The initial scale has not been ready yet.
    Initialising,
    /// What a restart found still counts.
    Holding(Inherited),
    /// Only traffic counts.
    Done,
}

/// What the lack of demand amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// There is demand.
    Busy,
    /// There is none, but not for the idle time.
    Waiting,
    /// There has been none for the idle time, or nothing is there that could be idle.
    Idle,
}

/// The last observation and decision. Both hold until the next.
#[derive(Clone, Copy, Debug)]
struct Last {
    at: Duration,
    value: f64,
    demand: u32,
    replicas: u32,
}

impl Decider {
    /// A decider for a revision that nothing is known of, at `now`. The policy should be valid; see [`Policy::validate`].
    #[must_use]
    pub fn new(policy: Policy, now: Duration) -> Self {
        Self {
            stable: Window::new(policy.window, now),
            burst: Window::new(policy.panic_window, now),
            panic: Panic::Calm,
            queue: Queue::default(),
            surge: Panic::Calm,
            delay: Peak::default(),
            start: Start::Unseen,
            demand_at: now,
            last: Last { at: now, value: 0.0, demand: 0, replicas: 0 },
            policy,
        }
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Decides by another policy from now on. What is remembered stays; averages of another metric would not mean anything.
    pub fn set_policy(&mut self, policy: Policy) {
        if policy.metric != self.policy.metric {
            self.stable = Window::new(policy.window, self.last.at);
            self.burst = Window::new(policy.panic_window, self.last.at);
            self.last.value = 0.0;
        }
        if policy.window != self.policy.window {
            self.stable = self.stable.resized(policy.window);
        }
        if policy.panic_window != self.policy.panic_window {
            self.burst = self.burst.resized(policy.panic_window);
        }
        self.policy = policy;
    }

    /// The number of instances that `seen` calls for at `now`, a time since an origin of the caller's choice.
    /// A `now` before that of the last decision counts as the same.
    pub fn decide(&mut self, now: Duration, seen: &Observation) -> Decision {
        let now = now.max(self.last.at);
        self.observe(now, seen);
        self.begin(now, seen);
        let rest = self.rest(now, seen);
        if rest == Rest::Idle {
            self.calm_down(now, seen);
        }
        let pull = self.queue.pull(now, &self.policy, seen);
        let mut inputs = self.inputs(now, seen);
        if rest != Rest::Idle {
            self.panic = self.panic.next(self.load(&inputs), now, self.last.replicas);
            self.surge = self.surge.next(self.rush(pull), now, self.last.replicas);
        }
        (inputs.panic, inputs.surge) = (self.panic.is_active(), self.surge.is_active());

        let mut steps = Steps::default();
        let mut wanted = self.by_averages(&inputs);
        steps.averages = wanted.replicas;
        by_queue(&mut wanted, pull);
        steps.queue = wanted.replicas;
        by_rest(&mut wanted, rest);
        steps.idle = wanted.replicas;
        self.by_least(&mut wanted);
        steps.least = wanted.replicas;
        wanted.raise(self.delay.push(now, wanted.replicas, self.policy.scale_down_delay), Reason::ScaleDownDelay);
        steps.delay = wanted.replicas;
        wanted.raise(inputs.down_min, Reason::RateDown);
        steps.rate = wanted.replicas;
        wanted.raise(self.panic.hold(wanted.replicas), Reason::Panic);
        wanted.raise(self.surge.hold(wanted.replicas), Reason::QueueHold);
        steps.panic = wanted.replicas;
        if seen.out_of_touch && self.is_up(seen) {
            wanted.raise(1, Reason::OutOfTouch);
        }
        steps.touch = wanted.replicas;
        wanted.raise(self.policy.min, Reason::AtMin);
        wanted.lower(self.policy.max, Reason::AtMax);
        steps.bounds = wanted.replicas;

        self.last.replicas = wanted.replicas;
        inputs.steps = steps;
        Decision { replicas: wanted.replicas, reason: wanted.reason, inputs }
    }

    /// When the decision will change, or may, if the observation stays as it was at the last decision: a time since the
    /// caller's origin, after `now`. `None`: nothing changes without an event, so nobody needs to look at this revision.
    #[must_use]
    pub fn next_due(&self, now: Duration, seen: &Observation) -> Option<Duration> {
        let asleep = seen.demand() == 0 && self.last.demand == 0;
        let started = matches!(self.start, Start::Done | Start::Holding(_));
        if asleep && started && self.last.replicas <= self.policy.min {
            return None;
        }
        let delay = self.delay.falls_at(self.policy.scale_down_delay);
        if asleep && self.rest(now, seen) == Rest::Idle {
            return delay.filter(|due| *due > now);
        }
        let held = match self.start {
            Start::Holding(inherited) => Some(inherited.until),
            _ => None,
        };
        [
            delay,
            held,
            asleep.then(|| self.demand_at + self.policy.idle),
            self.queue.next_due(now, seen),
            self.panic.ends_at(self.policy.window),
            self.surge.ends_at(self.policy.window),
            self.averages_move_at(now),
        ]
        .into_iter()
        .flatten()
        .filter(|due| *due > now)
        .min()
    }

    /// Takes in one observation: the last one was true until now.
    fn observe(&mut self, now: Duration, seen: &Observation) {
        self.stable.record(self.last.value, now);
        self.burst.record(self.last.value, now);
        let demand = seen.demand();
        let woken = demand > 0 && self.last.demand == 0 && seen.ready == 0 && seen.starting == 0;
        if woken {
            // Zeros from before, or the end of the last life, say nothing about this one.
            self.stable.restart(now);
            self.burst.restart(now);
        }
        if demand > 0 || self.last.demand > 0 {
            self.demand_at = now;
        }
        self.queue.observe(now, seen);
        self.last = Last { at: now, value: seen.value(self.policy.metric), demand, replicas: self.last.replicas };
    }

    fn begin(&mut self, now: Duration, seen: &Observation) {
        self.start = match self.start {
            // Unseen => Holding
            Start::Unseen if seen.ready > 1 && seen.ready >= self.policy.initial => {
                Start::Holding(Inherited { replicas: seen.ready, until: now + self.policy.window })
            }
            // Unseen => Initialising
            Start::Unseen if self.policy.initial > seen.ready => Start::Initialising,
            // Unseen => Done
            Start::Unseen => Start::Done,
            // Initialising => Done; what became ready stays for the idle time
            Start::Initialising if seen.ready >= self.policy.initial => {
                self.demand_at = now;
                Start::Done
            }
            // Holding => Done
            Start::Holding(inherited) if inherited.until <= now => Start::Done,
            state => state,
        };
    }

    fn rest(&self, now: Duration, seen: &Observation) -> Rest {
        if seen.demand() > 0 {
            Rest::Busy
        } else if self.is_up(seen) && now.saturating_sub(self.demand_at) < self.policy.idle {
            Rest::Waiting
        } else {
            Rest::Idle
        }
    }

    fn is_up(&self, seen: &Observation) -> bool {
        self.last.replicas > 0 || seen.ready > 0 || seen.starting > 0
    }

    /// Without demand for the idle time there is nothing left to hold a number for, but the scale-down delay, which is asked
    /// for. Without capacity the averages go too: a wake begins them anew.
    fn calm_down(&mut self, now: Duration, seen: &Observation) {
        self.panic = Panic::Calm;
        self.surge = Panic::Calm;
        if matches!(self.start, Start::Holding(_)) {
            self.start = Start::Done;
        }
        if seen.ready == 0 && seen.starting == 0 {
            self.stable.restart(now);
            self.burst.restart(now);
        }
    }

    fn inputs(&self, now: Duration, seen: &Observation) -> Explanation {
        let average_stable = self.stable.average();
        let average_panic = self.burst.average();
        let ready = f64::from(seen.ready.max(1));
        Explanation {
            waiting: seen.waiting,
            in_flight: seen.in_flight,
            ready: seen.ready,
            starting: seen.starting,
            out_of_touch: seen.out_of_touch,
            idle_seconds: now.saturating_sub(self.demand_at).as_secs_f64(),
            average_stable,
            average_panic,
            target: self.policy.target,
            wanted_stable: instances(average_stable, self.policy.target),
            wanted_panic: instances(average_panic, self.policy.target),
            down_min: (ready / self.policy.max_down_rate).floor() as u32,
            up_max: (ready * self.policy.max_up_rate).ceil().min(f64::from(REPLICAS_MAX)) as u32,
            panic: false,
            surge: false,
            steps: Steps::default(),
        }
    }

    fn load(&self, inputs: &Explanation) -> Load {
        let times_ready = f64::from(inputs.wanted_panic) / f64::from(inputs.ready.max(1));
        if times_ready >= self.policy.panic_threshold { Load::Over } else { Load::Under { window: self.policy.window } }
    }

    /// Whether the queue asks for so much that what it asks for has to stay. A single instance has the idle time for that.
    fn rush(&self, pull: Pull) -> Load {
        if pull.replicas() > 1 { Load::Over } else { Load::Under { window: self.policy.window } }
    }

    fn by_averages(&self, inputs: &Explanation) -> Wanted {
        let mut wanted = Wanted { replicas: inputs.wanted_stable, reason: Reason::Stable };
        if inputs.panic {
            wanted.raise(inputs.wanted_panic, Reason::Panic);
        } else if inputs.surge {
            wanted.raise(inputs.wanted_panic, Reason::QueueHold);
        }
        wanted.lower(inputs.up_max, Reason::RateUp);
        wanted
    }

    fn by_least(&self, wanted: &mut Wanted) {
        if wanted.replicas > 0 {
            wanted.raise(self.policy.activation, Reason::Activation);
        }
        match self.start {
            Start::Initialising => wanted.raise(self.policy.initial, Reason::Initial),
            Start::Holding(inherited) => wanted.raise(inherited.replicas, Reason::Inherited),
            Start::Unseen | Start::Done => {}
        }
    }

    /// The next look while an average is still on its way to the present value. A falling burst average changes nothing.
    fn averages_move_at(&self, now: Duration) -> Option<Duration> {
        let value = self.last.value;
        let near = 1e-6 * value.max(1.0);
        if value - self.burst.average() > near {
            Some(now + self.burst.bucket())
        } else if (value - self.stable.average()).abs() > near {
            Some(now + self.stable.bucket())
        } else {
            None
        }
    }
}

fn by_queue(wanted: &mut Wanted, pull: Pull) {
    let reason = match pull {
        Pull::None => return,
        Pull::Wake(_) => Reason::Wake,
        Pull::Growth(_) => Reason::QueueGrowth,
    };
    if pull.replicas() >= wanted.replicas {
        *wanted = Wanted { replicas: pull.replicas(), reason };
    }
}

fn by_rest(wanted: &mut Wanted, rest: Rest) {
    match rest {
        Rest::Busy => wanted.raise(1, Reason::Demand),
        Rest::Waiting => wanted.raise(1, Reason::IdleWait),
        Rest::Idle => *wanted = Wanted { replicas: 0, reason: Reason::Idle },
    }
}

/// `average / target`, rounded up. Averages are sums of many parts: what they miss the exact value by must not cost an instance.
fn instances(average: f64, target: f64) -> u32 {
    let exact = (average * 1e6).round() / 1e6 / target;
    (exact - 1e-9).ceil().clamp(0.0, f64::from(REPLICAS_MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_revision_holds_at_most_two_kibibytes() {
        let mut decider =
            Decider::new(Policy { scale_down_delay: Duration::from_secs(60), ..Policy::default() }, Duration::ZERO);
        let mut seen = Observation { in_flight: 500, ready: 3, ..Observation::default() };
        for second in 0..300 {
            if second == 100 {
                seen.in_flight = 0;
            }
            seen.ready = decider.decide(Duration::from_secs(second), &seen).replicas;
        }
        assert_eq!((seen.ready, decider.next_due(Duration::from_secs(300), &seen)), (0, None));
        let held = size_of::<Decider>()
            + decider.stable.heap_bytes()
            + decider.burst.heap_bytes()
            + decider.delay.heap_bytes();
        assert!(held <= 2048, "{held} bytes");
    }
}
