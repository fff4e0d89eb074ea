//! Ends of `wisp up`, wanted and not, and what the next one finds.

use rustix::process::Signal;

use crate::harness::{Place, children, function, runs, until};

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_finishes_what_is_in_flight_and_the_next_start_knows_the_function() {
    let place = Place::new(&[function("hello")]).await;
    let mut wisp = place.up().await;
    let held = wisp.hold("hello").await;
    wisp.until("hello", "the request is in flight", |f| f["inFlight"] == 1).await;
    let processes = children(wisp.pid());
    assert!(!processes.is_empty());
    wisp.signal(Signal::INT);
    until("it takes no new connections", async || tokio::net::TcpStream::connect(wisp.requests).await.is_err()).await;
    assert_eq!(held.finish().await.unwrap().status, 200);
    assert_eq!(wisp.exit().await.code(), Some(0));
    assert!(!processes.into_iter().any(runs), "an instance was left behind");

    let wisp = place.up_with(&[]).await;
    let hello = wisp.function("hello").await;
    assert_eq!((&hello["ready"], &hello["latestRevision"]), (&"True".into(), &"hello-00001".into()));
    wisp.answers("hello").await;
    wisp.place.remove("hello");
    wisp.stop().await;

    let wisp = place.up().await;
    assert!(wisp.function("hello").await.is_null(), "its manifest is gone from the folder that was given");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_sigkill_no_instance_is_left_and_a_restart_works() {
    let place = Place::new(&[function("hello")]).await;
    let mut wisp = place.up().await;
    let held = wisp.hold("hello").await;
    wisp.until("hello", "the request is in flight", |f| f["inFlight"] == 1).await;
    let processes = children(wisp.pid());
    wisp.signal(Signal::KILL);
    assert!(!wisp.exit().await.success());
    assert!(held.finish().await.is_err());
    until("no instance is left", async || !processes.iter().any(|pid| runs(*pid))).await;
    place.up().await.answers("hello").await;
}
