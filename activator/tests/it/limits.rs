//! What clients may take up, and how the activator stops.

use std::time::Duration;

use futures::future::join_all;
use http::{HeaderValue, Request, StatusCode};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wisp_activator::Leaving;

use crate::rig::{Answer, Client, Gate, Instance, PATIENCE, Rig, full, function, get, says, soon, spawn_get, until};

const HELLO: &str = "default/hello-00001";

/// Reads until the other side closes.
async fn closed(mut stream: TcpStream) -> usize {
    let mut bytes = Vec::new();
    let read = soon("the connection is closed", stream.read_to_end(&mut bytes)).await;
    read.unwrap_or(0)
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_at_once() {
    let rig = Rig::start_with(|config| config.limits.connections = 2).await;
    let mut first = rig.client().await;
    assert_eq!(first.get("nobody.test", "/").await.status, 404);
    let mut second = rig.client().await;
    assert_eq!(second.get("nobody.test", "/").await.status, 404);
    assert_eq!(closed(TcpStream::connect(rig.addr).await.unwrap()).await, 0);
    drop(second);
    soon("there is room again", async {
        loop {
            let mut third = rig.client().await;
            if third.send(get("nobody.test", "/")).await.is_ok() {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_head_that_comes_drop_by_drop_is_cut() {
    let rig = Rig::start_with(|config| config.limits.head_timeout = Duration::from_secs(2)).await;
    let addr = rig.addr;
    let cut = ["", "P", "GET / HTTP/1.1\r\nHost: he"].map(|beginning| async move {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(beginning.as_bytes()).await.unwrap();
        assert_eq!(closed(stream).await, 0, "{beginning:?}");
    });
    join_all(cut).await;
    // And so is the head of a second request.
    let mut stream = TcpStream::connect(rig.addr).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut answer = [0; 4096];
    assert!(soon("an answer", stream.read(&mut answer)).await.unwrap() > 0);
    stream.write_all(b"GET / HT").await.unwrap();
    assert_eq!(closed(stream).await, 0);
}

#[tokio::test]
async fn idle_connections_are_closed_and_busy_ones_are_not() {
    let mut rig = Rig::start_with(|config| config.limits.idle_timeout = Duration::from_millis(200)).await;
    rig.deploy(function("hello"));
    let gate = Gate::closed();
    let instance = Instance::tcp("one", gate.handler()).await;
    rig.autoscaler.endpoints(HELLO, &[instance.endpoint(10)]).await;
    let busy = spawn_get(rig.addr, "hello.test", "/busy");
    until("it is there", || gate.seen.lock().unwrap().len() == 1).await;
    let mut idle = TcpStream::connect(rig.addr).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert!(closed(idle).await > 0);
    gate.open(1);
    assert_eq!(busy.await.unwrap().body, "/busy");
}

#[tokio::test]
async fn a_flood_of_resets_ends_its_connection_and_leaves_others_alone() {
    let mut rig = Rig::start().await;
    rig.deploy(function("hello"));
    let instance = Instance::tcp("one", says("hello")).await;
    rig.autoscaler.endpoints(HELLO, &[instance.endpoint(10)]).await;
    let mut stream = TcpStream::connect(rig.addr).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    // Headers and reset of one stream after the other: GET http hello.test / by literals without indexing.
    let block = b"\x82\x86\x84\x01\x0ahello.test";
    let mut flood = Vec::new();
    for stream_id in (1u32..40_001).step_by(2) {
        flood.extend_from_slice(&[0, 0, block.len() as u8, 1, 5]);
        flood.extend_from_slice(&stream_id.to_be_bytes());
        flood.extend_from_slice(block);
        flood.extend_from_slice(&[0, 0, 4, 3, 0]);
        flood.extend_from_slice(&stream_id.to_be_bytes());
        flood.extend_from_slice(&[0, 0, 0, 8]);
    }
    let (mut read, mut write) = stream.into_split();
    let writing = tokio::spawn(async move { write.write_all(&flood).await });
    let mut bytes = Vec::new();
    let _reset = soon("the flood is cut", read.read_to_end(&mut bytes)).await;
    let _broken = writing.await.unwrap();
    assert_eq!(rig.client().await.get("hello.test", "/").await.body, "hello");
    rig.until_demand(HELLO, 0, 0).await;
}

#[tokio::test]
async fn before_draining_kept_connections_end_with_an_answer() {
    let leaving = Leaving::default();
    let mut rig = Rig::start_with(|config| config.leaving = leaving.clone()).await;
    rig.deploy(function("hello"));
    let instance = Instance::tcp("one", says("hello")).await;
    rig.autoscaler.endpoints(HELLO, &[instance.endpoint(1)]).await;
    let mut client = rig.client().await;
    assert_eq!(client.get("hello.test", "/").await.headers.get("connection"), None);
    leaving.begin();
    let last = client.get("hello.test", "/").await;
    assert_eq!(
        (last.status, last.headers.get("connection")),
        (StatusCode::OK, Some(&HeaderValue::from_static("close")))
    );
    until("the connection is closed", || client.sender.is_closed()).await;
    // Whoever has not heard of it yet is served all the same.
    assert_eq!(rig.client().await.get("hello.test", "/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn draining_finishes_what_is_in_flight_and_takes_nothing_new() {
    let mut rig = Rig::start().await;
    rig.deploy(function("hello"));
    let gate = Gate::closed();
    let instance = Instance::tcp("one", gate.handler()).await;
    rig.autoscaler.endpoints(HELLO, &[instance.endpoint(1)]).await;
    let mut idle = rig.client().await;
    idle.get("nobody.test", "/").await;
    let in_flight = spawn_get(rig.addr, "hello.test", "/first");
    until("it is there", || gate.seen.lock().unwrap().len() == 1).await;
    let waiting = spawn_get(rig.addr, "hello.test", "/second");
    rig.until_demand(HELLO, 1, 1).await;
    let stream = TcpStream::connect(rig.addr).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("http://hello.test/third").body(full("")).unwrap();
    let third = tokio::spawn(async move { Answer::read(sender.send_request(request).await.unwrap()).await });
    rig.until_demand(HELLO, 2, 1).await;

    rig.shutdown.cancel();
    soon("nobody can connect any more", async {
        while TcpStream::connect(rig.addr).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    until("the idle connection is closed", || idle.sender.is_closed()).await;
    gate.open(3);
    assert_eq!(in_flight.await.unwrap().body, "/first");
    assert_eq!(waiting.await.unwrap().body, "/second");
    assert_eq!(third.await.unwrap().body, "/third");
    soon("the HTTP/2 connection is closed", connection).await.unwrap().unwrap();
    soon("the activator ends", rig.running).await.unwrap();
}

#[tokio::test]
async fn what_is_still_in_flight_after_the_drain_timeout_is_cut() {
    let mut rig = Rig::start_with(|config| config.limits.drain_timeout = Duration::from_millis(50)).await;
    rig.deploy(function("hello"));
    let instance = Instance::tcp("one", Gate::closed().handler()).await;
    rig.autoscaler.endpoints(HELLO, &[instance.endpoint(1)]).await;
    let mut client = Client::connect(rig.addr).await;
    let sending = tokio::spawn(async move { client.send(get("hello.test", "/")).await });
    rig.until_demand(HELLO, 0, 1).await;
    rig.shutdown.cancel();
    soon("the activator ends", rig.running).await.unwrap();
    assert!(tokio::time::timeout(PATIENCE, sending).await.unwrap().unwrap().is_err());
}
