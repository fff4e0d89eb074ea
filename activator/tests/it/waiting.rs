//! Requests that find no free slot.

use std::time::Duration;

use tokio::time::Instant;
use wisp_api::wire::{self, demand_down, demand_up};
use wisp_chassis::control::LinkEvent;

use crate::rig::{Client, Gate, Instance, Rig, function, get, limited, says, soon, spawn_get, until};

const HELLO: &str = "default/hello-00001";
/// No wake is repeated sooner: the shortest of the activator's first waits, which vary.
const REPEATED_AFTER: Duration = Duration::from_millis(250);

#[tokio::test]
async fn at_zero_one_wake_is_sent_and_all_are_answered_when_an_instance_is_there() {
    let mut rig = Rig::start().await;
    rig.deploy(function("hello"));
    let begun = Instant::now();
    let first = spawn_get(rig.addr, "hello.test", "/");
    let wake = rig.autoscaler.next_wake().await;
    assert_eq!(wake, wire::Wake { revision: HELLO.into(), waiting: 1 });
    let second = spawn_get(rig.addr, "hello.test", "/");
    rig.until_demand(HELLO, 2, 0).await;

    let instance = Instance::unix("one", says("hello")).await;
    let endpoint = wire::Endpoint { start_micros: 1500, ..instance.endpoint(10) };
    rig.autoscaler.events.send(endpoints_message(1, &endpoint)).await.unwrap();
    for answer in [first, second] {
        let answer = answer.await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, "hello"));
        let timing = answer.headers["server-timing"].to_str().unwrap();
        assert!(timing.contains("start;dur="), "{timing}");
    }
    // Until now only one wake was sent, but for those that a machine which stalls leaves time for.
    let applied = rig
        .autoscaler
        .next("applied", |message| match message {
            demand_up::Message::Applied(applied) => Some(applied.sequence),
            demand_up::Message::Wake(wake) => {
                assert!(begun.elapsed() >= REPEATED_AFTER, "a second {wake:?}");
                None
            }
            _ => None,
        })
        .await;
    assert_eq!(applied, 1);
    let warm = rig.client().await.get("hello.test", "/").await;
    assert!(!warm.headers["server-timing"].to_str().unwrap().contains("start"));
}

fn endpoints_message(sequence: u64, endpoint: &wire::Endpoint) -> LinkEvent<wire::DemandDown> {
    let named = wire::RevisionEndpoints { revision: HELLO.into(), endpoints: vec![endpoint.clone()] };
    let update = wire::EndpointsUpdate { sequence, full: true, revisions: vec![named] };
    LinkEvent::Message(wire::DemandDown { message: Some(demand_down::Message::Endpoints(update)) })
}

#[tokio::test]
async fn a_wake_is_repeated_while_nobody_answers_it() {
    let mut rig = Rig::start().await;
    rig.deploy(function("hello"));
    let _waiting = spawn_get(rig.addr, "hello.test", "/");
    for _ in 0..3 {
        assert_eq!(rig.autoscaler.next_wake().await.waiting, 1);
    }
}

#[tokio::test]
async fn demand_is_told_at_its_edges() {
    let mut rig = Rig::start().await;
    rig.deploy(function("hello"));
    let gate = Gate::closed();
    let instance = Instance::tcp("one", gate.handler()).await;
    rig.autoscaler.endpoints(HELLO, &[instance.endpoint(1)]).await;
    let answers = [spawn_get(rig.addr, "hello.test", "/"), spawn_get(rig.addr, "hello.test", "/")];
    rig.until_demand(HELLO, 1, 1).await;
    let of = |waiting, in_flight| {
        move |message| match message {
            demand_up::Message::Report(report) => report
                .revisions
                .iter()
                .any(|demand| (demand.waiting, demand.in_flight) == (waiting, in_flight))
                .then_some(()),
            _ => None,
        }
    };
    rig.autoscaler.next("demand of one waiting and one in flight", of(1, 1)).await;
    gate.open(2);
    for answer in answers {
        answer.await.unwrap();
    }
    rig.autoscaler.next("demand of zero", of(0, 0)).await;
}

