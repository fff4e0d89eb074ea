//! What Wisp's accounts may do, and nothing else: all rules that the API server knows of them.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectRulesReview, SelfSubjectRulesReviewSpec, SubjectAccessReview,
    SubjectAccessReviewSpec,
};
use kube::Client;
use kube::api::{Api, PostParams};
use wisp_cluster::until;
use wisp_platform::{PATIENCE, Platform, SYSTEM, hello};

use crate::platform::platform;

const ELSEWHERE: &str = "default";

/// In every namespace: a resource, or one object of it, with its verbs.
const OPERATOR: &str = "
    apiextensions.k8s.io/customresourcedefinitions: create list watch
    apiextensions.k8s.io/customresourcedefinitions warmpools.wisp.dev: get patch
    apiextensions.k8s.io/customresourcedefinitions wasmfunctions.wisp.dev: get patch
    apiextensions.k8s.io/customresourcedefinitions wasmrevisions.wisp.dev: get patch
    authentication.k8s.io/tokenreviews: create
    discovery.k8s.io/endpointslices/restricted: create get list patch watch
    discovery.k8s.io/endpointslices: create get list patch watch
    events.k8s.io/events: create patch
    gateway.networking.k8s.io/httproutes: create delete get list patch watch
    networking.k8s.io/ingresses: create delete get list patch watch
    networking.k8s.io/networkpolicies: create delete get list patch watch
    pods: create delete list patch watch
    secrets: get
    serviceaccounts: get
    services: create get list patch watch
    wisp.dev/warmpools/finalizers: update
    wisp.dev/warmpools/status: patch
    wisp.dev/warmpools: create delete get list watch
    wisp.dev/wasmfunctions/finalizers: update
    wisp.dev/wasmfunctions/status: patch
    wisp.dev/wasmfunctions: get list watch
    wisp.dev/wasmrevisions/finalizers: update
    wisp.dev/wasmrevisions/status: patch
    wisp.dev/wasmrevisions: create delete get list watch
";
/// In Wisp's own namespace beside these.
const OPERATOR_AT_HOME: &str = "
    configmaps wisp-ca: patch
    configmaps: create
    coordination.k8s.io/leases wisp-operator: get update
    coordination.k8s.io/leases: create
    secrets wisp-tls: patch
    secrets: create get
";
const AUTOSCALER: &str = "
    authentication.k8s.io/tokenreviews: create
    configmaps: get
    events.k8s.io/events: create patch
    pods: get list patch watch
    secrets: get
    wisp.dev/warmpools: get list watch
    wisp.dev/wasmfunctions: get list watch
    wisp.dev/wasmrevisions/scale: get patch
    wisp.dev/wasmrevisions: get list watch
";
const AUTOSCALER_AT_HOME: &str = "
    coordination.k8s.io/leases wisp-autoscaler: get update
    coordination.k8s.io/leases: create
    discovery.k8s.io/endpointslices wisp-autoscaler: get patch
    discovery.k8s.io/endpointslices: create
";
const ACTIVATOR: &str = "
    wisp.dev/wasmfunctions: list watch
    wisp.dev/wasmrevisions: list watch
";
/// With `node.install` it may patch nodes too; the cluster of tests has the shim already.
const NODE: &str = "
    wisp.dev/wasmrevisions: get list watch
";

/// Verbs by what they are for.
type Rules = BTreeMap<String, BTreeSet<String>>;

fn expected(here: &str, more: &str) -> Rules {
    let lines = here.lines().chain(more.lines()).map(str::trim).filter(|line| !line.is_empty());
    let mut rules = Rules::new();
    for line in lines {
        let (what, verbs) = line.split_once(": ").expect("a resource, and verbs");
        rules.entry(what.to_owned()).or_default().extend(verbs.split(' ').map(str::to_owned));
    }
    rules
}

/// What `account` may do in `namespace`, by the API server's own word.
async fn rules(client: &Client, account: &str, namespace: &str) -> Rules {
    let review = SelfSubjectRulesReview {
        spec: SelfSubjectRulesReviewSpec { namespace: Some(namespace.to_owned()) },
        ..SelfSubjectRulesReview::default()
    };
    let request = http::Request::post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews")
        .header("content-type", "application/json")
        .header("impersonate-user", user(account));
    let request = request.body(serde_json::to_vec(&review).unwrap()).unwrap();
    let status = client.request::<SelfSubjectRulesReview>(request).await.unwrap().status.unwrap();
    let mut rules = Rules::new();
    for rule in status.resource_rules {
        let names = rule.resource_names.unwrap_or_default();
        let names = if names.is_empty() { vec![String::new()] } else { names };
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                for name in &names {
                    let group = if group.is_empty() { String::new() } else { format!("{group}/") };
                    let what = format!("{group}{resource} {name}");
                    rules.entry(what.trim().to_owned()).or_default().extend(rule.verbs.iter().cloned());
                }
            }
        }
    }
    for rule in status.non_resource_rules {
        for url in rule.non_resource_urls.iter().flatten() {
            rules.entry(url.clone()).or_default().extend(rule.verbs.iter().cloned());
        }
    }
    rules
}

fn user(account: &str) -> String {
    format!("system:serviceaccount:{SYSTEM}:{account}")
}

