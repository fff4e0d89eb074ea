//! What the operator says of a function: its status, from what was seen. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use wisp_api::status::{Reason, TrafficStatus, WasmFunctionStatus};
use wisp_api::{FunctionKey, WasmRevision, route};

/// What was found of one step: well, or a reason and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is done.
    Good,
    /// It is under way.
    Waiting(String),
    /// It cannot be done.
    Bad(Reason, String),
    /// It was not looked at, for this reason.
    Unknown(Reason, String),
}

/// All that a status tells.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The generation of the spec that was looked at.
    pub generation: Option<i64>,
    /// Whether the component can be had and compiled.
    pub component: Step,
    /// Whether the newest revision can be given traffic.
    pub revision: Step,
    /// Whether clients can reach it.
    pub routes: Step,
    /// The newest revision.
    pub latest_created: Option<String>,
    /// The newest that can be given traffic.
    pub latest_ready: Option<String>,
    /// Where its requests go.
    pub traffic: Vec<TrafficStatus>,
    /// Instances of all its revisions.
    pub replicas: u32,
    /// Whether it has a host outside of the cluster.
    pub public: bool,
}

/// The status of a function, with the times of `before` where nothing changed.
#[must_use]
pub fn status(key: &FunctionKey, domain: &str, seen: Seen, before: Option<&WasmFunctionStatus>) -> WasmFunctionStatus {
    let host = route::host(key, domain);
    let mut traffic = seen.traffic;
    for target in &mut traffic {
        target.url = target.tag.as_ref().filter(|_| seen.public).map(|tag| format!("http://{tag}-{host}"));
    }
    let ready = [&seen.component, &seen.revision, &seen.routes].into_iter().find(|step| **step != Step::Good);
    let active =
        if seen.replicas > 0 { Step::Good } else { Step::Waiting("no instance runs; a request starts one".to_owned()) };
    let steps = [
        ("Ready", ready.unwrap_or(&Step::Good), Reason::Progressing),
        ("ComponentReady", &seen.component, Reason::Progressing),
        ("RevisionReady", &seen.revision, Reason::Progressing),
        ("RoutesReady", &seen.routes, Reason::Progressing),
        ("Active", &active, Reason::ScaledToZero),
    ];
    let old = before.map(|status| status.conditions.as_slice()).unwrap_or_default();
    let conditions = steps.map(|(name, step, waiting)| {
        let mut condition = step.condition(name, waiting);
        condition.observed_generation = seen.generation;
        keep_time(condition, old)
    });
    WasmFunctionStatus {
        url: seen.public.then(|| format!("http://{host}")),
        address: Some(format!("http://{}.{}.svc", key.name, key.namespace)),
        observed_generation: seen.generation,
        latest_created_revision: seen.latest_created,
        latest_ready_revision: seen.latest_ready,
        traffic,
        replicas: seen.replicas,
        conditions: conditions.to_vec(),
    }
}

/// The condition of a revision.
#[must_use]
pub fn revision_ready(step: &Step, old: &[Condition]) -> Condition {
    keep_time(step.condition("Ready", Reason::Progressing), old)
}

/// What a revision says of its instances already.
#[must_use]
pub fn as_before(revision: &WasmRevision) -> Step {
    let conditions = revision.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let said = conditions.iter().find(|condition| condition.type_ == "Ready" && condition.status == "False");
    said.map_or(Step::Good, |said| {
        let reason = [Reason::QuotaExceeded, Reason::InstancesFailing];
        let reason = reason.into_iter().find(|reason| said.reason == format!("{reason:?}"));
        Step::Bad(reason.unwrap_or(Reason::InstancesFailing), said.message.clone())
    })
}

