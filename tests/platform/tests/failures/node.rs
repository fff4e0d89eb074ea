//! What a node needs, lost for a while.

use wisp_cluster::Component;
use wisp_platform::hello;

use crate::turn::turn;

#[tokio::test]
async fn a_restart_of_containerd_costs_no_request() {
    let Some(turn) = turn().await else { return };
    let watched = turn.watched().await;
    turn.kill(Component::Containerd).await.unwrap();
    watched.wakes().await;
    turn.start_component(Component::Containerd).await.unwrap();
    watched.ends_well(&turn).await;
}

#[tokio::test]
async fn without_a_registry_what_is_known_starts_in_old_pods_and_new_ones() {
    let Some(turn) = turn().await else { return };
    let fresh = hello(&turn, "registry-fresh").with("scaling", serde_json::json!({"idle": "3s", "start": "fresh"}));
    fresh.deploy(&turn).await;
    let client = fresh.client(&turn).await;
    let watched = turn.watched().await;
    turn.stop(Component::Registry).await.unwrap();
    watched.wakes().await;
    assert_eq!(client.get("/").await.unwrap().status, 200);
    turn.start_component(Component::Registry).await.unwrap();
    watched.ends_well(&turn).await;
}
