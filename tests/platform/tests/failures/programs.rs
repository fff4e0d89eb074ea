//! Wisp's own programs, killed.

use std::time::Duration;

use wisp_cluster::until;
use wisp_platform::{Load, PATIENCE, SYSTEM, function};

use crate::turn::turn;

#[tokio::test]
async fn without_an_operator_functions_go_on_serving_and_start_from_their_pool() {
    let Some(turn) = turn().await else { return };
    let watched = turn.watched().await;
    let scale = async |replicas: &str| {
        turn.kubectl(["-n", SYSTEM, "scale", "deployment/wisp-operator", "--replicas", replicas]).await.unwrap();
    };
    let pods = ["-n", SYSTEM, "get", "pods", "-l", "app.kubernetes.io/name=wisp-operator", "-o", "name"];
    for pod in turn.kubectl(pods).await.unwrap().lines() {
        turn.kill_processes_of(pod.trim_start_matches("pod/")).await.unwrap();
    }
    // The kubelet would have them back in a second.
    scale("0").await;
    until("no operator is left", PATIENCE, async || Ok(turn.kubectl(pods).await?.is_empty().then_some(())))
        .await
        .unwrap();
    watched.wakes().await;
    scale("2").await;
    watched.ends_well(&turn).await;
}

#[tokio::test]
async fn a_killed_leader_of_the_autoscaler_is_replaced_and_only_starts_wait_for_the_next() {
    let Some(turn) = turn().await else { return };
    let watched = turn.watched().await;
    let before = turn.serving("busy").await;
    let leader = turn.leader("wisp-autoscaler").await;
    turn.kill_processes_of(&leader).await.unwrap();
    watched.wakes().await;
    // A second one that a slow machine was given goes by right.
    let after = turn.serving("busy").await;
    assert!(before.iter().any(|pod| after.contains(pod)), "the new leader gave up what it found: {before:?} {after:?}");
    watched.ends_well(&turn).await;
}

#[tokio::test]
async fn a_killed_activator_takes_its_own_connections_with_it_and_nothing_else() {
    let Some(turn) = turn().await else { return };
    let watched = turn.watched().await;
    let pods = ["-n", SYSTEM, "get", "pods", "-l", "app.kubernetes.io/name=wisp-activator", "-o", "name"];
    let pods = turn.kubectl(pods).await.unwrap();
    let first = pods.lines().next().unwrap().trim_start_matches("pod/");
    turn.kill_processes_of(first).await.unwrap();
    // A client that comes again is served, by the other one or by this one's next life.
    until("a request is answered", PATIENCE, async || Ok(watched.client.get("/").await.ok())).await.unwrap();
    turn.until_all_are_ready().await;
    watched.load.until_more(40).await.unwrap();
    let outcomes = watched.load.end().await;
    let answered_badly = outcomes.keys().filter(|outcome| outcome.starts_with(|first: char| first.is_ascii_digit()));
    assert_eq!(answered_badly.collect::<Vec<_>>(), ["200 OK"], "only connections may be lost: {outcomes:#?}");
}

#[tokio::test]
async fn instances_that_die_fail_what_they_had_and_the_next_ones_take_the_rest() {
    let Some(turn) = turn().await else { return };
    let function = function(&turn, "dies", "guests");
    function.deploy(&turn).await;
    let client = function.client(&turn).await;
    assert_eq!(client.get("/hello").await.unwrap().status, 200);
    let slow = {
        let client = client.clone();
        tokio::spawn(async move { client.get("/sleep?ms=20000").await.unwrap() })
    };
    // So that the slow one is on its way when the instance dies.
    let load = Load::start(&client, "/hello", Duration::from_millis(25));
    load.until_more(20).await.unwrap();
    // A slow machine is given more than one, and any of them may have the slow request.
    let pods = ["get", "pods", "-l", "wisp.dev/function=dies", "-o", "name"];
    let pods = until("its pods are claimed", PATIENCE, async || {
        let pods = turn.kubectl(pods).await?;
        Ok((!pods.is_empty()).then_some(pods))
    });
    for pod in pods.await.unwrap().lines() {
        // One that has not begun, or has ended, has no process.
        let _none = turn.kill_processes_of(pod.trim_start_matches("pod/")).await;
    }
    let answer = slow.await.unwrap();
    let word = answer.headers.get("x-wisp-error").map(|word| word.to_str().unwrap().to_owned());
    assert_eq!((answer.status.as_u16(), word.as_deref()), (502, Some("instance-died")), "{}", answer.body);
    load.until_more(20).await.unwrap();
    let outcomes = load.end().await;
    let others = outcomes.keys().filter(|outcome| *outcome != "200 OK" && !outcome.starts_with("502 "));
    assert_eq!(others.collect::<Vec<_>>(), Vec::<&String>::new(), "{outcomes:#?}");
}
