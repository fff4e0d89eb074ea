//! What is told of a function as events of Kubernetes: changes of its status that somebody may look for. Which ones is
//! pure; a status that stays as it is tells nothing, so their number is that of its changes.

use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Resource, ResourceExt};
use wisp_api::status::{Reason, WasmFunctionStatus};

/// The API server takes 1 KiB.
const NOTE_BYTES_MAX: usize = 1000;
const STEPS: [&str; 3] = ["ComponentReady", "RevisionReady", "RoutesReady"];

/// Something to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// Whether somebody may have to act.
    pub severity: Severity,
    /// One word.
    pub reason: String,
    /// What was being done.
    pub action: &'static str,
    /// For people.
    pub note: String,
}

/// Whether somebody may have to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// All is well.
    Normal,
    /// Something is not.
    Warning,
}

/// What changed from one status to the next.
#[must_use]
pub fn between(before: Option<&WasmFunctionStatus>, now: &WasmFunctionStatus) -> Vec<Happened> {
    let mut all = Vec::new();
    let created = |status: &WasmFunctionStatus| status.latest_created_revision.clone();
    if let Some(revision) = created(now).filter(|_| before.and_then(created) != created(now)) {
        all.push(normal(
            "RevisionCreated",
            "Reconcile",
            format!("its component is compiled; revision {revision} is made"),
        ));
    }
    all.extend(STEPS.iter().filter_map(|step| step_between(step, before, now)));
    let traffic = |status: &WasmFunctionStatus| {
        let shares = status.traffic.iter().filter(|target| target.percent > 0);
        shares.map(|target| format!("{} {} %", target.revision, target.percent)).collect::<Vec<_>>()
    };
    let moved = before.map(traffic).filter(|before| !before.is_empty() && *before != traffic(now));
    if moved.is_some() {
        all.push(normal("TrafficMoved", "Route", format!("traffic goes to {}", traffic(now).join(", "))));
    }
    let is_ready = |status: &WasmFunctionStatus| state(status, "Ready").is_some_and(|(is, _, _)| is == "True");
    if is_ready(now) && !before.is_some_and(is_ready) {
        let url = now.url.as_ref().or(now.address.as_ref()).cloned().unwrap_or_default();
        all.push(normal("Ready", "Reconcile", format!("it answers at {url}")));
    }
    all
}

fn step_between(step: &str, before: Option<&WasmFunctionStatus>, now: &WasmFunctionStatus) -> Option<Happened> {
    let (is, reason, message) = state(now, step)?;
    let (was, because, _) = before.and_then(|before| state(before, step)).unwrap_or_default();
    let quiet = [format!("{:?}", Reason::Progressing), format!("{:?}", Reason::Ready)];
    if is == "False" && !quiet.iter().any(|quiet| quiet == reason) && (was, because) != (is, reason) {
        let (reason, note) = (reason.to_owned(), message.to_owned());
        return Some(Happened { severity: Severity::Warning, reason, action: action(step), note });
    }
    let was_bad = was == "False" && !quiet.iter().any(|quiet| quiet == because);
    (is == "True" && was_bad).then(|| normal(step, action(step), format!("{because} is over")))
}

fn action(step: &str) -> &'static str {
    match step {
        "ComponentReady" => "Compile",
        "RoutesReady" => "Route",
        _ => "Run",
    }
}

fn normal(reason: &str, action: &'static str, note: String) -> Happened {
    Happened { severity: Severity::Normal, reason: reason.to_owned(), action, note }
}

fn state<'a>(status: &'a WasmFunctionStatus, name: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let found = status.conditions.iter().find(|condition| condition.type_ == name)?;
    Some((&found.status, &found.reason, &found.message))
}

/// Tells it of `object`. An event that cannot be written is no reason to do anything over again.
pub async fn tell<K: Resource<DynamicType = ()>>(recorder: &Recorder, object: &K, happened: Happened) {
    let Happened { severity, reason, action, note } = happened;
    let type_ = match severity {
        Severity::Normal => EventType::Normal,
        Severity::Warning => EventType::Warning,
    };
    let note = Some(short(note));
    let event = Event { type_, reason, note, action: action.to_owned(), secondary: None };
    if let Err(error) = recorder.publish(&event, &object.object_ref(&())).await {
        tracing::warn!(object = object.name_any(), reason = event.reason, %error, "an event cannot be written");
    }
}

