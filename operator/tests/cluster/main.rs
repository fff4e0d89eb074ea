//! The operator against a real API server and real registries: it runs as a process on this machine, as the cluster's
//! administrator. What its pods do is for `tests/platform`.

#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "what cannot go on fails the test")]

mod artifacts;
mod components;
mod cost;
mod fixture;
mod leader;
mod reach;
mod running;
mod seeing;

use serde_json::json;

use crate::fixture::{Function, operator};

#[tokio::test]
async fn a_function_becomes_a_revision_with_compiled_code_and_no_pod() {
    let Some(operator) = operator().await else { return };
    let function = Function::hello(operator, "ready");
    function.apply().await;
    function.until("{.status.conditions[?(@.type=='Ready')].status}", "True").await;
    function.until("{.status.latestReadyRevision}", "ready-00001").await;
    function.until("{.status.traffic[0].revision}", "ready-00001").await;
    function.until("{.status.url}", "http://ready.default.example.com").await;
    let file = operator.field("wr/ready-00001", "{.status.artifacts[0].file}").await;
    assert!(file.ends_with(".wisp"), "{file}");
    let pods = operator.kubectl(&["get", "pods", "-l", "wisp.dev/function=ready", "-o", "name"]).await;
    assert_eq!(pods, "");
}

#[tokio::test]
async fn the_scale_of_a_revision_is_its_number_of_pods() {
    let Some(operator) = operator().await else { return };
    let function = Function::hello(operator, "scaled").with("scaling", json!({"start": "fresh"}));
    function.apply().await;
    function.until("{.status.latestReadyRevision}", "scaled-00001").await;
    operator.kubectl(&["scale", "wr/scaled-00001", "--replicas=2"]).await;
    operator.until("wr/scaled-00001", "{.status.replicas}", "2").await;
    let names =
        ["get", "pods", "-l", "wisp.dev/revision=scaled-00001", "-o", "jsonpath={.items[*].spec.runtimeClassName}"];
    assert_eq!(operator.kubectl(&names).await, "wisp wisp");
    function.until("{.status.replicas}", "2").await;
    // A pod that must go is replaced while the scale says so.
    let first = ["get", "pods", "-l", "wisp.dev/revision=scaled-00001", "-o", "jsonpath={.items[0].metadata.name}"];
    let first = operator.kubectl(&first).await;
    operator.kubectl(&["annotate", "pod", &first, "wisp.dev/stop=test"]).await;
    operator.until_gone(&format!("pod/{first}")).await;
    operator.until("wr/scaled-00001", "{.status.replicas}", "2").await;
}

#[tokio::test]
async fn what_is_wrong_with_a_component_is_said_with_what_to_do() {
    let Some(operator) = operator().await else { return };
    for (name, component, reason) in [
        ("missing", json!({"image": format!("{}/nothing:1", operator.registry())}), "ImageNotFound"),
        ("core", json!({"image": format!("{}/core:1", operator.registry())}), "NotAComponent"),
        ("nohttp", json!({"image": format!("{}/nohttp:1", operator.registry())}), "WorldUnsupported"),
    ] {
        let function = Function::hello(operator, name).with("component", component);
        function.apply().await;
        function.until("{.status.conditions[?(@.type=='Ready')].reason}", reason).await;
        let message = operator.field(&format!("wf/{name}"), "{.status.conditions[?(@.type=='Ready')].message}").await;
        assert!(!message.is_empty());
    }
}

#[tokio::test]
async fn a_new_component_makes_a_revision_and_scaling_makes_none() {
    let Some(operator) = operator().await else { return };
    let function = Function::hello(operator, "changes");
    function.apply().await;
    function.until("{.status.latestReadyRevision}", "changes-00001").await;
    function.clone().with("args", json!(["other"])).apply().await;
    function.until("{.status.latestReadyRevision}", "changes-00002").await;
    function.until("{.status.traffic[0].revision}", "changes-00002").await;
    function.clone().with("args", json!(["other"])).with("scaling", json!({"max": 7})).apply().await;
    function.until("{.status.observedGeneration}", "3").await;
    function.until("{.status.latestReadyRevision}", "changes-00002").await;
    let split = json!([{"revision": "changes-00001", "percent": 90}, {"latest": true, "percent": 10, "tag": "new"}]);
    function.with("args", json!(["other"])).with("traffic", split).apply().await;
    operator.until("wf/changes", "{.status.traffic[1].url}", "http://new-changes.default.example.com").await;
}

