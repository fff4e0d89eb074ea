//! What people see of a function, and of the operator.

use anyhow::Context as _;
use serde_json::{Value, json};
use wisp_cluster::until;

use crate::fixture::{Function, PATIENCE, operator, shown};

#[tokio::test]
async fn describe_tells_what_happened_to_a_function() {
    let Some(operator) = operator().await else { return };
    let missing = json!({"image": format!("{}/nothing:2", operator.registry())});
    let function = Function::hello(operator, "told");
    function.clone().with("component", missing).apply().await;
    let describe = ["describe", "wf", "told"];
    operator.until_kubectl(&describe, |found| found.contains("ImageNotFound") && found.contains("Warning")).await;
    function.apply().await;
    let all = operator
        .until_kubectl(&describe, |found| ["RevisionCreated", "told-00001 is made"].iter().all(|it| found.contains(it)))
        .await;
    assert!(all.contains("wisp-operator"), "{all}");
    operator.until_kubectl(&describe, |found| found.contains("it answers at http://told.default.example.com")).await;
}

#[tokio::test]
async fn a_refused_spec_leaves_the_rest_unknown() {
    let Some(operator) = operator().await else { return };
    let function = Function::hello(operator, "refused");
    function.apply().await;
    function.until_ready().await;
    function.clone().with("scaling", json!({"window": "1s"})).apply().await;
    function.until_reason("InvalidSpec").await;
    for condition in ["RevisionReady", "RoutesReady"] {
        let path = format!("{{.status.conditions[?(@.type=='{condition}')].status}}");
        assert_eq!(operator.field("wf/refused", &path).await, "Unknown");
    }
    assert_eq!(operator.field("wf/refused", "{.status.traffic[0].revision}").await, "refused-00001");
    function.apply().await;
    function.until_ready().await;
}

#[tokio::test]
async fn a_quota_that_leaves_no_room_is_the_functions_trouble_until_it_does() {
    let Some(operator) = operator().await else { return };
    operator.kubectl(&["create", "namespace", "cramped"]).await;
    operator.kubectl(&["-n", "cramped", "create", "quota", "none", "--hard=pods=0"]).await;
    let function = Function::hello(operator, "big").within("cramped").with("scaling", json!({"start": "fresh"}));
    function.apply().await;
    function.until_ready().await;
    operator.kubectl(&["-n", "cramped", "scale", "wr/big-00001", "--replicas=1"]).await;
    function.until_reason("QuotaExceeded").await;
    operator.until_kubectl(&["-n", "cramped", "describe", "wf", "big"], |found| found.contains("exceeded quota")).await;
    operator.kubectl(&["-n", "cramped", "delete", "quota", "none"]).await;
    let ready = "{.status.conditions[?(@.type=='Ready')].reason}";
    let path = format!("jsonpath={ready}");
    let get = ["-n", "cramped", "get", "wf", "big", "-o", &path];
    operator.until_kubectl(&get, |found| found != "QuotaExceeded").await;
}

#[tokio::test]
async fn the_dump_shows_what_the_operator_sees() {
    let Some(operator) = operator().await else { return };
    let missing = json!({"image": format!("{}/nothing:3", operator.registry())});
    let function = Function::hello(operator, "dumped");
    function.apply().await;
    function.until_ready().await;
    let failing = function.renamed("dumpfails").with("component", missing);
    failing.apply().await;
    failing.until_reason("ImageNotFound").await;
    // The status is written first, and the next try is queued after that.
    let dump = until("the next try is queued", PATIENCE, async || {
        let dump: Value = serde_json::from_str(&shown(operator.admin(), "dump").await?)?;
        let mut queued = dump["queued"].as_array().context("the queue")?.iter();
        Ok(queued.any(|entry| entry["what"] == "compile default/dumpfails").then_some(dump))
    })
    .await
    .unwrap();
    assert_eq!(dump["leads"], true);
    assert_eq!(dump["functions"]["default/dumped"]["latestReadyRevision"], "dumped-00001");
    assert_eq!(dump["functions"]["default/dumpfails"]["conditions"]["Ready"], json!(["False", "ImageNotFound"]));
    assert_eq!(dump["revisions"]["default/dumped-00001"]["function"], "dumped");
    assert_eq!(dump["pools"]["default/default"]["size"], 2);
}
