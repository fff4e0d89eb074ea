//! One leads, and another takes over.

use std::time::Duration;

use tokio::time::Instant;
use wisp_cluster::Component;

use crate::rig::rig;

/// An idle machine takes less than three seconds, which is printed: a busy one must not fail the test.
const TAKEOVER: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_takes_over_when_the_leader_is_killed() {
    let Some(rig) = rig().await else { return };
    let mut first = rig.autoscaler("autoscaler-a");
    let leader = rig.leader_besides(None).await;
    let _second = rig.autoscaler("autoscaler-b");
    rig.until_logged("autoscaler-b", "standing by").await;
    first.child.kill().await.unwrap();
    let killed = Instant::now();
    let next = rig.leader_besides(Some(leader)).await;
    let took = killed.elapsed();
    eprintln!("a standby took over after {took:?}");
    assert_ne!(next, leader);
    assert!(took <= TAKEOVER, "it took {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_told_to_end_gives_the_lease_up() {
    let Some(rig) = rig().await else { return };
    let mut first = rig.autoscaler("autoscaler-a");
    let leader = rig.leader_besides(None).await;
    first.signal("-TERM").await;
    assert!(first.child.wait().await.unwrap().success());
    let holder = ["--namespace=wisp-system", "get", "lease/wisp-autoscaler", "-o", "jsonpath={.spec.holderIdentity}"];
    assert_eq!(rig.cluster.kubectl(holder).await.unwrap(), "");
    let _second = rig.autoscaler("autoscaler-b");
    rig.leader_besides(Some(leader)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_lease_is_taken_ends_at_once() {
    let Some(rig) = rig().await else { return };
    let mut first = rig.autoscaler("autoscaler-a");
    rig.leader_besides(None).await;
    let patch = r#"{"spec": {"holderIdentity": "somebody-else"}}"#;
    let patch = ["--namespace=wisp-system", "patch", "lease/wisp-autoscaler", "--type=merge", "-p", patch];
    rig.cluster.kubectl(patch).await.unwrap();
    let ended = tokio::time::timeout(TAKEOVER, first.child.wait()).await.expect("it ends in time").unwrap();
    assert_eq!(ended.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_leads_on_while_the_api_server_is_away_and_is_the_leader_afterwards() {
    let Some(rig) = rig().await else { return };
    let mut first = rig.autoscaler("autoscaler-a");
    let leader = rig.leader_besides(None).await;
    let second = rig.autoscaler("autoscaler-b");
    rig.until_logged("autoscaler-b", "standing by").await;
    rig.cluster.kill(Component::ApiServer).await.unwrap();
    rig.until_logged("autoscaler-a", "cannot be renewed").await;
    // An API server that has just started may answer the one too late and the other in time, which then leads by right.
    second.signal("-STOP").await;
    rig.cluster.start_component(Component::ApiServer).await.unwrap();
    rig.until_logged("autoscaler-a", "renewed again").await;
    second.signal("-CONT").await;
    assert!(first.child.try_wait().unwrap().is_none(), "it runs");
    assert_eq!(rig.leader_besides(None).await, leader);
}