#[tokio::test]
async fn the_line_is_served_in_order() {
    let mut rig = Rig::start().await;
    rig.deploy(function("hello"));
    let gate = Gate::closed();
    let instance = Instance::tcp("one", gate.handler()).await;
    rig.autoscaler.endpoints(HELLO, &[instance.endpoint(1)]).await;
    let mut answers = Vec::new();
    for number in 0..10 {
        answers.push(spawn_get(rig.addr, "hello.test", &format!("/{number}")));
        rig.until_demand(HELLO, number, 1).await;
    }
    gate.open(10);
    for answer in answers {
        assert_eq!(answer.await.unwrap().status, 200);
    }
    let expected: Vec<_> = (0..10).map(|number| format!("/{number}")).collect();
    assert_eq!(*gate.seen.lock().unwrap(), expected);
}

#[tokio::test]
async fn queue_full_is_refused_at_once() {
    let rig = Rig::start().await;
    rig.deploy(limited(function("hello"), |limits| limits.queue_requests = 2));
    let _waiting = [spawn_get(rig.addr, "hello.test", "/"), spawn_get(rig.addr, "hello.test", "/")];
    rig.until_demand(HELLO, 2, 0).await;
    let refused = rig.client().await.get("hello.test", "/").await;
    assert_eq!((refused.status.as_u16(), refused.error()), (503, "queue-full"));
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(rig.revision(HELLO).refused_total, 1);
}

#[tokio::test]
async fn the_queue_is_bounded_by_bytes_too() {
    let rig = Rig::start().await;
    rig.deploy(limited(function("hello"), |limits| limits.queue_bytes = 20_000));
    let _waiting = spawn_get(rig.addr, "hello.test", "/");
    rig.until_demand(HELLO, 1, 0).await;
    let mut large = get("hello.test", "/");
    large.headers_mut().insert("x-large", "x".repeat(20_000).parse().unwrap());
    let refused = rig.client().await.send(large).await.unwrap();
    assert_eq!(refused.status(), 503);
    let _small = spawn_get(rig.addr, "hello.test", "/");
    rig.until_demand(HELLO, 2, 0).await;
}

#[tokio::test]
async fn one_that_waits_past_its_deadline_is_answered_504() {
    let rig = Rig::start().await;
    rig.deploy(limited(function("hello"), |limits| limits.timeout = Duration::from_millis(50)));
    let late = rig.client().await.get("hello.test", "/").await;
    assert_eq!((late.status.as_u16(), late.error()), (504, "timeout-waiting"));
    rig.until_demand(HELLO, 0, 0).await;
}

#[tokio::test]
async fn a_client_that_goes_while_it_waits_frees_its_place() {
    let rig = Rig::start().await;
    rig.deploy(limited(function("hello"), |limits| limits.queue_requests = 1));
    let mut client = rig.client().await;
    let sending = tokio::spawn(async move { client.send(get("hello.test", "/")).await });
    rig.until_demand(HELLO, 1, 0).await;
    sending.abort();
    rig.until_demand(HELLO, 0, 0).await;
    let _next = spawn_get(rig.addr, "hello.test", "/");
    rig.until_demand(HELLO, 1, 0).await;
}

#[tokio::test]
async fn so_does_one_that_has_sent_a_body() {
    let rig = Rig::start().await;
    rig.deploy(function("hello"));
    let mut client = rig.client().await;
    let request = crate::rig::post("hello.test", "/", crate::rig::full("x".repeat(10_000)));
    let sending = tokio::spawn(async move { client.send(request).await });
    rig.until_demand(HELLO, 1, 0).await;
    sending.abort();
    rig.until_demand(HELLO, 0, 0).await;
}

#[tokio::test]
async fn a_body_that_was_read_ahead_arrives_whole() {
    let mut rig = Rig::start().await;
    rig.deploy(function("hello"));
    let echo = |request: http::Request<hyper::body::Incoming>| async {
        let body = http_body_util::BodyExt::collect(request.into_body()).await.unwrap().to_bytes();
        http::Response::new(crate::rig::full(body))
    };
    let instance = Instance::tcp("one", echo).await;
    let body = (0..40_000).map(|number| format!("{number} ")).collect::<String>();
    let mut client = rig.client().await;
    let request = crate::rig::post("hello.test", "/", crate::rig::full(body.clone()));
    let sending = tokio::spawn(async move { crate::rig::Answer::read(client.send(request).await.unwrap()).await });
    rig.until_demand(HELLO, 1, 0).await;
    rig.autoscaler.endpoints(HELLO, &[instance.endpoint(1)]).await;
    assert_eq!(sending.await.unwrap().body, body);
}

