//! Kubernetes' own parts, lost for a while.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use wisp_cluster::{Component, until};
use wisp_platform::PATIENCE;

use crate::turn::{Turn, turn};

/// Longer than every lease and deadline in Wisp, several times over.
const OUTAGE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn without_an_api_server_functions_go_on_serving_and_start_from_their_pool() {
    let Some(turn) = turn().await else { return };
    let watched = turn.watched().await;
    let end = Instant::now() + OUTAGE;
    turn.kill(Component::ApiServer).await.unwrap();
    until_the_leader_doubts(&turn).await;
    // Of two warm instances, one now and the other when the first has gone.
    watched.wakes().await;
    sleep_until(end).await;
    watched.wakes().await;
    turn.start_component(Component::ApiServer).await.unwrap();
    watched.ends_well(&turn).await;
}

#[tokio::test]
async fn an_api_server_that_stands_still_holds_up_nothing() {
    let Some(turn) = turn().await else { return };
    let watched = turn.watched().await;
    turn.pause(Component::ApiServer).await.unwrap();
    until_the_leader_doubts(&turn).await;
    watched.wakes().await;
    turn.resume(Component::ApiServer).await.unwrap();
    watched.ends_well(&turn).await;
}

#[tokio::test]
async fn a_restart_of_etcd_is_not_noticed() {
    let Some(turn) = turn().await else { return };
    let watched = turn.watched().await;
    turn.stop(Component::Etcd).await.unwrap();
    until_the_leader_doubts(&turn).await;
    watched.wakes().await;
    turn.start_component(Component::Etcd).await.unwrap();
    watched.ends_well(&turn).await;
}

/// The autoscaler's leader sees that its lease is not renewed: what happens from here on happens without an API server.
/// Its log is a file of the node.
async fn until_the_leader_doubts(turn: &Turn) {
    let last = r#"grep -hE 'cannot be renewed|renewed again' "$STATE"/pod-logs/wisp-system_wisp-autoscaler-*/*/*.log |
        sort | tail -n 1"#;
    until("the leader doubts", PATIENCE, async || {
        let last = turn.exec(["bash", "-c", last]).await?;
        Ok(last.contains("cannot be renewed").then_some(()))
    })
    .await
    .unwrap();
}
