//! Changes of manifests and components while requests come.

use crate::harness::{Load, Wisp, function, guests, sample, until};

#[tokio::test(flavor = "multi_thread")]
async fn updates_make_new_revisions_without_a_lost_request() {
    let page = function("page").component("page.wasm").idle("1s");
    let wisp = Wisp::up(&[]).await;
    wisp.place.write_file("page.wasm", &std::fs::read(guests()).unwrap());
    wisp.place.write(&page);
    wisp.until("page", "a new manifest is deployed", |f| f["ready"] == "True").await;
    let load = Load::start(&wisp, 4, "page", "/env-attack");
    load.until_answered(20).await;

    let greeting = serde_json::json!([{"name": "GREETING", "value": "good morning"}]);
    let page = page.with("env", greeting);
    wisp.place.write(&page);
    wisp.until("page", "an edit makes a revision", |f| f["latestRevision"] == "page-00002").await;
    until("the edit is in effect", async || wisp.get("page", "/env-attack").await.body.contains("good morning")).await;
    load.until_answered(20).await;

    wisp.place.write_file("page.wasm", &std::fs::read(sample("hello.wasm")).unwrap());
    wisp.until("page", "a new component makes a revision", |f| f["latestRevision"] == "page-00003").await;
    until("the component is in effect", async || !wisp.get("page", "/").await.body.contains("env")).await;
    load.until_answered(20).await;

    wisp.place.write(&page.max(7));
    until("an edit of scaling is in effect", async || wisp.detail("page").await["spec"]["scaling"]["max"] == 7).await;
    assert_eq!(wisp.function("page").await["latestRevision"], "page-00003");
    load.until_answered(20).await;
    load.stop_without_loss().await;
    wisp.until_zero("page").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_function_is_unknown_and_its_requests_are_finished() {
    let wisp = Wisp::up(&[function("gone"), function("stays")]).await;
    let held = wisp.hold("gone").await;
    wisp.until("gone", "the request is in flight", |f| f["inFlight"] == 1).await;
    let instances = wisp.instances("gone").await;
    wisp.place.remove("gone");
    until("it is unknown", async || wisp.get("gone", "/hello").await.error() == "unknown-host").await;
    assert_eq!(wisp.get("gone", "/hello").await.status, 404);
    assert_eq!(held.finish().await.unwrap().status, 200);
    until("its instance ends", async || !instances.iter().any(|pid| crate::harness::runs(*pid))).await;
    until("it is forgotten", async || wisp.function("gone").await.is_null()).await;
    wisp.answers("stays").await;
}