fn short(mut note: String) -> String {
    if note.len() > NOTE_BYTES_MAX {
        let end = (0..=NOTE_BYTES_MAX).rev().find(|end| note.is_char_boundary(*end)).unwrap_or(0);
        note.truncate(end);
        note.push('…');
    }
    note
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn status(conditions: &[(&str, &str, &str)], more: &Value) -> WasmFunctionStatus {
        let condition = |(name, is, reason): &(&str, &str, &str)| {
            json!({"type": name, "status": is, "reason": reason, "message": format!("{reason}!"),
                "lastTransitionTime": "2026-01-01T00:00:00Z"})
        };
        let mut status = json!({"conditions": conditions.iter().map(condition).collect::<Vec<_>>()});
        status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(status).unwrap()
    }

    fn told(before: Option<&WasmFunctionStatus>, now: &WasmFunctionStatus) -> Vec<(Severity, String)> {
        between(before, now).into_iter().map(|happened| (happened.severity, happened.reason)).collect()
    }

    #[test]
    fn a_function_that_becomes_ready_tells_its_revision_and_where_it_answers() {
        let waits =
            status(&[("Ready", "False", "Progressing"), ("ComponentReady", "False", "Progressing")], &json!({}));
        assert_eq!(told(None, &waits), []);
        let more = json!({"url": "http://cart.shop.example.com", "latestCreatedRevision": "cart-00001"});
        let ready = status(&[("Ready", "True", "Ready"), ("ComponentReady", "True", "Ready")], &more);
        let normal = |reason: &str| (Severity::Normal, reason.to_owned());
        assert_eq!(told(Some(&waits), &ready), [normal("RevisionCreated"), normal("Ready")]);
        assert_eq!(told(Some(&ready), &ready), []);
        assert!(between(Some(&waits), &ready)[1].note.contains("http://cart.shop.example.com"));
    }

    #[test]
    fn what_goes_wrong_is_told_once_and_so_is_its_end() {
        let good = status(&[("ComponentReady", "True", "Ready"), ("RoutesReady", "True", "Ready")], &json!({}));
        let bad = status(&[("ComponentReady", "False", "ImageNotFound"), ("RoutesReady", "True", "Ready")], &json!({}));
        let warning = |reason: &str| (Severity::Warning, reason.to_owned());
        assert_eq!(told(Some(&good), &bad), [warning("ImageNotFound")]);
        assert_eq!(told(None, &bad), [warning("ImageNotFound")]);
        assert_eq!(told(Some(&bad), &bad), []);
        let other = status(&[("ComponentReady", "False", "ImageUnauthorized")], &json!({}));
        assert_eq!(told(Some(&bad), &other), [warning("ImageUnauthorized")]);
        assert_eq!(told(Some(&bad), &good), [(Severity::Normal, "ComponentReady".to_owned())]);
        let unknown = status(&[("RoutesReady", "Unknown", "InvalidSpec")], &json!({}));
        assert_eq!(told(Some(&good), &unknown), []);
    }

    #[test]
    fn traffic_that_moves_says_where_to() {
        let to = |revision: &str| status(&[], &json!({"traffic": [{"revision": revision, "percent": 100}]}));
        assert_eq!(told(Some(&status(&[], &json!({}))), &to("cart-00001")), [], "the first has not moved");
        let moved = between(Some(&to("cart-00001")), &to("cart-00002"));
        assert_eq!(moved[0].note, "traffic goes to cart-00002 100 %");
    }

    #[test]
    fn a_long_note_is_cut_between_characters() {
        let cut = short("é".repeat(600));
        assert!(cut.len() <= 1024 && cut.ends_with('…'));
        assert_eq!(short("short".to_owned()), "short");
    }
}
