//! Instances that are not there, refuse, or die.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::Response;
use tokio::time::Instant;

use crate::rig::{
    Answer, Client, Gate, Instance, Rig, eventually, full, function, get, limited, post, says, soon, spawn_get, until,
};

const HELLO: &str = "default/hello-00001";

/// An address at which nobody listens.
async fn dead() -> Instance {
    let dead = Instance::tcp("dead", says("dead")).await;
    dead.kill();
    let addr: std::net::SocketAddr = dead.address.strip_prefix("tcp:").unwrap().parse().unwrap();
    soon("nobody listens any more", async {
        while tokio::net::TcpStream::connect(addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    dead
}

#[tokio::test]
async fn a_refused_connection_goes_to_another_instance() {
    let mut rig = Rig::start().await;
    rig.deploy(function("hello"));
    let (dead, alive) = (dead().await, Instance::tcp("alive", says("alive")).await);
    rig.autoscaler.endpoints(HELLO, &[dead.endpoint(1), alive.endpoint(1)]).await;
    let mut client = rig.client().await;
    for _ in 0..3 {
        assert_eq!(client.get("hello.test", "/").await.body, "alive");
    }
}

#[tokio::test]
async fn when_the_only_instance_is_dead_the_request_waits_for_a_new_one() {
    let mut rig = Rig::start().await;
    rig.deploy(function("hello"));
    let dead = dead().await;
    rig.autoscaler.endpoints(HELLO, &[dead.endpoint(1)]).await;
    let waiting = spawn_get(rig.addr, "hello.test", "/");
    assert_eq!(rig.autoscaler.next_wake().await.revision, HELLO);
    let alive = Instance::tcp("alive", says("alive")).await;
    rig.autoscaler.endpoints(HELLO, &[alive.endpoint(1)]).await;
    assert_eq!(waiting.await.unwrap().body, "alive");
}

#[tokio::test]
async fn an_instance_that_is_back_is_tried_again_though_the_autoscaler_never_noticed() {
    let mut rig = Rig::start().await;
    rig.deploy(function("hello"));
    let mut instance = Instance::unix("one", says("back")).await;
    rig.autoscaler.endpoints(HELLO, &[instance.endpoint(1)]).await;
    instance.kill();
    let waiting = spawn_get(rig.addr, "hello.test", "/");
    rig.autoscaler.next_wake().await;
    instance.revive();
    assert_eq!(waiting.await.unwrap().body, "back");
}

#[tokio::test]
async fn a_refusal_by_the_host_goes_to_another_instance() {
    let mut rig = Rig::start().await;
    rig.deploy(function("hello"));
    let refuses = |_| async {
        let response = Response::builder().status(503).header("x-wisp-refused", "draining");
        response.body(full("not here")).unwrap()
    };
    let (busy, free) = (Instance::tcp("busy", refuses).await, Instance::tcp("free", says("free")).await);
    rig.autoscaler.endpoints(HELLO, &[busy.endpoint(1), free.endpoint(1)]).await;
    assert_eq!(rig.client().await.get("hello.test", "/").await.body, "free");
    assert_eq!(busy.requests(), 1);

    rig.autoscaler.endpoints(HELLO, &[busy.endpoint(1)]).await;
    let refused = rig.client().await.get("hello.test", "/").await;
    assert_eq!((refused.status.as_u16(), refused.error()), (503, "unreachable"));
    assert_eq!(busy.requests(), 2);

    // The autoscaler has a second to name another; a machine that stalls for so long gets one more try.
    eventually("who was refused waits for another instance", async || {
        rig.autoscaler.endpoints(HELLO, &[busy.endpoint(1)]).await;
        let (asked, waiting) = (busy.requests(), spawn_get(rig.addr, "hello.test", "/"));
        until("it was refused", || busy.requests() > asked).await;
        rig.autoscaler.endpoints(HELLO, &[free.endpoint(1)]).await;
        waiting.await.unwrap().body == "free"
    })
    .await;
}

#[tokio::test]
async fn an_instance_whose_slot_is_not_free_yet_is_asked_again() {
    let mut rig = Rig::start().await;
    rig.deploy(function("hello"));
    // A client left: its slot is free here, and the instance has not noticed yet.
    let refusals = Arc::new(AtomicU64::new(3));
    let instance = Instance::tcp("one", move |_| {
        let is_taken = refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        async move {
            let taken =
                || Response::builder().status(503).header("x-wisp-refused", "slots").body(full("taken")).unwrap();
            if is_taken { taken() } else { Response::new(full("free")) }
        }
    });
    let instance = instance.await;
    rig.autoscaler.endpoints(HELLO, &[instance.endpoint(1)]).await;
    assert_eq!(rig.client().await.get("hello.test", "/").await.body, "free");
    assert_eq!(instance.requests(), 4);
}

#[tokio::test]
async fn a_request_that_was_sent_is_not_sent_again() {
    let mut rig = Rig::start().await;
    rig.deploy(function("hello"));
    let gate = Gate::closed();
    let (one, two) = (Instance::unix("one", gate.handler()).await, Instance::unix("two", says("two")).await);
    rig.autoscaler.endpoints(HELLO, &[one.endpoint(1), two.endpoint(1)]).await;
    let waiting = spawn_get(rig.addr, "hello.test", "/");
    until("it was sent", || gate.seen.lock().unwrap().len() == 1).await;
    one.kill();
    let answer = waiting.await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.error()), (502, "instance-died"));
    assert_eq!(two.requests(), 0);
    assert_eq!(rig.revision(HELLO).failed_total, 1);
}

#[tokio::test]
async fn what_crosses_with_the_end_of_an_idle_connection_is_sent_once_more_if_it_changes_nothing() {
    let mut rig = Rig::start().await;
    rig.deploy(function("hello"));
    let breaks = Arc::new(AtomicBool::new(false));
    let handler = {
        let breaks = Arc::clone(&breaks);
        move |_| {
            let breaks = Arc::clone(&breaks);
            async move {
                assert!(!breaks.swap(false, Ordering::SeqCst), "the connection ends without an answer");
                Response::new(full("one"))
            }
        }
    };
    let (one, two) = (Instance::unix("one", handler).await, Instance::unix("two", says("two")).await);
    rig.autoscaler.endpoints(HELLO, &[one.endpoint(1), two.endpoint(1)]).await;
    let mut client = rig.client().await;
    eventually("one breaks and the other answers", async || {
        breaks.store(false, Ordering::SeqCst);
        if client.get("hello.test", "/").await.body != "one" {
            return false;
        }
        breaks.store(true, Ordering::SeqCst);
        let (answer, broke) = (client.get("hello.test", "/").await, !breaks.load(Ordering::SeqCst));
        // On a machine that stalls it is lost so late that it may have been worked on.
        assert!(answer.status == 200 || (broke && answer.status == 502), "{answer:?}");
        broke && answer.status == 200
    })
    .await;
    breaks.store(true, Ordering::SeqCst);
    eventually("a change breaks", async || {
        let response = client.send(post("hello.test", "/", full("change"))).await.unwrap();
        let (answer, broke) = (Answer::read(response).await, !breaks.load(Ordering::SeqCst));
        assert_eq!(answer.status, if broke { 502 } else { 200 }, "{}", answer.body);
        broke
    })
    .await;
}

#[tokio::test]
async fn an_instance_that_breaks_a_connection_gets_nothing_for_a_moment() {
    let mut rig = Rig::start().await;
    rig.deploy(function("hello"));
    let (broke, came) = (Arc::<OnceLock<Instant>>::default(), Arc::<OnceLock<Instant>>::default());
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let handler = {
        let (broke, came, gate) = (Arc::clone(&broke), Arc::clone(&came), Arc::clone(&gate));
        move |_| {
            let (broke, came, gate) = (Arc::clone(&broke), Arc::clone(&came), Arc::clone(&gate));
            async move {
                if broke.get().is_none() {
                    let _ = gate.acquire().await.unwrap();
                    broke.set(Instant::now()).unwrap();
                    panic!("the connection of this request ends, and no other");
                }
                came.set(Instant::now()).unwrap();
                Response::new(full("well"))
            }
        }
    };
    let one = Instance::unix("one", handler).await;
    rig.autoscaler.endpoints(HELLO, &[one.endpoint(1)]).await;
    let first = spawn_get(rig.addr, "hello.test", "/");
    rig.until_demand(HELLO, 0, 1).await;
    let second = spawn_get(rig.addr, "hello.test", "/");
    rig.until_demand(HELLO, 1, 1).await;
    gate.add_permits(1);
    assert_eq!(first.await.unwrap().error(), "instance-died");
    // The autoscaler has nothing to say: it is tried again by itself.
    assert_eq!(second.await.unwrap().body, "well");
    let pause = *came.get().unwrap() - *broke.get().unwrap();
    assert!(pause >= Duration::from_millis(100), "{pause:?}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_cut_for_the_client_too() {
    let mut rig = Rig::start().await;
    rig.deploy(function("hello"));
    let (sender, body) = crate::streaming::channel_body();
    let body = std::sync::Mutex::new(Some(body));
    let one = Instance::unix("one", move |_| {
        let body = body.lock().unwrap().take().unwrap();
        async { Response::new(body) }
    })
    .await;
    rig.autoscaler.endpoints(HELLO, &[one.endpoint(1)]).await;
    let mut client = rig.client().await;
    let response = client.send(get("hello.test", "/")).await.unwrap();
    sender.send(Ok("beginning".into())).await.unwrap();
    let mut body = response.into_body();
    let first = http_body_util::BodyExt::frame(&mut body).await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "beginning");
    one.kill();
    let rest = soon("the end", http_body_util::BodyExt::collect(body)).await;
    assert!(rest.is_err());
    rig.until_demand(HELLO, 0, 0).await;
}

#[tokio::test]
async fn an_idle_connection_to_an_instance_that_died_loses_no_request() {
    let mut rig = Rig::start().await;
    rig.deploy(function("hello"));
    let mut instance = Instance::unix("one", says("hello")).await;
    rig.autoscaler.endpoints(HELLO, &[instance.endpoint(1)]).await;
    let mut client = rig.client().await;
    for _ in 0..50 {
        assert_eq!(client.get("hello.test", "/").await.body, "hello");
        instance.killed().await;
        instance.revive();
        // With a body, too: nothing of it was sent.
        let response = client.send(post("hello.test", "/", full("body"))).await.unwrap();
        assert_eq!(response.status(), 200);
        http_body_util::BodyExt::collect(response.into_body()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_instances_under_load_fails_only_what_was_in_flight() {
    let mut rig = Rig::start().await;
    // Shorter than the test's patience, so that a request that is stuck says where.
    rig.deploy(limited(function("hello"), |limits| limits.timeout = Duration::from_secs(5)));
    let mut instances = Vec::new();
    for name in ["one", "two", "three"] {
        instances.push(Instance::unix(name, says(name)).await);
    }
    let endpoints: Vec<_> = instances.iter().map(|instance| instance.endpoint(10)).collect();
    rig.autoscaler.endpoints(HELLO, &endpoints).await;
    let (failed, done) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let addr = rig.addr;
    let load: Vec<_> = (0..8)
        .map(|_| {
            let (failed, done) = (Arc::clone(&failed), Arc::clone(&done));
            tokio::spawn(async move {
                let mut client = Client::connect(addr).await;
                for _ in 0..400 {
                    let answer = client.get("hello.test", "/").await;
                    match answer.status.as_u16() {
                        200 => done.fetch_add(1, Ordering::SeqCst),
                        502 => failed.fetch_add(1, Ordering::SeqCst),
                        other => panic!("{other}: {answer:?}"),
                    };
                }
            })
        })
        .collect();
    let mut in_flight_at_kills = 0;
    for round in 0..30 {
        let count = done.load(Ordering::SeqCst);
        let is_over = || load.iter().all(tokio::task::JoinHandle::is_finished);
        until("some requests are through", || done.load(Ordering::SeqCst) > count + 20 || is_over()).await;
        let victim = &mut instances[round % 3];
        victim.kill();
        // Each client has at most one request there.
        in_flight_at_kills += 8;
        victim.revive();
        let endpoints: Vec<_> = instances.iter().map(|instance| instance.endpoint(10)).collect();
        rig.autoscaler.endpoints(HELLO, &endpoints).await;
    }
    for task in load {
        soon("the load ends", task).await.unwrap();
    }
    let failed = failed.load(Ordering::SeqCst);
    assert!(failed <= in_flight_at_kills, "{failed} failed");
    // Those that had not been sent went elsewhere: of what was in flight, only a part was at the victim.
    assert!(failed < in_flight_at_kills / 2, "{failed} of {in_flight_at_kills} failed");
    rig.until_demand(HELLO, 0, 0).await;
}
