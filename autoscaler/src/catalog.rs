//! What the autoscaler needs to know of a revision.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wisp_api::RevisionKey;
use wisp_api::scaling::ScheduledMinimum;
use wisp_api::wire::HostSpec;
use wisp_scaling::Policy;
use wisp_scaling::schedule::Window;

/// One revision, as [`crate::Handle::apply`] takes it. Applying it again replaces what was said before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RevisionRecord {
    /// Which revision.
    pub key: RevisionKey,
    /// All that a host needs to serve it.
    pub spec: HostSpec,
    /// Size of the compiled code, for the bound on what warm instances hold ready. 0 when it is not known.
    #[serde(default)]
    pub artifact_bytes: u64,
    /// How it scales.
    pub policy: Policy,
    /// When its minimum is raised by the clock.
    #[serde(default)]
    pub schedule: Vec<ScheduledMinimum>,
    /// Whether it gets traffic.
    pub traffic: Traffic,
    /// Where its instances come from.
    pub start: Start,
    /// What it lacks to be started, in a sentence: a Secret that is not there. It gets no new instances, what runs is
    /// kept, and those who wait are told.
    #[serde(default)]
    pub lacks: Option<String>,
}

/// Whether a revision gets traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Traffic {
    /// A route leads to it: its minimum, its schedule and `initial` are kept.
    Active,
    /// No route leads to it: it finishes what it has, and goes to zero.
    Inactive,
}

/// Where a revision's instances may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Start {
    /// From a warm instance when there is one, else fresh.
    Warm,
    /// Always fresh: it does not fit a warm instance, or asked for its own.
    Fresh,
}

/// A record that cannot be followed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("revision {key}: {problems}")]
pub struct RecordError {
    key: RevisionKey,
    // All of them, in one line.
    problems: String,
}

/// A record that can be followed, in the form in which the fleet keeps it.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    pub(crate) key: RevisionKey,
    pub(crate) spec: Arc<HostSpec>,
    pub(crate) artifact_bytes: u64,
    pub(crate) policy: Policy,
    pub(crate) windows: Vec<Window>,
    pub(crate) traffic: Traffic,
    pub(crate) start: Start,
    pub(crate) lacks: Option<String>,
}

impl RevisionRecord {
    /// Checks everything that the fleet relies on, and names all that is wrong.
    pub(crate) fn check(self) -> Result<Checked, RecordError> {
        let mut problems = Vec::new();
        if self.spec.namespace != self.key.namespace || self.spec.revision != self.key.name {
            let named = format!("{}/{}", self.spec.namespace, self.spec.revision);
            problems.push(format!("its host spec is that of {named:?}"));
        }
        if let Err(errors) = self.policy.clone().validate() {
            problems.extend(errors.iter().map(ToString::to_string));
        }
        let mut windows = Vec::new();
        for entry in &self.schedule {
            match Window::new(&entry.cron, &entry.time_zone, entry.min, entry.duration.into()) {
                Ok(window) => windows.push(window),
                Err(error) => problems.push(error.to_string()),
            }
        }
        if !problems.is_empty() {
            return Err(RecordError { key: self.key, problems: problems.join("; ") });
        }
        let Self { key, spec, artifact_bytes, policy, traffic, start, lacks, .. } = self;
        Ok(Checked { key, spec: Arc::new(spec), artifact_bytes, policy, windows, traffic, start, lacks })
    }
}
