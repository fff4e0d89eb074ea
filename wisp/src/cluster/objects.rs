//! Objects of the API server in the form of [`crate::view`]. Pure.

use std::collections::HashMap;
use std::str::FromStr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt;
use wisp_api::names::{ANNOTATION_LEAVING, LABEL_FUNCTION, LABEL_REVISION};
use wisp_api::status::{Reason, WasmFunctionStatus};
use wisp_api::{FunctionKey, WasmFunction, WasmRevision};

use crate::view::{Detail, Event, Function, Instance, Ready, Revision};

/// The state of an instance that serves.
const READY: &str = "ready";
const DRAINING: &str = "draining";
const STARTING: &str = "starting";

/// A function with its revisions and pods. `seen` is where it was found, and when.
pub(super) fn detail(
    function: &WasmFunction,
    revisions: &[WasmRevision],
    pods: &[Pod],
    seen: (String, Timestamp),
) -> Detail {
    let (origin, now) = seen;
    let shown = self::function(function, &pods.iter().collect::<Vec<_>>());
    let mut events: Vec<Event> = status(function).conditions.iter().map(event).collect();
    events.sort_by_key(|event| event.unix_millis);
    Detail {
        revisions: revisions.iter().rev().map(|found| revision(found, &shown, pods)).collect(),
        instances: pods.iter().map(|pod| instance(pod, now)).collect(),
        origin,
        spec: Some(function.spec.clone()),
        events,
        function: shown,
    }
}

/// Which function each pod belongs to.
pub(super) fn by_function(pods: &[Pod]) -> HashMap<FunctionKey, Vec<&Pod>> {
    let mut found: HashMap<FunctionKey, Vec<&Pod>> = HashMap::new();
    for pod in pods {
        if let Some(function) = pod.labels().get(LABEL_FUNCTION) {
            found.entry(FunctionKey::new(pod.namespace().unwrap_or_default(), function)).or_default().push(pod);
        }
    }
    found
}

pub(super) fn key(function: &WasmFunction) -> FunctionKey {
    FunctionKey::new(function.namespace().unwrap_or_default(), function.name_any())
}

/// A function with its own pods.
pub(super) fn function(function: &WasmFunction, pods: &[&Pod]) -> Function {
    let status = status(function);
    let (ready, reason, message) = condition(function);
    let (name, namespace) = (function.name_any(), function.namespace().unwrap_or_default());
    let count = |wanted: &str| {
        let found = pods.iter().filter(|pod| state(pod) == wanted).count();
        u32::try_from(found).unwrap_or(u32::MAX)
    };
    Function {
        url: status.url.or(status.address).unwrap_or_default(),
        ready,
        reason,
        message,
        latest_revision: status.latest_created_revision.unwrap_or_default(),
        traffic: status.traffic,
        replicas: count(READY),
        starting: count(STARTING),
        draining: count(DRAINING),
        requests: None,
        created_unix_seconds: unix_millis(created(function.metadata.creation_timestamp.as_ref())) / 1000,
        name,
        namespace,
    }
}

/// Whether the operator has looked at the present spec.
pub(super) fn is_seen(function: &WasmFunction) -> bool {
    let status = status(function);
    status.observed_generation == function.metadata.generation && !status.conditions.is_empty()
}

/// Whether a function can answer requests by its present spec, why, and what to do.
pub(super) fn condition(function: &WasmFunction) -> (Ready, Reason, String) {
    let status = status(function);
    let found = status.conditions.iter().find(|condition| condition.type_ == "Ready");
    let Some(found) = found.filter(|_| is_seen(function)) else {
        return (Ready::Unknown, Reason::Progressing, "the operator has not looked at it yet".to_owned());
    };
    let known: Option<Reason> = serde_json::from_value(found.reason.as_str().into()).ok();
    let ready = match (found.status.as_str(), known) {
        ("True", _) => Ready::True,
        (_, Some(Reason::Progressing)) => Ready::Unknown,
        _ => Ready::False,
    };
    let reason = known.unwrap_or(Reason::Progressing);
    let message = if found.message.is_empty() { found.reason.to_lowercase() } else { found.message.clone() };
    (ready, reason, message)
}

pub(super) fn unix_millis(time: Timestamp) -> u64 {
    u64::try_from(time.as_millisecond()).unwrap_or(0)
}

fn status(function: &WasmFunction) -> WasmFunctionStatus {
    function.status.clone().unwrap_or_default()
}

fn created(time: Option<&Time>) -> Timestamp {
    time.map_or(Timestamp::UNIX_EPOCH, |time| time.0)
}

fn revision(revision: &WasmRevision, function: &Function, pods: &[Pod]) -> Revision {
    let name = revision.name_any();
    let shares = function.traffic.iter().filter(|target| target.revision == name);
    let percent = shares.map(|target| target.percent).sum();
    let serving = pods.iter().filter(|pod| pod.labels().get(LABEL_REVISION) == Some(&name) && state(pod) == READY);
    Revision {
        digest: revision.spec.digest.clone(),
        created_unix_seconds: unix_millis(created(revision.metadata.creation_timestamp.as_ref())) / 1000,
        percent,
        wanted: revision.spec.replicas,
        ready: u32::try_from(serving.count()).unwrap_or(u32::MAX),
        name,
    }
}

fn instance(pod: &Pod, now: Timestamp) -> Instance {
    let age = unix_millis(now).saturating_sub(unix_millis(created(pod.metadata.creation_timestamp.as_ref())));
    Instance {
        name: pod.name_any(),
        pid: None,
        revision: pod.labels().get(LABEL_REVISION).cloned().unwrap_or_default(),
        state: state(pod).to_owned(),
        in_flight: None,
        age_millis: age,
    }
}

