//! A release: tested, changed under load, taken away, and installed again.

use std::sync::Mutex;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use wisp_cluster::{Cluster, until};
use wisp_platform::{Load, PATIENCE, SYSTEM, hello};

use crate::bare::{Bare, bare, helm};

/// What an installation leaves in its namespace, as docs/kubernetes.md says.
const LEFT: [&str; 10] = [
    "configmap/kube-root-ca.crt",
    "configmap/wisp-ca",
    "endpointslice.discovery.k8s.io/wisp-autoscaler",
    "lease.coordination.k8s.io/wisp-autoscaler",
    "lease.coordination.k8s.io/wisp-operator",
    "secret/wisp-ca",
    "secret/wisp-identity",
    "secret/wisp-seal",
    "secret/wisp-tls",
    "serviceaccount/default",
];
/// And in the whole cluster.
const LEFT_EVERYWHERE: [&str; 4] = [
    "customresourcedefinition.apiextensions.k8s.io/warmpools.wisp.dev",
    "customresourcedefinition.apiextensions.k8s.io/wasmfunctions.wisp.dev",
    "customresourcedefinition.apiextensions.k8s.io/wasmrevisions.wisp.dev",
    "namespace/wisp-system",
];

#[tokio::test]
async fn a_release_is_tested_upgraded_under_load_taken_away_and_installed_again() {
    let Some(cluster) = bare().await else { return };
    let mut values = cluster.values();
    cluster.release(&["install", "--create-namespace"], &values).await;
    cluster.expect(helm(&cluster, &["test", "wisp"]).await).await;

    let function = hello(&cluster, "stays");
    function.deploy(&cluster).await;
    let load = Load::start(&function.client(&cluster).await, "/", Duration::from_millis(20));
    load.until_more(50).await.unwrap();
    // Each program is rolled, and there is one activator more.
    let memory = |limit| json!({"limits": {"memory": limit}});
    values["activator"] = json!({"replicas": 3, "resources": memory("300Mi")});
    values["autoscaler"] = json!({"resources": memory("300Mi")});
    values["operator"] = json!({"resources": memory("900Mi")});
    values["node"]["resources"] = memory("100Mi");
    values["test"] = json!({"patienceSeconds": 3});
    cluster.release(&["upgrade"], &values).await;
    let activators = ["-n", SYSTEM, "get", "deployment/wisp-activator", "-o", "jsonpath={.status.readyReplicas}"];
    // Helm waits for new pods; an old one may be on its way out yet.
    let are_three = async || Ok((cluster.kubectl(activators).await? == "3").then_some(()));
    until("there are three activators", PATIENCE, are_three).await.unwrap();
    load.until_more(50).await.unwrap();
    load.end_without_loss().await;
    the_test_names_what_is_away(&cluster).await;

    let before = revisions(&cluster).await;
    helm(&cluster, &["uninstall", "wisp", "--wait"]).await.unwrap();
    nothing_is_left_but_what_is_said(&cluster).await;
    assert_eq!(revisions(&cluster).await, before);

    cluster.release(&["install"], &values).await;
    // The address of the Service is another.
    let client = function.client(&cluster).await;
    let answer = until("the function is served again", PATIENCE, async || {
        Ok(client.get("/").await.ok().filter(|answer| answer.status == 200))
    });
    assert_eq!(answer.await.unwrap().body.trim(), "hello");
    assert_eq!(revisions(&cluster).await, before, "the function is the same, so is its revision");
}

/// `helm test` fails without the operator, and its log says that it is the operator that does not answer.
async fn the_test_names_what_is_away(cluster: &Bare) {
    cluster.kubectl(["-n", SYSTEM, "scale", "deployment/wisp-operator", "--replicas=0"]).await.unwrap();
    let gone = ["-n", SYSTEM, "wait", "--for=delete", "pod", "-l", "app.kubernetes.io/name=wisp-operator"];
    cluster.kubectl([&gone[..], &["--timeout=90s"]].concat()).await.unwrap();
    helm(cluster, &["test", "wisp"]).await.expect_err("an installation without an operator is not whole");
    let said = cluster.kubectl(["-n", SYSTEM, "logs", "pod/wisp-test"]).await.unwrap();
    let bad: Vec<&str> = said.lines().filter(|line| line.starts_with("bad: ")).collect();
    assert!(bad.len() == 1 && bad[0].contains("wisp-operator"), "{said}");
}

/// The functions' revisions, by name and UID.
async fn revisions(cluster: &Cluster) -> String {
    let path = "jsonpath={range .items[*]}{.metadata.name} {.metadata.uid}{end}";
    let revisions = cluster.kubectl(["get", "wr", "-o", path]).await.unwrap();
    assert!(revisions.starts_with("stays-00001 "), "{revisions}");
    revisions
}

async fn nothing_is_left_but_what_is_said(cluster: &Cluster) {
    let kinds = "all,configmaps,secrets,serviceaccounts,roles,rolebindings,leases,endpointslices,pdb,networkpolicies";
    let last = Mutex::new(Vec::new());
    let left = until("nothing more is left than is said", PATIENCE, async || {
        let inside = names(cluster, &["-n", SYSTEM, "get", kinds]).await?;
        // What failed stays, for its log.
        let inside: Vec<String> = inside.into_iter().filter(|name| name != "pod/wisp-test").collect();
        let is_so = inside == LEFT;
        *last.lock().unwrap() = inside;
        Ok(is_so.then_some(()))
    });
    left.await.unwrap_or_else(|error| panic!("{error:#}: {:#?}", last.lock().unwrap()));
    let kinds = "crds,clusterroles,clusterrolebindings,priorityclasses,validatingwebhookconfigurations,\
        mutatingwebhookconfigurations,persistentvolumes,namespaces";
    let mut outside = names(cluster, &["get", kinds]).await.unwrap();
    outside.retain(|name| name.contains("wisp"));
    assert_eq!(outside, LEFT_EVERYWHERE);
}

/// Names of objects, in order.
async fn names(cluster: &Cluster, get: &[&str]) -> Result<Vec<String>> {
    let listed = cluster.kubectl([get, &["-o", "name"]].concat()).await?;
    let mut names: Vec<String> = listed.lines().map(str::to_owned).collect();
    names.sort();
    Ok(names)
}
