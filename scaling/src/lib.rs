//! How many instances a revision should have: all scaling arithmetic of Wisp, and nothing else.
//!
//! The crate is pure. It reads no clock, sends nothing, logs nothing and starts nothing: `now` is a [`Duration`] since an
//! origin of the caller's choice, and what the world looks like comes in as an [`Observation`]. Equal inputs give equal
//! decisions, so that `wisp simulate` tells what a cluster would do.
//!
//! Names and formulas are those of Knative's pod autoscaler. Two things are new: decisions are made on events and not only at
//! ticks, and averages are weighted by time and not by reports.
//!
//! # The algorithm
//!
//! [`Decider::decide`] takes these steps, in this order. Each may change the number; the last one that did is the
//! [`Reason`], and [`Explanation`] keeps all of them.
//!
//! ```text
//! value      waiting + in flight (requests), requests started per second, or busy processors: see `metric`
//! averages   of the value over `window` (60 s) and `panic_window` (6 s), weighted by time. A window younger than its
//!            length averages over its life. A wake from zero begins a new life.
//!            wanted = ceil(average / target), at most up_max = ceil(max_up_rate · max(1, ready)) in one decision.
//!            The stable window counts; in panic and after a surge the higher of both.
//! panic      begins when ceil(average_panic / target) / max(1, ready) ≥ panic_threshold, and ends one `window` after that
//!            was last so.
//! queue      wake: requests wait and nothing is ready: max(activation, ceil(waiting / slots)), at once.
//!            growth: requests have waited for longer than a start takes: ready + ceil(waiting / slots), at once.
//!            A start that takes 2, 4, 8 … times what is usual for its kind is doubled by one more each time, at most to twice
//!            the need.
//!            A surge is what the queue began when it asked for more than one; it ends one `window` after the last time.
//! idle       with demand, or without it for less than `idle` (30 s): at least 1. After `idle`: 0, and no panic nor surge.
//!            Only waiting and in flight count as demand, whatever the metric.
//! least      above zero at least `activation`; `initial` until that many were ready once; what was ready when the
//!            autoscaler restarted, for one `window`.
//! delay      the highest number of the last `scale_down_delay` (0 s).
//! rate       at least down_min = floor(max(1, ready) / max_down_rate). After the delay, or each halving would wait anew.
//! hold       in panic and after a surge the number never falls.
//! touch      while somebody who might have demand is silent: not from above zero to zero.
//! bounds     min ≤ number ≤ max.
//! ```
//!
//! Durations are [`Duration`]s. Numbers of instances are `u32`; averages and targets are `f64` in the metric's unit.
//!
//! # The files, in the order of the data
//!
//! - `policy`: the parameters and their ranges. `observation`: what was seen.
//! - `window`: averages. `panic`, `queue`, `hold`: the steps that remember something. `decider`: the steps in their order.
//! - `decision`: the number, its reason, its inputs.
//! - `victims`: which instances go when the number falls. [`schedule`]: a minimum by time of day.
//! - [`simulation`]: the same decider against a model of instances, on a recorded or generated trace.
//!
//! What it does not do: gather reports and drop stale ones, pick a node, start and stop instances. That is the autoscaler.

#![forbid(unsafe_code)]

mod decider;
mod decision;
mod hold;
mod observation;
mod panic;
mod policy;
mod queue;
pub mod schedule;
pub mod simulation;
mod victims;
mod window;

pub use decider::Decider;
pub use decision::{Decision, Explanation, Reason, Steps};
pub use observation::{Observation, StartInProgress};
pub use policy::{IDLE_MAX, Metric, PANIC_WINDOW_MIN, Policy, PolicyError, REPLICAS_MAX, TARGET_MIN, WINDOW_MAX};
pub use victims::{Candidate, victims};

#[cfg(doc)]
use std::time::Duration;
