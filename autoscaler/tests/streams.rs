//! The whole loop in one program: the test plays activators, hosts and whoever runs instances, over real streams.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod peers;

use std::time::Duration;

use peers::{Activator, Host, Rig, key, name, record};
use wisp_api::wire::{InstanceState, demand_down, instance_down};
use wisp_autoscaler::{Actuation, Fact, HandleError};

#[tokio::test(start_paused = true)]
async fn from_zero_to_ready_and_back() {
    let mut rig = Rig::start();
    rig.handle.apply(record("hello")).await.unwrap();
    let mut activator = Activator::connect(&rig, "a").await;
    rig.handle.instance_expected("w1", "secret", None).await.unwrap();
    let mut host = Host::connect(&rig, "w1", InstanceState::Warm, "").await;

    activator.wake("hello", 1).await;
    assert_eq!(host.revision().await, name("hello"));
    host.ready("hello").await;
    assert_eq!(activator.endpoints_of("hello").await, ["w1"]);
    let claimed = Actuation::Claimed { instance: "w1".into(), revision: key("hello") };
    assert_eq!(rig.next_actuation(|asked| matches!(asked, Actuation::Claimed { .. })).await, claimed);

    // The activator is told of the withdrawal and confirms it; the host drains and ends.
    activator.idle_until_withdrawn("hello").await;
    host.order(|order| matches!(order, instance_down::Message::Drain(_))).await;
    drop(host);
    rig.handle.instance_exited("w1", "exit code 0").await.unwrap();
    let snapshot = rig.handle.snapshot().await.unwrap();
    assert!(snapshot.instances.is_empty());
    assert_eq!(snapshot.cold_starts.warm.count, 1);
}

#[tokio::test(start_paused = true)]
async fn a_fresh_instance_is_an_endpoint_the_moment_it_announces_itself() {
    let mut rig = Rig::start();
    rig.handle.apply(record("hello")).await.unwrap();
    let mut activator = Activator::connect(&rig, "a").await;
    activator.wake("hello", 1).await;
    let start = Actuation::Start { revision: key("hello"), count: 1 };
    assert_eq!(rig.next_actuation(|asked| matches!(asked, Actuation::Start { .. })).await, start);
    rig.handle.instance_expected("f1", "secret", Some(key("hello"))).await.unwrap();
    let _host = Host::connect(&rig, "f1", InstanceState::Ready, &name("hello")).await;
    assert_eq!(activator.endpoints_of("hello").await, ["f1"]);
}

#[tokio::test(start_paused = true)]
async fn an_activator_that_does_not_read_is_dropped_and_the_others_go_on() {
    let rig = Rig::start();
    rig.handle.apply(record("hello")).await.unwrap();
    let mut reader = Activator::connect(&rig, "reader").await;
    let stuck = Activator::connect(&rig, "stuck").await;
    for round in 0..1200 {
        let instance = format!("f{round}");
        rig.handle.instance_expected(&*instance, "secret", Some(key("hello"))).await.unwrap();
        let host = Host::connect(&rig, &instance, InstanceState::Ready, &name("hello")).await;
        reader.drain_until("hello", &instance).await;
        rig.handle.instance_exited(&*instance, "exit code 0").await.unwrap();
        drop(host);
    }
    assert!(stuck.is_dropped());
    assert!(!reader.is_dropped());
}

#[tokio::test(start_paused = true)]
async fn a_failed_start_is_told_to_those_who_wait() {
    let mut rig = Rig::start();
    rig.handle.apply(record("hello")).await.unwrap();
    let mut activator = Activator::connect(&rig, "a").await;
    activator.wake("hello", 1).await;
    rig.next_actuation(|asked| matches!(asked, Actuation::Start { .. })).await;
    rig.handle.start_failed(&key("hello"), "NoRoom", "no room").await.unwrap();
    let answer = activator.message(|message| matches!(message, demand_down::Message::StartFailed(_))).await;
    let demand_down::Message::StartFailed(failed) = answer else { unreachable!("it was asked for") };
    assert_eq!((failed.revision, failed.reason), (name("hello"), "NoRoom".into()));
}

#[tokio::test(start_paused = true)]
async fn live_views_see_decisions_and_decisions_explain_themselves() {
    let rig = Rig::start();
    let mut facts = rig.handle.subscribe();
    rig.handle.apply(record("hello")).await.unwrap();
    let mut activator = Activator::connect(&rig, "a").await;
    activator.wake("hello", 2).await;
    loop {
        if let Fact::Decision { to, .. } = facts.recv().await.unwrap().fact {
            assert_eq!(to, 1);
            break;
        }
    }
    let explained = rig.handle.explain(&key("hello")).await.unwrap().expect("the revision is known");
    let json = serde_json::to_value(&explained).unwrap();
    assert_eq!((&json[0]["replicas"], &json[0]["reason"]), (&1.into(), &"Wake".into()));
    assert_eq!(rig.handle.explain(&key("other")).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_followed_is_refused_with_all_that_is_wrong() {
    let rig = Rig::start();
    let mut bad = record("hello");
    bad.policy.target = 0.0;
    bad.spec.revision = "other".into();
    let refused = rig.handle.apply(bad).await.unwrap_err().to_string();
    assert!(refused.contains("target") && refused.contains("default/other"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_handle_says_when_the_loop_has_ended() {
    let rig = Rig::start();
    let handle = rig.handle.clone();
    rig.stop().await;
    assert_eq!(handle.delete(&key("hello")).await, Err(HandleError::Stopped));
    assert!(matches!(handle.snapshot().await, Err(HandleError::Stopped)));
}

#[tokio::test(start_paused = true)]
async fn metrics_count_what_happened() {
    let rig = Rig::start();
    rig.handle.apply(record("hello")).await.unwrap();
    let mut activator = Activator::connect(&rig, "a").await;
    rig.handle.instance_expected("w1", "secret", None).await.unwrap();
    let mut host = Host::connect(&rig, "w1", InstanceState::Warm, "").await;
    activator.wake("hello", 1).await;
    host.revision().await;
    tokio::time::advance(Duration::from_millis(2)).await;
    host.ready("hello").await;
    activator.endpoints_of("hello").await;
    let text = rig.metrics();
    for line in [
        "wisp_autoscaler_wakes_total 1",
        "wisp_autoscaler_decisions_total{reason=\"wake\"} 1",
        "wisp_autoscaler_instances{state=\"ready\"} 1",
        "wisp_autoscaler_streams{peer=\"activator\"} 1",
        "wisp_autoscaler_actuations_total{kind=\"claimed\"} 1",
        "wisp_autoscaler_cold_start_seconds_count{start=\"warm\",step=\"total\"} 1",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}
