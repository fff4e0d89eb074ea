//! Two operators: one leads, and the other takes over when that one is gone.

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::process::{Child, Command};
use wisp_cluster::{Cluster, Settings, can_run, until};

use crate::running::{Place, Running};

/// A dead leader is believed to live for some 15 s; this machine may be building next door.
const PATIENCE: Duration = Duration::from_secs(120);

const APPLIED: &str = "wisp_operator_children_applied_total";

#[tokio::test]
async fn one_of_two_leads_and_the_other_takes_over() {
    if can_run().is_err() {
        return;
    }
    // Of its own: the operator of the other tests would lead here too.
    let cluster = Cluster::start(Settings::default()).await.unwrap();
    cluster.kubectl(["create", "namespace", "wisp-system"]).await.unwrap();
    let stores = tempfile::tempdir().unwrap();
    let start = |name: &str| {
        Command::new(env!("CARGO_BIN_EXE_wisp-operator"))
            .args(["--name", name, "--instance-image", "wisp.test/nothing:1", "--control", "https://192.0.2.1:8443"])
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--store"])
            .arg(stores.path().join(name))
            .env("KUBECONFIG", cluster.kubeconfig())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    };
    let mut operators = [("a", start("a")), ("b", start("b"))];
    let first = leader(&cluster, "").await;
    for (name, operator) in &mut operators {
        let still_runs = operator.try_wait().unwrap().is_none();
        assert!(still_runs, "{name} leads or waits");
        if *name == first {
            operator.kill().await.unwrap();
        }
    }
    let second = leader(&cluster, &first).await;
    assert!(runs(&mut operators, &second), "{second:?} leads, and runs");
}

#[tokio::test]
async fn what_is_as_it_must_be_is_not_applied_by_the_next_operator() {
    if can_run().is_err() {
        return;
    }
    let Place { cluster, folder, image } = Place::new().await;
    let first = Running::start(&cluster, folder.path()).await;
    cluster.definitions_are_served().await.unwrap();
    let function = json!({
        "apiVersion": "wisp.dev/v1alpha1", "kind": "WasmFunction", "metadata": {"name": "stays"},
        "spec": {"component": {"image": image}, "ingress": {"visibility": "public", "hosts": ["stays.example"]}},
    });
    cluster.apply(&function.to_string()).await.unwrap();
    cluster.kubectl(["wait", "--for=condition=Ready", "wf/stays", "--timeout=60s"]).await.unwrap();
    assert!(first.metric(APPLIED).await >= 4, "service, endpoints, ingress and policy");
    drop(first);
    let second = Running::start(&cluster, folder.path()).await;
    until("it has looked", PATIENCE, async || Ok((second.reconciled().await > 0).then_some(()))).await.unwrap();
    // And it looks: what is changed is made as it was.
    cluster.kubectl(["label", "ingress/stays", "team=shop"]).await.unwrap();
    let change = r#"{"spec": {"rules": [{"host": "other.example"}]}}"#;
    cluster.kubectl(["patch", "ingress/stays", "--type=merge", "-p", change]).await.unwrap();
    let hosts = ["get", "ingress/stays", "-o", "jsonpath={.spec.rules[*].host}"];
    let are_back = async || Ok(cluster.kubectl(hosts).await?.contains("stays.example").then_some(()));
    until("the hosts are the function's", PATIENCE, are_back).await.unwrap();
    until("that is counted", PATIENCE, async || Ok((second.metric(APPLIED).await > 0).then_some(()))).await.unwrap();
    assert_eq!(second.metric(APPLIED).await, 1, "nothing else was to be done");
}

fn runs(operators: &mut [(&str, Child)], name: &str) -> bool {
    operators.iter_mut().any(|(its, operator)| *its == name && operator.try_wait().unwrap().is_none())
}

/// Who leads, when that is somebody else than `before`.
async fn leader(cluster: &Cluster, before: &str) -> String {
    let lease = ["-n", "wisp-system", "get", "lease", "wisp-operator", "-o", "jsonpath={.spec.holderIdentity}"];
    until("somebody else leads", PATIENCE, async || {
        let found = cluster.kubectl(lease).await.unwrap_or_default();
        Ok((!found.is_empty() && found != before).then_some(found))
    })
    .await
    .unwrap()
}