impl Step {
    fn condition(&self, name: &str, waiting: Reason) -> Condition {
        let (status, reason, message) = match self {
            Self::Good => ("True", Reason::Ready, String::new()),
            Self::Waiting(message) => ("False", waiting, message.clone()),
            Self::Bad(reason, message) => ("False", *reason, message.clone()),
            Self::Unknown(reason, message) => ("Unknown", *reason, message.clone()),
        };
        Condition {
            type_: name.to_owned(),
            status: status.to_owned(),
            reason: format!("{reason:?}"),
            message,
            last_transition_time: Time(Timestamp::now()),
            observed_generation: None,
        }
    }
}

fn keep_time(mut condition: Condition, old: &[Condition]) -> Condition {
    let same = old.iter().find(|old| old.type_ == condition.type_ && old.status == condition.status);
    if let Some(same) = same {
        condition.last_transition_time = same.last_transition_time.clone();
    }
    condition
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Seen {
        Seen {
            generation: Some(3),
            component: Step::Good,
            revision: Step::Good,
            routes: Step::Good,
            latest_created: Some("cart-00001".to_owned()),
            latest_ready: Some("cart-00001".to_owned()),
            traffic: vec![TrafficStatus {
                revision: "cart-00001".to_owned(),
                percent: 100,
                tag: Some("blue".to_owned()),
                url: None,
            }],
            replicas: 0,
            public: true,
        }
    }

    fn of(seen: Seen, before: Option<&WasmFunctionStatus>) -> WasmFunctionStatus {
        status(&FunctionKey::new("shop", "cart"), "example.com", seen, before)
    }

    fn condition<'a>(status: &'a WasmFunctionStatus, name: &str) -> &'a Condition {
        status.conditions.iter().find(|condition| condition.type_ == name).unwrap()
    }

    #[test]
    fn a_function_at_zero_is_ready_and_not_active() {
        let status = of(seen(), None);
        assert_eq!(condition(&status, "Ready").status, "True");
        assert_eq!(condition(&status, "Active").reason, "ScaledToZero");
        assert_eq!(status.url.as_deref(), Some("http://cart.shop.example.com"));
        assert_eq!(status.traffic[0].url.as_deref(), Some("http://blue-cart.shop.example.com"));
    }

    #[test]
    fn the_first_step_that_fails_is_the_reason() {
        let component = Step::Bad(Reason::ImageNotFound, "push it".to_owned());
        let status = of(Seen { component, revision: Step::Waiting("later".to_owned()), ..seen() }, None);
        assert_eq!(condition(&status, "Ready").reason, "ImageNotFound");
        assert_eq!(condition(&status, "Ready").message, "push it");
        assert_eq!(condition(&status, "RevisionReady").reason, "Progressing");
    }

    #[test]
    fn what_was_not_looked_at_is_unknown() {
        let unknown = Step::Unknown(Reason::InvalidSpec, "the spec is refused".to_owned());
        let component = Step::Bad(Reason::InvalidSpec, "correct it".to_owned());
        let status = of(Seen { component, revision: unknown.clone(), routes: unknown, ..seen() }, None);
        for (name, is) in [("Ready", "False"), ("RevisionReady", "Unknown"), ("RoutesReady", "Unknown")] {
            assert_eq!(
                (condition(&status, name).status.as_str(), condition(&status, name).reason.as_str()),
                (is, "InvalidSpec")
            );
        }
        assert_eq!(condition(&status, "Ready").message, "correct it");
    }

    #[test]
    fn times_change_with_the_condition_only() {
        let mut first = of(seen(), None);
        let long_ago = Time(Timestamp::UNIX_EPOCH);
        first.conditions.iter_mut().for_each(|condition| condition.last_transition_time = long_ago.clone());
        let second = of(Seen { replicas: 1, ..seen() }, Some(&first));
        assert_eq!(condition(&second, "Ready").last_transition_time, long_ago);
        assert_ne!(condition(&second, "Active").last_transition_time, long_ago);
        assert_eq!(of(seen(), Some(&first)), first, "nothing is written when nothing changed");
    }
}