#[tokio::test]
async fn each_account_has_the_rules_that_are_listed_here_and_no_other() {
    let Some(platform) = platform().await else { return };
    let client = platform.client().await.unwrap();
    // What any account may: look at itself, and at the API's own description.
    let everybodys = rules(&client, "default", ELSEWHERE).await;
    for (account, everywhere, at_home) in [
        ("wisp-operator", OPERATOR, OPERATOR_AT_HOME),
        ("wisp-autoscaler", AUTOSCALER, AUTOSCALER_AT_HOME),
        ("wisp-activator", ACTIVATOR, ""),
        ("wisp-node", NODE, ""),
    ] {
        for (namespace, more) in [(ELSEWHERE, ""), (SYSTEM, at_home)] {
            let mut found = rules(&client, account, namespace).await;
            found.retain(|what, verbs| everybodys.get(what) != Some(&*verbs));
            assert_eq!(found, expected(everywhere, more), "{account} in {namespace}");
        }
    }
    let own = rules(&client, "default", SYSTEM).await;
    assert_eq!(own, everybodys, "a pod that names no account");
}

#[tokio::test]
async fn nobody_may_do_what_is_anothers() {
    let Some(platform) = platform().await else { return };
    let reviews: Api<SubjectAccessReview> = Api::all(platform.client().await.unwrap());
    for (account, verb, resource, may) in [
        ("wisp-operator", "create", "pods", true),
        ("wisp-operator", "patch", "wisp.dev/wasmrevisions", false),
        ("wisp-operator", "patch", "wisp.dev/wasmrevisions/scale", false),
        ("wisp-operator", "list", "secrets", false),
        ("wisp-operator", "create", "pods/exec", false),
        ("wisp-operator", "create", "rbac.authorization.k8s.io/clusterrolebindings", false),
        ("wisp-autoscaler", "patch", "wisp.dev/wasmrevisions/scale", true),
        ("wisp-autoscaler", "create", "pods", false),
        ("wisp-autoscaler", "delete", "pods", false),
        ("wisp-autoscaler", "list", "secrets", false),
        ("wisp-autoscaler", "patch", "wisp.dev/wasmrevisions/status", false),
        ("wisp-activator", "watch", "wisp.dev/wasmfunctions", true),
        ("wisp-activator", "get", "secrets", false),
        ("wisp-activator", "patch", "wisp.dev/wasmfunctions/status", false),
        ("wisp-activator", "create", "events", false),
        ("wisp-node", "watch", "wisp.dev/wasmrevisions", true),
        ("wisp-node", "get", "secrets", false),
        ("wisp-node", "get", "pods", false),
        ("wisp-node", "patch", "nodes", false),
    ] {
        let spec = SubjectAccessReviewSpec {
            user: Some(user(account)),
            resource_attributes: Some(attributes(verb, resource)),
            ..SubjectAccessReviewSpec::default()
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let review = reviews.create(&PostParams::default(), &review).await.unwrap();
        assert_eq!(review.status.unwrap().allowed, may, "{account}: {verb} {resource}");
    }
}

/// `group/resource/subresource`: a group has a dot in its name.
fn attributes(verb: &str, resource: &str) -> ResourceAttributes {
    let mut parts = resource.split('/').peekable();
    let group = parts.next_if(|part| part.contains('.')).unwrap_or_default();
    let resource = parts.next().map(str::to_owned);
    ResourceAttributes {
        group: Some(group.to_owned()),
        namespace: Some(ELSEWHERE.to_owned()),
        resource,
        subresource: parts.next().map(str::to_owned),
        verb: Some(verb.to_owned()),
        ..ResourceAttributes::default()
    }
}

#[tokio::test]
async fn functions_run_where_only_restricted_pods_may() {
    let Some(platform) = platform().await else { return };
    platform.kubectl(["create", "namespace", "restricted"]).await.unwrap();
    let label = ["label", "namespace", "restricted", "pod-security.kubernetes.io/enforce=restricted"];
    platform.kubectl(label).await.unwrap();
    let refused = ["-n", "restricted", "run", "root", "--image", "wisp.test/nothing:1"];
    // A new namespace has no account yet, which is complained of first.
    until("pods of root are refused", PATIENCE, async || {
        let error = platform.kubectl(refused).await.unwrap_err();
        Ok(error.to_string().contains("violates PodSecurity").then_some(()))
    })
    .await
    .unwrap();
    for (name, start) in [("warm", "warm"), ("fresh", "fresh")] {
        let scaling = serde_json::json!({"idle": "3s", "start": start});
        let function = hello(&platform, name).within("restricted").with("scaling", scaling);
        function.deploy(&platform).await;
        let answer = function.client(&platform).await.get("/").await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.body.trim()), (200, "hello"), "{name}");
    }
}

#[tokio::test]
async fn of_wisps_own_pods_only_those_that_need_the_node_are_not_restricted() {
    let Some(platform) = platform().await else { return };
    let warnings = violations(&platform).await;
    let (ours, others): (Vec<_>, Vec<_>) = warnings.iter().partition(|pod| pod.starts_with("wisp-node-"));
    assert!(others.is_empty(), "{others:#?}");
    // Or nothing was looked at.
    assert_eq!(ours.len(), 1, "{warnings:#?}");
}

/// What the API server says of Wisp's pods, were only restricted ones allowed in their namespace: a line for each.
async fn violations(platform: &Platform) -> Vec<String> {
    let label = ["label", "namespace", SYSTEM, "pod-security.kubernetes.io/enforce=restricted", "--dry-run=server"];
    let said = platform.kubectl_command(label).arg("--overwrite").output().await.unwrap();
    assert!(said.status.success(), "{said:?}");
    let said = String::from_utf8(said.stderr).unwrap();
    let warnings = said.lines().filter_map(|line| line.strip_prefix("Warning: "));
    warnings.filter(|line| !line.starts_with("existing pods")).map(str::to_owned).collect()
}