/// By its condition, whether it is about to go or not.
pub(super) fn is_ready(pod: &Pod) -> bool {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|found| found.type_ == "Ready" && found.status == "True")
}

fn state(pod: &Pod) -> &'static str {
    match pod.status.as_ref().and_then(|status| status.phase.as_deref()) {
        Some("Succeeded") => "ended",
        Some("Failed") => "failed",
        _ if pod.metadata.deletion_timestamp.is_some() || pod.annotations().contains_key(ANNOTATION_LEAVING) => {
            DRAINING
        }
        _ if is_ready(pod) => READY,
        _ => STARTING,
    }
}

/// A condition says what happened last in its matter.
fn event(condition: &Condition) -> Event {
    let Condition { type_, status, reason, message, last_transition_time, .. } = condition;
    let message = if message.is_empty() { format!("{type_} is {status}") } else { message.clone() };
    let reason = if reason == "Ready" { type_.clone() } else { format!("{type_}: {reason}") };
    Event { unix_millis: unix_millis(last_transition_time.0), reason, message }
}

/// A line of a pod's log with its time before it, as the API server writes it.
pub(super) fn timed(line: &str) -> Option<(Timestamp, &str)> {
    let (time, text) = line.split_once(' ').unwrap_or((line, ""));
    Some((Timestamp::from_str(time).ok()?, text))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn hello(status: &Value) -> WasmFunction {
        serde_json::from_value(json!({
            "apiVersion": "wisp.dev/v1alpha1", "kind": "WasmFunction",
            "metadata": {"name": "hello", "namespace": "shop", "generation": 2, "creationTimestamp": "1970-01-01T00:01:00Z"},
            "spec": {"component": {"image": "r/hello:1"}},
            "status": status,
        }))
        .unwrap()
    }

    fn pod(name: &str, more: &Value) -> Pod {
        let labels = json!({"wisp.dev/function": "hello", "wisp.dev/revision": "hello-00001"});
        let mut pod = json!({
            "metadata": {"name": name, "namespace": "shop", "labels": labels, "creationTimestamp": "1970-01-01T00:02:00Z"},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        });
        if let Some(more) = more.as_object() {
            for (field, value) in more {
                pod["metadata"][field] = value.clone();
            }
        }
        serde_json::from_value(pod).unwrap()
    }

    fn status(generation: u32, ready: &str, reason: &str) -> Value {
        json!({
            "url": "http://hello.shop.example.com", "address": "http://hello.shop.svc", "observedGeneration": generation,
            "latestCreatedRevision": "hello-00001", "replicas": 1,
            "traffic": [{"revision": "hello-00001", "percent": 100}],
            "conditions": [{"type": "Ready", "status": ready, "reason": reason, "message": "push it",
                            "lastTransitionTime": "1970-01-01T00:03:00Z"}],
        })
    }

    #[test]
    fn a_condition_counts_for_the_spec_that_it_was_made_of() {
        let table = [
            (json!({}), (Ready::Unknown, Reason::Progressing)),
            (status(1, "True", "Ready"), (Ready::Unknown, Reason::Progressing)),
            (status(2, "True", "Ready"), (Ready::True, Reason::Ready)),
            (status(2, "False", "Progressing"), (Ready::Unknown, Reason::Progressing)),
            (status(2, "False", "ImageNotFound"), (Ready::False, Reason::ImageNotFound)),
        ];
        for (status, wanted) in table {
            let (ready, reason, _) = condition(&hello(&status));
            assert_eq!((ready, reason), wanted, "{status}");
        }
    }

    #[test]
    fn pods_are_instances_and_counted_by_what_they_do() {
        let pods = [
            pod("a", &json!({})),
            pod("b", &json!({"annotations": {"wisp.dev/leaving": "drains"}})),
            pod("c", &json!({"deletionTimestamp": "1970-01-01T00:03:00Z"})),
        ];
        let now = Timestamp::from_second(180).unwrap();
        let found = detail(&hello(&status(2, "True", "Ready")), &[], &pods, ("here".to_owned(), now));
        assert_eq!((found.function.replicas, found.function.draining, found.function.starting), (1, 2, 0));
        assert_eq!(found.function.url, "http://hello.shop.example.com");
        assert_eq!(found.function.created_unix_seconds, 60);
        assert_eq!((found.instances[0].state.as_str(), found.instances[0].age_millis), ("ready", 60_000));
        assert_eq!((found.events[0].reason.as_str(), found.events[0].unix_millis), ("Ready", 180_000));
    }

    #[test]
    fn pods_are_found_by_their_function() {
        let other = pod("b", &json!({"labels": {"wisp.dev/function": "other"}}));
        let pods = [pod("a", &json!({})), other, pod("c", &json!({"labels": {}}))];
        let found = by_function(&pods);
        assert_eq!(found.len(), 2);
        assert_eq!(found[&FunctionKey::new("shop", "hello")][0].name_any(), "a");
    }

    #[test]
    fn a_function_of_the_cluster_alone_is_shown_by_its_address() {
        let mut status = status(2, "True", "Ready");
        status["url"] = Value::Null;
        assert_eq!(function(&hello(&status), &[]).url, "http://hello.shop.svc");
    }

    #[test]
    fn lines_of_a_log_begin_with_their_time() {
        let (time, text) = timed("2025-11-24T16:00:00.125999999Z took  long").unwrap();
        assert_eq!((unix_millis(time), text), (1_764_000_000_125, "took  long"));
        assert_eq!(timed("2025-11-24T16:00:00Z").unwrap().1, "");
        assert!(timed("failed to open the log").is_none());
    }
}
