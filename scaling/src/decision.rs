//! What was decided, and everything it was decided from.

use serde::{Deserialize, Serialize};

/// How many instances there should be, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// The number of instances.
    pub replicas: u32,
    /// The step that set the number: the last one that changed it.
    pub reason: Reason,
    /// What went in, and the number after each step.
    pub inputs: Explanation,
}

/// The steps of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// The average over the stable window asks for it.
    Stable,
    /// A burst: the average over the panic window asks for it, or did since panic began.
    Panic,
    /// The averages ask for more, but one decision may not rise that far.
    RateUp,
    /// The averages ask for less, but one decision may not fall that far.
    RateDown,
    /// Requests wait and no instance is ready.
    Wake,
    /// Requests went on waiting for longer than a start takes.
    QueueGrowth,
    /// The queue grew less than one stable window ago: the panic window counts, and the number does not fall.
    QueueHold,
    /// There is demand, too little to show in the averages.
    Demand,
    /// There is no demand, but not for long enough.
    IdleWait,
    /// There has been no demand for the idle time.
    Idle,
    /// A number above zero is at least the activation scale.
    Activation,
    /// A new revision starts with this many.
    Initial,
    /// So many were ready when the autoscaler started, less than one stable window ago.
    Inherited,
    /// A higher number was wanted within the scale-down delay.
    ScaleDownDelay,
    /// Nobody asks, but somebody who might is silent.
    OutOfTouch,
    /// The least that the policy, or its schedule, allows.
    AtMin,
    /// The most that the policy allows.
    AtMax,
    /// No more than there are: what a start needs is missing. Said by who starts instances, not decided here.
    Lacking,
}

/// The inputs of a decision and its intermediate values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Requests waiting.
    pub waiting: u32,
    /// Requests in flight.
    pub in_flight: u32,
    /// Instances ready.
    pub ready: u32,
    /// Instances starting.
    pub starting: u32,
    /// A reporter that matters was silent.
    pub out_of_touch: bool,
    /// Time without any demand.
    pub idle_seconds: f64,
    /// Average of the metric over the stable window, in its unit.
    pub average_stable: f64,
    /// Average of the metric over the panic window, in its unit.
    pub average_panic: f64,
    /// What one instance should bear, in the metric's unit.
    pub target: f64,
    /// What the stable window asks for, before the rates.
    pub wanted_stable: u32,
    /// What the panic window asks for, before the rates.
    pub wanted_panic: u32,
    /// The least that the down rate allows.
    pub down_min: u32,
    /// The most that the up rate allows.
    pub up_max: u32,
    /// Panic mode.
    pub panic: bool,
    /// The queue asked for several instances, less than one stable window ago.
    pub surge: bool,
    /// The number after each step.
    pub steps: Steps,
}

/// The number after each step, in the order of the steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Steps {
    /// The averages against the target, up to what the up rate allows.
    pub averages: u32,
    /// Raised by the queue.
    pub queue: u32,
    /// Kept above zero by demand or the idle time, or zero at its end.
    pub idle: u32,
    /// Raised to the activation scale, the initial scale, or what a restart found.
    pub least: u32,
    /// Kept up by the scale-down delay.
    pub delay: u32,
    /// Kept up by the down rate.
    pub rate: u32,
    /// Kept up in panic mode, and after the queue grew.
    pub panic: u32,
    /// Kept up because somebody is out of touch.
    pub touch: u32,
    /// Within the policy's bounds: the decision.
    pub bounds: u32,
}

/// A number on its way through the steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) replicas: u32,
    pub(crate) reason: Reason,
}

impl Wanted {
    /// Raises the number to `least`; the step is named only when it made a difference.
    pub(crate) fn raise(&mut self, least: u32, reason: Reason) {
        if self.replicas < least {
            *self = Self { replicas: least, reason };
        }
    }

    /// Lowers the number to `most`.
    pub(crate) fn lower(&mut self, most: u32, reason: Reason) {
        if self.replicas > most {
            *self = Self { replicas: most, reason };
        }
    }
}
