//! Hosts and paths lead to functions, by an Ingress and by an HTTPRoute.

use std::time::Duration;

use futures::future::join_all;
use http::StatusCode;
use serde_json::{Value, json};
use wisp_cluster::until;
use wisp_platform::{Answer, Client, DOMAIN, Load, PATIENCE, Platform, SYSTEM, function, hello};

use crate::controllers::{Controller, GATEWAY, controllers};
use crate::reached::{behind, host, reached};

#[tokio::test]
async fn an_ingress_of_its_own_leads_to_a_function_from_zero_and_again_from_zero() {
    let Some(controllers) = controllers().await else { return };
    join_all(controllers.each().map(|controller| from_zero(&controllers.platform, controller))).await;
}

async fn from_zero(platform: &Platform, controller: &Controller) {
    let name = format!("door-{}", controller.class);
    behind(controller, hello(platform, &name)).with("scaling.idle", "3s").deploy(platform).await;
    starts_again_and_again(platform, &controller.client(&host(&name))).await;
}

/// At first, and after it was idle for three seconds.
async fn starts_again_and_again(platform: &Platform, client: &Client) {
    let answer = reached(platform, client, "/").await;
    assert_eq!(answer.body.trim(), "hello", "{answer:?}");
    assert!(is_start(&answer), "{answer:?}");
    let again = until("it starts from zero again", PATIENCE, async || {
        tokio::time::sleep(Duration::from_secs(5)).await;
        Ok(is_start(&client.get("/").await?).then_some(()))
    });
    again.await.unwrap();
}

fn is_start(answer: &Answer) -> bool {
    answer.timing("start").is_some_and(|start| start > 0.0)
}

#[tokio::test]
async fn a_path_of_an_ingress_leads_to_the_function_that_asked_for_it() {
    let Some(controllers) = controllers().await else { return };
    let platform = &controllers.platform;
    join_all(controllers.each().map(async |controller| {
        let class = controller.class;
        let shop = host(&format!("shop-{class}"));
        let at = |path: &str| json!({"className": class, "hosts": [shop], "path": path});
        let front = hello(platform, &format!("front-{class}")).with("ingress", at("/"));
        let headers = function(platform, &format!("headers-{class}"), "guests").with("ingress", at("/headers"));
        front.deploy(platform).await;
        headers.deploy(platform).await;
        let client = controller.client(&shop);
        assert_eq!(reached(platform, &client, "/").await.body.trim(), "hello");
        let arrived = until("the path has its function", PATIENCE, async || {
            let answer = client.get("/headers").await?;
            Ok((answer.status == StatusCode::OK && answer.body.contains(&shop)).then_some(()))
        });
        arrived.await.unwrap();
        assert_eq!(reached(platform, &client, "/headersome").await.body.trim(), "hello");
    }))
    .await;
}

#[tokio::test]
async fn one_ingress_for_a_namespace_and_one_route_for_the_domain_lead_to_functions_without_any() {
    let Some(controllers) = controllers().await else { return };
    let platform = &controllers.platform;
    let function = hello(platform, "nodoor").with("scaling.idle", "3s");
    function.deploy(platform).await;
    let client = controllers.traefik.client(&format!("nodoor.default.{DOMAIN}"));
    // Skipper takes the star of a host for a part of a regular expression.
    leads(platform, &client, &namespace_ingress(controllers.traefik.class)).await;
    function.until_replicas(platform, 0).await;
    leads(platform, &client, &domain_route()).await;
}

/// While `object` is there, and not after.
async fn leads(platform: &Platform, client: &Client, object: &Value) {
    platform.apply(&object.to_string()).await.unwrap();
    assert_eq!(reached(platform, client, "/").await.body.trim(), "hello");
    let (kind, name) = (object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
    platform.kubectl(["-n", SYSTEM, "delete", kind, name]).await.unwrap();
    let ended = until("nothing leads to it", PATIENCE, async || {
        Ok((client.get("/").await?.status == StatusCode::NOT_FOUND).then_some(()))
    });
    ended.await.unwrap();
}

/// As `docs/kubernetes.md` has it: the star of an Ingress stands for one label.
fn namespace_ingress(class: &str) -> Value {
    let backend = json!({"service": {"name": "wisp-activator", "port": {"number": 80}}});
    let rule = json!({
        "host": format!("*.default.{DOMAIN}"),
        "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]},
    });
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": format!("functions-{class}"), "namespace": SYSTEM},
        "spec": {"ingressClassName": class, "rules": [rule]},
    })
}

/// As `docs/kubernetes.md` has it: the star of a route stands for one label or more.
fn domain_route() -> Value {
    let (namespace, name) = GATEWAY.split_once('/').unwrap();
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "functions", "namespace": SYSTEM},
        "spec": {
            "parentRefs": [{"name": name, "namespace": namespace}],
            "hostnames": [format!("*.{DOMAIN}")],
            "rules": [{"backendRefs": [{"name": "wisp-activator", "port": 80}]}],
        },
    })
}

#[tokio::test]
async fn a_gateway_leads_to_a_function_from_zero_until_it_names_none() {
    let Some(controllers) = controllers().await else { return };
    let platform = &controllers.platform;
    let function = hello(platform, "gate").with("scaling.idle", "3s");
    let named = function.clone().with("ingress", json!({"gateway": GATEWAY, "hosts": [host("gate")]}));
    named.deploy(platform).await;
    starts_again_and_again(platform, &controllers.traefik.client(&host("gate"))).await;
    function.deploy(platform).await;
    let gone = until("the function's HTTPRoute is gone", PATIENCE, async || {
        Ok(platform.kubectl(["get", "httproute/gate"]).await.err())
    });
    assert!(gone.await.unwrap().to_string().contains("NotFound"));
}

#[tokio::test]
async fn no_request_through_a_controller_is_lost_while_a_function_changes() {
    let Some(controllers) = controllers().await else { return };
    let platform = &controllers.platform;
    join_all(controllers.each().map(async |controller| {
        let name = format!("moving-{}", controller.class);
        let function = behind(controller, hello(platform, &name));
        function.deploy(platform).await;
        let client = controller.client(&host(&name));
        reached(platform, &client, "/").await;
        let load = Load::start(&client, "/", Duration::from_millis(20));
        for version in 0..3 {
            function.clone().with("args", json!([format!("version-{version}")])).deploy(platform).await;
        }
        load.end_without_loss().await;
    }))
    .await;
}
