//! A measurement and no test: what functions that rest cost the operator.
//!
//! `cargo test -p wisp-operator --test cluster -- --ignored --nocapture cost`

use std::time::Duration;

use serde_json::json;
use wisp_cluster::until;

use crate::running::{Place, Running};

const FUNCTIONS: u32 = 1000;
const NAMESPACES: u32 = 10;
/// All of them are compiled, once, and each asks the registry what its tag is.
const PATIENCE: Duration = Duration::from_secs(500);
const REST: Duration = Duration::from_secs(60);

#[tokio::test]
#[ignore = "it measures, for some minutes"]
async fn cost_of_functions_at_rest() {
    let Place { cluster, folder, image } = Place::new().await;
    let first = Running::start(&cluster, folder.path()).await;
    cluster.definitions_are_served().await.unwrap();
    for namespace in 0..NAMESPACES {
        cluster.kubectl(["create", "namespace", &format!("n{namespace}")]).await.unwrap();
    }
    let functions: Vec<_> = (0..FUNCTIONS).map(|number| function(number, &image)).collect();
    let began = first.cpu();
    cluster.apply(&json!({"apiVersion": "v1", "kind": "List", "items": functions}).to_string()).await.unwrap();
    let ready = r#"jsonpath={range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}"#;
    until("all functions are ready", PATIENCE, async || {
        let found = cluster.kubectl(["get", "wf", "-A", "-o", ready]).await?;
        Ok((found.lines().filter(|line| *line == "True").count() == FUNCTIONS as usize).then_some(()))
    })
    .await
    .unwrap();
    say("from their creation until they are ready", first.cpu() - began);
    settle(&first).await;
    let (before, looked) = (first.cpu(), first.reconciled().await);
    tokio::time::sleep(REST).await;
    say(&format!("in {} s of rest", REST.as_secs()), first.cpu() - before);
    println!("{} functions were looked at meanwhile", first.reconciled().await - looked);
    drop(first);

    // All are looked at, and nothing is different.
    let second = Running::start(&cluster, folder.path()).await;
    until("all functions were looked at", PATIENCE, async || {
        Ok((second.reconciled().await >= u64::from(FUNCTIONS)).then_some(()))
    })
    .await
    .unwrap();
    settle(&second).await;
    say("at a new operator's start", second.cpu());
    println!("{} functions were looked at", second.reconciled().await);
}

fn function(number: u32, image: &str) -> serde_json::Value {
    json!({
        "apiVersion": "wisp.dev/v1alpha1", "kind": "WasmFunction",
        "metadata": {"name": format!("f{number}"), "namespace": format!("n{}", number % NAMESPACES)},
        // Pods of pools are another matter.
        "spec": {"component": {"image": image}, "scaling": {"start": "fresh"}},
    })
}

fn say(what: &str, cpu: Duration) {
    println!("{what}: {cpu:.1?} of CPU, {:.2?} for each of {FUNCTIONS} functions", cpu / FUNCTIONS);
}

/// Until nobody is looked at for some seconds.
async fn settle(operator: &Running) {
    let mut before = operator.reconciled().await;
    until("it rests", PATIENCE, async || {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let now = operator.reconciled().await;
        Ok((std::mem::replace(&mut before, now) == now).then_some(()))
    })
    .await
    .unwrap();
}