#[tokio::test]
async fn a_client_that_goes_in_flight_stops_the_instance_and_frees_its_slot() {
    let mut rig = Rig::start().await;
    rig.deploy(function("hello"));
    let gate = Gate::closed();
    let instance = Instance::tcp("one", gate.handler()).await;
    rig.autoscaler.endpoints(HELLO, &[instance.endpoint(1)]).await;
    let mut client = Client::connect(rig.addr).await;
    let sending = tokio::spawn(async move { client.send(get("hello.test", "/gone")).await });
    until("the instance has the request", || gate.seen.lock().unwrap().len() == 1).await;
    let next = spawn_get(rig.addr, "hello.test", "/next");
    rig.until_demand(HELLO, 1, 1).await;
    sending.abort();
    until("the next one is there, the first one is cancelled", || {
        *gate.seen.lock().unwrap() == ["/gone", "/next"]
            && instance.in_flight.load(std::sync::atomic::Ordering::SeqCst) == 1
    })
    .await;
    gate.open(1);
    assert_eq!(next.await.unwrap().body, "/next");
}

#[tokio::test]
async fn when_nothing_can_start_those_who_wait_are_told_why() {
    let mut rig = Rig::start().await;
    rig.deploy(function("hello"));
    let waiting = spawn_get(rig.addr, "hello.test", "/");
    rig.autoscaler.next_wake().await;
    let failed = wire::StartFailed {
        revision: HELLO.into(),
        reason: "CompileFailed".into(),
        message: "the component is broken".into(),
    };
    rig.autoscaler.tell(demand_down::Message::StartFailed(failed)).await;
    let answer = waiting.await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.error()), (503, "start-failed"));
    assert!(answer.body.contains("the component is broken (CompileFailed)"), "{}", answer.body);
    // The next one wakes anew.
    let _next = spawn_get(rig.addr, "hello.test", "/");
    rig.autoscaler.next_wake().await;
}

#[tokio::test]
async fn those_who_wait_for_a_function_that_is_deleted_are_told() {
    let rig = Rig::start().await;
    rig.deploy(function("hello"));
    let waiting = spawn_get(rig.addr, "hello.test", "/");
    rig.until_demand(HELLO, 1, 0).await;
    rig.index.delete(&function("hello").function);
    let answer = waiting.await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.error()), (404, "deleted"));
}

#[tokio::test]
async fn without_the_autoscaler_endpoints_stay_and_it_is_told_all_when_it_is_back() {
    let mut rig = Rig::start().await;
    rig.deploy(function("hello"));
    rig.deploy(function("cold"));
    let instance = Instance::tcp("one", says("hello")).await;
    rig.autoscaler.endpoints(HELLO, &[instance.endpoint(1)]).await;
    rig.autoscaler.events.send(LinkEvent::Disconnected { reason: "restarted".into() }).await.unwrap();
    assert_eq!(rig.client().await.get("hello.test", "/").await.body, "hello");
    let _waiting = spawn_get(rig.addr, "cold.test", "/");
    rig.until_demand("default/cold-00001", 1, 0).await;
    let report = rig.autoscaler.connect().await;
    let told: Vec<_> = report.revisions.iter().map(|demand| (demand.revision.as_str(), demand.waiting)).collect();
    assert!(told.contains(&("default/cold-00001", 1)), "{told:?}");
    assert!(told.contains(&(HELLO, 0)), "{told:?}");
    assert_eq!(rig.autoscaler.next_wake().await.revision, "default/cold-00001");
}

#[tokio::test]
async fn a_withdrawn_endpoint_gets_nothing_once_that_is_applied() {
    let mut rig = Rig::start().await;
    rig.deploy(function("hello"));
    let old = Instance::unix("old", says("old")).await;
    let new = Instance::unix("new", says("new")).await;
    rig.autoscaler.endpoints(HELLO, &[old.endpoint(100), new.endpoint(100)]).await;
    let addr = rig.addr;
    let load: Vec<_> = (0..8)
        .map(|_| {
            tokio::spawn(async move {
                let mut client = Client::connect(addr).await;
                for _ in 0..200 {
                    assert_eq!(client.get("hello.test", "/").await.status, 200);
                }
            })
        })
        .collect();
    until("both have requests", || old.requests() > 20 && new.requests() > 20).await;
    rig.autoscaler.endpoints(HELLO, &[new.endpoint(100)]).await;
    // What had a slot was sent before the acknowledgement; let it arrive.
    until("the old one has nothing more", || {
        rig.revision(HELLO).endpoints.iter().all(|endpoint| endpoint.instance != "old")
    })
    .await;
    let after = old.requests();
    for task in load {
        soon("the load ends", task).await.unwrap();
    }
    assert_eq!(old.requests(), after);
}