#[tokio::test]
async fn children_come_back_and_foreign_objects_are_left_alone() {
    let Some(operator) = operator().await else { return };
    let function = Function::hello(operator, "children");
    function.apply().await;
    function.until("{.status.conditions[?(@.type=='Ready')].status}", "True").await;
    let before = operator.field("service/children", "{.metadata.uid}").await;
    operator.kubectl(&["delete", "service", "children"]).await;
    operator.until_other("service/children", "{.metadata.uid}", &before).await;

    operator.kubectl(&["create", "service", "clusterip", "foreign", "--tcp=80:80"]).await;
    let foreign = Function::hello(operator, "foreign");
    foreign.apply().await;
    foreign.until_reason("HostConflict").await;
    assert_eq!(operator.field("service/foreign", "{.metadata.ownerReferences}").await, "");
    // It is nobody's business but the function's when the other goes.
    operator.kubectl(&["delete", "service", "foreign"]).await;
    foreign.until_ready().await;
    operator.until("service/foreign", "{.metadata.ownerReferences[0].kind}", "WasmFunction").await;
}

#[tokio::test]
async fn revisions_beyond_the_history_are_removed() {
    let Some(operator) = operator().await else { return };
    let function = Function::hello(operator, "history").with("revisionHistoryLimit", json!(1));
    for (number, revision) in ["history-00001", "history-00002", "history-00003"].iter().enumerate() {
        function.clone().with("args", json!([number.to_string()])).apply().await;
        function.until("{.status.traffic[0].revision}", revision).await;
    }
    operator.until_gone("wr/history-00001").await;
    let left = operator.kubectl(&["get", "wr", "-l", "wisp.dev/function=history", "-o", "name"]).await;
    assert_eq!(left.lines().count(), 2, "{left}");
}

#[tokio::test]
async fn a_pod_that_has_ended_well_is_replaced() {
    let Some(operator) = operator().await else { return };
    let function = Function::hello(operator, "ended").with("scaling", json!({"start": "fresh"}));
    function.apply().await;
    function.until("{.status.latestReadyRevision}", "ended-00001").await;
    operator.kubectl(&["scale", "wr/ended-00001", "--replicas=1"]).await;
    let names = ["get", "pods", "-l", "wisp.dev/revision=ended-00001", "-o", "jsonpath={.items[*].metadata.name}"];
    let first = operator.until_kubectl(&names, |found| !found.is_empty()).await;
    let ended = r#"{"status": {"phase": "Succeeded"}}"#;
    operator.kubectl(&["patch", "pod", &first, "--subresource=status", "--type=merge", "-p", ended]).await;
    operator.until_kubectl(&names, |found| !found.is_empty() && !found.contains(&first)).await;
    operator.until("wr/ended-00001", "{.status.replicas}", "1").await;
}

#[tokio::test]
async fn the_pool_of_a_namespace_lasts_as_long_as_somebody_wants_it() {
    let Some(operator) = operator().await else { return };
    operator.kubectl(&["create", "namespace", "pooled"]).await;
    let function = Function::hello(operator, "warm").within("pooled");
    function.apply().await;
    let unclaimed =
        ["-n", "pooled", "get", "pods", "-l", "wisp.dev/pool=default", "-o", "jsonpath={.items[*].metadata.name}"];
    let pods = operator.until_kubectl(&unclaimed, |found| found.split(' ').count() == 2).await;
    function.until("{.status.latestReadyRevision}", "warm-00001").await;
    // A claim is a change of labels; the pool fills up, and the pod goes over to its revision.
    let claimed = pods.split(' ').next().unwrap();
    let labels = [
        "-n",
        "pooled",
        "label",
        "pod",
        claimed,
        "wisp.dev/pool-",
        "wisp.dev/revision=warm-00001",
        "wisp.dev/function=warm",
    ];
    operator.kubectl(&labels).await;
    operator.until_kubectl(&unclaimed, |found| found.split(' ').count() == 2 && !found.contains(claimed)).await;
    let owner = ["-n", "pooled", "get", "pod", claimed, "-o", "jsonpath={.metadata.ownerReferences[*].kind}"];
    operator.until_kubectl(&owner, |found| found == "WasmRevision").await;
    // A pool of ours that somebody deletes comes back.
    let uid = ["-n", "pooled", "get", "wp", "default", "-o", "jsonpath={.metadata.uid}"];
    let before = operator.kubectl(&uid).await;
    operator.kubectl(&["-n", "pooled", "delete", "wp", "default"]).await;
    operator.until_kubectl(&uid, |found| !found.contains("NotFound") && found != before).await;
    operator.kubectl(&["-n", "pooled", "delete", "wf", "warm"]).await;
    operator.until_kubectl(&["-n", "pooled", "get", "wp", "-o", "name"], str::is_empty).await;
}
