//! Which revisions a function should have. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use wisp_api::function::WasmFunctionSpec;
use wisp_api::ingress::Ingress;
use wisp_api::scaling::Scaling;
use wisp_api::status::{Reason, TrafficStatus};
use wisp_api::{WasmRevision, names};

use kube::ResourceExt;

use crate::status::Step;

/// Whether `spec` runs something else than a revision that was made from `template`: decision 0002.
#[must_use]
pub fn differs(spec: &WasmFunctionSpec, template: &WasmFunctionSpec) -> bool {
    let run = |spec: &WasmFunctionSpec| WasmFunctionSpec {
        scaling: Scaling::default(),
        traffic: Vec::new(),
        ingress: Ingress::default(),
        revision_history_limit: 0,
        ..spec.clone()
    };
    run(spec) != run(template)
}

/// The number in a revision's name.
#[must_use]
pub fn generation(function: &str, revision: &str) -> Option<u32> {
    revision.strip_prefix(function)?.strip_prefix('-')?.parse().ok()
}

/// A function's revisions, oldest first. Others of the same label are left out.
#[must_use]
pub fn ordered(function: &str, revisions: Vec<Arc<WasmRevision>>) -> Vec<Arc<WasmRevision>> {
    let number = |revision: &Arc<WasmRevision>| generation(function, &revision.name_any());
    let mut revisions: Vec<_> = revisions.into_iter().filter(|revision| number(revision).is_some()).collect();
    revisions.sort_by_key(number);
    revisions
}

/// Whether a revision's code is compiled, so that it can be given traffic.
#[must_use]
pub fn is_ready(revision: &WasmRevision) -> bool {
    revision.status.as_ref().is_some_and(|status| !status.artifacts.is_empty())
}

/// What keeps instances from running, as the newest of the revisions with traffic says that has a complaint.
#[must_use]
pub fn failing(revisions: &[Arc<WasmRevision>], traffic: &[TrafficStatus]) -> Option<Step> {
    let used = |revision: &&Arc<WasmRevision>| traffic.iter().any(|target| target.revision == revision.name_any());
    revisions.iter().rev().filter(used).find_map(|revision| {
        let ready = revision.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == "Ready")?;
        let reason = [Reason::InstancesFailing, Reason::QuotaExceeded]
            .into_iter()
            .find(|reason| ready.reason == format!("{reason:?}"))?;
        let message = format!("{}: {}", revision.name_any(), ready.message);
        (ready.status == "False").then_some(Step::Bad(reason, message))
    })
}

/// Revisions to be removed: without traffic and without instances, beyond `limit`, oldest first. The newest stays.
#[must_use]
pub fn outdated(revisions: &[Arc<WasmRevision>], traffic: &[TrafficStatus], limit: u32) -> Vec<String> {
    let used: BTreeSet<&str> = traffic.iter().map(|target| &*target.revision).collect();
    let older = revisions.len().saturating_sub(1);
    let idle = revisions[..older].iter().filter(|revision| !used.contains(&*revision.name_any()));
    let idle: Vec<&Arc<WasmRevision>> = idle.collect();
    let excess = idle.len().saturating_sub(limit as usize);
    let empty = |revision: &&&Arc<WasmRevision>| revision.status.as_ref().is_none_or(|status| status.replicas == 0);
    idle[..excess].iter().filter(empty).map(|revision| revision.name_any()).collect()
}

/// Selects the pods of a revision.
#[must_use]
pub fn selector(revision: &str) -> String {
    format!("{}={revision}", names::LABEL_REVISION)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(more: &serde_json::Value) -> WasmFunctionSpec {
        let mut spec = json!({"component": {"image": "r/x:1"}});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(spec).unwrap()
    }

    fn revision(name: &str, replicas: u32) -> Arc<WasmRevision> {
        let revision = serde_json::from_value(json!({
            "apiVersion": "wisp.dev/v1alpha1", "kind": "WasmRevision", "metadata": {"name": name},
            "spec": {"function": "cart", "digest": "sha256:0", "template": {"component": {"image": "r/x:1"}}},
            "status": {"replicas": replicas, "artifacts": [{"architecture": "amd64", "file": "f", "bytes": 1}]},
        }));
        Arc::new(revision.unwrap())
    }

    fn traffic(revision: &str) -> Vec<TrafficStatus> {
        vec![TrafficStatus { revision: revision.to_owned(), percent: 100, tag: None, url: None }]
    }

    #[test]
    fn scaling_traffic_and_ingress_make_no_revision() {
        let before = spec(&json!({}));
        for same in [
            json!({"scaling": {"max": 3}}),
            json!({"traffic": [{"latest": true, "percent": 100}]}),
            json!({"ingress": {"hosts": ["a.example"]}, "revisionHistoryLimit": 1}),
        ] {
            assert!(!differs(&spec(&same), &before), "{same}");
        }
        for other in
            [json!({"args": ["a"]}), json!({"component": {"image": "r/x:2"}}), json!({"limits": {"memory": "1Mi"}})]
        {
            assert!(differs(&spec(&other), &before), "{other}");
        }
    }

    #[test]
    fn revisions_are_ordered_by_number_and_others_are_left_out() {
        let all = ["cart-00010", "cart-00002", "cart-x", "cartoon-00001"].map(|name| revision(name, 0)).to_vec();
        let names: Vec<String> = ordered("cart", all).iter().map(|revision| revision.name_any()).collect();
        assert_eq!(names, ["cart-00002", "cart-00010"]);
    }

    #[test]
    fn a_revision_whose_instances_do_not_run_is_the_functions_trouble() {
        let complains = |name: &str, reason: &str| {
            let mut revision = revision(name, 0);
            let condition = json!({"type": "Ready", "status": "False", "reason": reason, "message": "exit code 1",
                "lastTransitionTime": "2026-01-01T00:00:00Z"});
            let status = Arc::make_mut(&mut revision).status.as_mut();
            status.unwrap().conditions = vec![serde_json::from_value(condition).unwrap()];
            revision
        };
        let all = [
            complains("cart-00001", "InstancesFailing"),
            complains("cart-00002", "QuotaExceeded"),
            revision("cart-00003", 0),
        ];
        let quota = Step::Bad(Reason::QuotaExceeded, "cart-00002: exit code 1".to_owned());
        assert_eq!(failing(&all, &traffic("cart-00002")), Some(quota));
        assert_eq!(failing(&all, &traffic("cart-00003")), None, "the others have no traffic");
        assert_eq!(failing(&[complains("cart-00001", "Progressing")], &traffic("cart-00001")), None);
    }

    #[test]
    fn old_revisions_go_when_nobody_uses_them() {
        let all = [
            revision("cart-00001", 0),
            revision("cart-00002", 0),
            revision("cart-00003", 0),
            revision("cart-00004", 0),
        ];
        assert_eq!(outdated(&all, &traffic("cart-00004"), 1), ["cart-00001", "cart-00002"]);
        assert_eq!(outdated(&all, &traffic("cart-00001"), 0), ["cart-00002", "cart-00003"]);
        let busy = [revision("cart-00001", 1), revision("cart-00002", 0)];
        assert!(outdated(&busy, &traffic("cart-00002"), 0).is_empty(), "its instances finish first");
    }
}
