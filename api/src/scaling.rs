//! `spec.scaling`: how the number of instances follows demand. Names and formulas are those of Knative's autoscaler.

use std::time;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;

/// How the number of instances follows demand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!has(self.min) || !has(self.max) || self.min <= self.max", "message": "min must not be more than max"},
    {"rule": "!has(self.initial) || !has(self.max) || self.initial <= self.max", "message": "initial must not be more than max"},
    {"rule": "!has(self.activation) || !has(self.max) || self.activation <= self.max", "message": "activation must not be more than max"}
]))]
pub struct Scaling {
    /// Instances that are kept without any demand.
    #[schemars(range(min = 0, max = 10_000))]
    pub min: u32,
    /// Instances that are never exceeded.
    #[schemars(range(min = 1, max = 10_000))]
    pub max: u32,
    /// Instances that a new revision starts with.
    #[schemars(range(min = 0, max = 10_000))]
    pub initial: u32,
    /// Instances that a revision has at least while it is not at zero.
    #[schemars(range(min = 1, max = 10_000))]
    pub activation: u32,
    /// What is measured.
    pub metric: Metric,
    /// What one instance shall bear: requests at once, requests per second, or percent of one CPU. By default 70 % of
    /// the slots, 150 requests per second, or 70 % CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<f64>,
    /// The stable window of the average.
    pub window: Duration,
    /// The short window that notices bursts.
    pub panic_window: Duration,
    /// Panic when the short window asks for this many times the ready instances.
    pub panic_threshold: f64,
    /// How long the number must have been lower before it falls.
    pub scale_down_delay: Duration,
    /// Time without any demand before the last instance goes.
    pub idle: Duration,
    /// The number may grow by this factor at once.
    pub max_up_rate: f64,
    /// The number may fall by this factor at once.
    pub max_down_rate: f64,
    /// Where instances come from.
    pub start: Start,
    /// Who decides.
    pub class: Class,
    /// Times at which more instances are kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub schedule: Vec<ScheduledMinimum>,
}

/// What the number of instances follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Metric {
    /// Requests at once: in flight and waiting.
    #[default]
    Concurrency,
    /// Requests per second.
    Rps,
    /// Busy share of a CPU, in percent.
    Cpu,
}

/// Where instances come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Start {
    /// From the namespace's warm pool when the function fits.
    #[default]
    Warm,
    /// Always an own, new instance.
    Fresh,
}

/// Who decides on the number of instances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Class {
    /// Wisp's autoscaler.
    #[default]
    Wisp,
    /// Something else, by the revision's scale subresource: an HPA, KEDA, a person.
    External,
}

/// A minimum that holds at certain times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScheduledMinimum {
    /// When it begins: five cron fields.
    pub cron: String,
    /// The IANA time zone of `cron`.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// Instances that are kept meanwhile.
    #[schemars(range(min = 0, max = 10_000))]
    pub min: u32,
    /// How long it holds.
    #[serde(rename = "for")]
    pub duration: Duration,
}

impl Scaling {
    /// What one instance shall bear, in the metric's unit: requests at once, requests per second, or busy CPUs.
    /// `slots` are the requests at once that one instance takes.
    #[must_use]
    pub fn effective_target(&self, slots: u32) -> f64 {
        match (self.metric, self.target) {
            (Metric::Cpu, target) => target.unwrap_or(70.0) / 100.0,
            (_, Some(target)) => target,
            (Metric::Concurrency, None) => (f64::from(slots) * 0.7).max(1.0),
            (Metric::Rps, None) => 150.0,
        }
    }
}

impl Default for Scaling {
    fn default() -> Self {
        Self {
            min: 0,
            max: 100,
            initial: 0,
            activation: 1,
            metric: Metric::default(),
            target: None,
            window: time::Duration::from_secs(60).into(),
            panic_window: time::Duration::from_secs(6).into(),
            panic_threshold: 2.0,
            scale_down_delay: time::Duration::ZERO.into(),
            idle: time::Duration::from_secs(30).into(),
            max_up_rate: 1000.0,
            max_down_rate: 2.0,
            start: Start::default(),
            class: Class::default(),
            schedule: Vec::new(),
        }
    }
}

fn utc() -> String {
    "UTC".to_owned()
}
