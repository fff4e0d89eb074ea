//! Pods with ordinary images.

use wisp_cluster::until;

use crate::fixture::{CLUSTER, PATIENCE, field, get, run_hello};

#[tokio::test]
async fn a_pod_answers_on_its_own_address_and_through_its_service() {
    let Some(cluster) = CLUSTER.get().await else { return };
    run_hello(&cluster, "answers").await;
    let pod_ip = field(&cluster, "pod/answers", "{.status.podIP}").await;
    let service_ip = field(&cluster, "service/answers", "{.spec.clusterIP}").await;
    assert_eq!(get(&format!("http://{pod_ip}:8080/")).await, "hello from answers\n");
    assert_eq!(get(&format!("http://{service_ip}/")).await, "hello from answers\n");
}

#[tokio::test]
async fn logs_and_exec_reach_a_pod() {
    let Some(cluster) = CLUSTER.get().await else { return };
    run_hello(&cluster, "reached").await;
    until("it has said so", PATIENCE, async || {
        Ok(cluster.kubectl(["logs", "reached"]).await?.contains("serving on port 8080").then_some(()))
    })
    .await
    .unwrap();
    let said = cluster.kubectl(["exec", "reached", "--", "/hello", "say", "in", "here"]).await.unwrap();
    assert_eq!(said, "in here\n");
}

#[tokio::test]
async fn a_pod_finds_a_service_by_its_name() {
    let Some(cluster) = CLUSTER.get().await else { return };
    run_hello(&cluster, "named").await;
    let pod_ip = field(&cluster, "pod/named", "{.status.podIP}").await;
    let service_ip = field(&cluster, "service/named", "{.spec.clusterIP}").await;
    // Its bare name is the pod's own, too.
    for name in ["named.default", "named.default.svc.cluster.local"] {
        let found = get(&format!("http://{pod_ip}:8080/resolve?name={name}")).await;
        assert_eq!(found.trim(), service_ip, "{name}");
    }
    // A pod that asks its own service is the hard case for the bridge.
    let fetched = get(&format!("http://{pod_ip}:8080/fetch?url=http://named.default/")).await;
    assert_eq!(fetched, "hello from named\n");
}

#[tokio::test]
async fn a_name_that_is_no_service_is_not_found() {
    let Some(cluster) = CLUSTER.get().await else { return };
    run_hello(&cluster, "nobody").await;
    let pod_ip = field(&cluster, "pod/nobody", "{.status.podIP}").await;
    let url = format!("http://{pod_ip}:8080/resolve?name=no-such-service");
    get(&format!("http://{pod_ip}:8080/")).await;
    let error = crate::fixture::try_get(&url).await.unwrap_err();
    assert!(error.to_string().contains("502"), "{error}");
}
