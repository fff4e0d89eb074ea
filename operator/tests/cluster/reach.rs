//! How functions are reached: hosts, Ingresses, HTTPRoutes, and the NetworkPolicy of their instances.

use serde_json::json;

use crate::fixture::{Function, operator};

#[tokio::test]
async fn a_host_is_the_older_functions_until_that_one_goes() {
    let Some(operator) = operator().await else { return };
    let claim = json!({"hosts": ["contested.example"]});
    let first = Function::hello(operator, "claims-a").with("ingress", claim.clone());
    first.apply().await;
    first.until_ready().await;
    let second = Function::hello(operator, "claims-b").with("ingress", claim);
    second.apply().await;
    second.until_reason("HostConflict").await;
    let message = second.message().await;
    assert!(message.contains("\"contested.example\"") && message.contains("default/claims-a"), "{message}");
    first.until_ready().await;
    operator.kubectl(&["delete", "wf", "claims-a"]).await;
    second.until_ready().await;
}

#[tokio::test]
async fn an_http_route_lasts_as_long_as_it_is_asked_for() {
    let Some(operator) = operator().await else { return };
    let function = Function::hello(operator, "gated");
    function.clone().with("ingress", json!({"gateway": "infra/main"})).apply().await;
    operator.until("httproute/gated", "{.spec.parentRefs[0].name}", "main").await;
    let before = operator.field("httproute/gated", "{.metadata.uid}").await;
    operator.kubectl(&["delete", "httproute", "gated"]).await;
    operator.until_other("httproute/gated", "{.metadata.uid}", &before).await;
    function.clone().with("ingress", json!({"gateway": "infra/main", "visibility": "cluster"})).apply().await;
    operator.until_gone("httproute/gated").await;
    function.clone().with("ingress", json!({"gateway": "infra/main"})).apply().await;
    operator.until("httproute/gated", "{.spec.parentRefs[0].name}", "main").await;
    function.with("ingress", json!({})).apply().await;
    operator.until_gone("httproute/gated").await;
}

#[tokio::test]
async fn an_ingress_goes_when_the_function_is_for_the_cluster_alone() {
    let Some(operator) = operator().await else { return };
    let function = Function::hello(operator, "shown");
    function.clone().with("ingress", json!({"className": "any"})).apply().await;
    operator.until("ingress/shown", "{.spec.ingressClassName}", "any").await;
    function.with("ingress", json!({"className": "any", "visibility": "cluster"})).apply().await;
    operator.until_gone("ingress/shown").await;
}

#[tokio::test]
async fn the_network_policy_of_a_namespace_is_kept_while_it_has_functions() {
    let Some(operator) = operator().await else { return };
    operator.kubectl(&["create", "namespace", "policed"]).await;
    let function = Function::hello(operator, "inside").within("policed").with("scaling", json!({"start": "fresh"}));
    function.apply().await;
    function.until_ready().await;
    let get = |path: &'static str| ["-n", "policed", "get", "netpol", "wisp-instances", "-o", path];
    let port = "jsonpath={.spec.ingress[0].ports[0].port}";
    operator.until_kubectl(&get(port), |found| found == "8080").await;
    let open = r#"{"spec": {"ingress": [{}]}}"#;
    operator.kubectl(&["-n", "policed", "patch", "netpol", "wisp-instances", "--type=merge", "-p", open]).await;
    operator.until_kubectl(&get(port), |found| found == "8080").await;
    operator.kubectl(&["-n", "policed", "delete", "netpol", "wisp-instances"]).await;
    operator.until_kubectl(&get(port), |found| found == "8080").await;
    operator.kubectl(&["-n", "policed", "delete", "wf", "inside"]).await;
    operator.until_kubectl(&["-n", "policed", "get", "netpol", "-o", "name"], str::is_empty).await;
}
