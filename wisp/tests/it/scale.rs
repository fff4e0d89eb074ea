//! From zero, out, and back to zero.

use futures::future::join_all;

use crate::harness::{Load, Wisp, function, listed, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_function_wakes_at_a_request_and_goes_back_to_zero() {
    let wisp = Wisp::up(&[function("hello").idle("1s")]).await;
    let before = listed(&wisp, "hello").await;
    assert_eq!((&before["ready"], &before["replicas"]), (&"True".into(), &0.into()));
    for _ in 0..2 {
        let held = wisp.hold("hello").await;
        until("wisp ls shows the instance", async || listed(&wisp, "hello").await["replicas"] != 0).await;
        let answer = held.finish().await.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "{\"bytes\":4}"));
        assert!(answer.header("server-timing").contains("start"), "{answer:?}");
        until("wisp ls shows no instance", async || listed(&wisp, "hello").await["replicas"] == 0).await;
        wisp.until_zero("hello").await;
    }
    let explained = wisp.command(&["explain", "hello"]).await;
    let decisions = explained["hello-00001"].as_array().unwrap();
    assert!(decisions.len() >= 4, "twice up and twice down: {explained}");
    // A start that takes long has a second one put beside it, and no more.
    let most = decisions.iter().filter_map(|decision| decision["replicas"].as_u64()).max();
    assert!(most <= Some(2), "one request started {most:?} instances: {explained}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_at_zero_is_answered_by_several_instances() {
    let wisp = Wisp::up(&[function("burst").slots(2).max(6).idle("1s")]).await;
    let burst: Vec<_> = (0..200).map(|_| wisp.spawn_get("burst", "/sleep?ms=100")).collect();
    wisp.until("burst", "several instances serve", |f| f["replicas"].as_u64() > Some(1)).await;
    for answer in join_all(burst).await {
        let answer = answer.unwrap().unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "slept\n"));
    }
    wisp.until_zero("burst").await;
    let after = wisp.function("burst").await;
    assert_eq!((&after["requestsTotal"], &after["failedTotal"]), (&200.into(), &0.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn load_scales_out_and_its_end_scales_in_without_a_lost_request() {
    let windows = function("load").with("scaling.window", "6s").with("scaling.panicWindow", "1s");
    let wisp = Wisp::up(&[windows.slots(1).max(4).idle("1s")]).await;
    let heavy = Load::start(&wisp, 4, "load", "/sleep?ms=50");
    wisp.until("load", "it scales out", |f| f["replicas"] == 4).await;
    let light = Load::start(&wisp, 1, "load", "/sleep?ms=50");
    heavy.stop_without_loss().await;
    wisp.until("load", "it scales in", |f| f["replicas"].as_u64() <= Some(2)).await;
    light.stop_without_loss().await;
    wisp.until_zero("load").await;
}
