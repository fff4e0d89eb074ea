//! Bodies that are longer than any buffer, and clients that are slower than the instance.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::rig::{Answer, Body, Instance, Rig, function, get, limited, post, soon, spawn_get, until};

const HELLO: &str = "default/hello-00001";
const CHUNK_BYTES: usize = 64 * 1024;
const CHUNKS: usize = 1600;

/// A body that is sent piece by piece.
pub(crate) fn channel_body() -> (mpsc::Sender<std::io::Result<Bytes>>, Body) {
    let (sender, receiver) = mpsc::channel(1);
    let frames = futures::stream::unfold(receiver, |mut receiver| async {
        let piece: std::io::Result<Bytes> = receiver.recv().await?;
        Some((piece.map(Frame::data), receiver))
    });
    (sender, BodyExt::boxed(StreamBody::new(SyncStream(std::sync::Mutex::new(Box::pin(frames))))))
}

/// A stream that may be shared, because nobody does.
struct SyncStream<S>(std::sync::Mutex<std::pin::Pin<Box<S>>>);

impl<S: futures::Stream> futures::Stream for SyncStream<S> {
    type Item = S::Item;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<S::Item>> {
        self.0.get_mut().unwrap().as_mut().poll_next(cx)
    }
}

/// 100 MB, counted as they are taken.
fn large(taken: Arc<AtomicU64>) -> Body {
    let chunk = Bytes::from(vec![7; CHUNK_BYTES]);
    let chunks = futures::stream::iter(0..CHUNKS).map(move |_| {
        taken.fetch_add(CHUNK_BYTES as u64, Ordering::SeqCst);
        Ok(Frame::data(chunk.clone()))
    });
    BodyExt::boxed(StreamBody::new(chunks))
}

async fn echo(request: Request<Incoming>) -> Response<Body> {
    Response::new(request.into_body().map_err(std::io::Error::other).boxed())
}

fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

async fn length(mut body: Incoming) -> u64 {
    let mut length = 0;
    while let Some(frame) = soon("more of the answer", body.frame()).await {
        length += frame.unwrap().into_data().map_or(0, |data| data.len() as u64);
    }
    length
}

async fn echoing_rig() -> (Rig, Instance) {
    let mut rig = Rig::start().await;
    rig.deploy(function("hello"));
    let instance = Instance::unix("one", echo).await;
    rig.autoscaler.endpoints(HELLO, &[instance.endpoint(10)]).await;
    (rig, instance)
}

#[tokio::test]
async fn a_hundred_megabytes_pass_both_ways_in_little_memory() {
    let (rig, _instance) = echoing_rig().await;
    let before = resident_bytes();
    let mut client = rig.client().await;
    let response = client.send(post("hello.test", "/", large(Arc::default()))).await.unwrap();
    assert_eq!(length(response.into_body()).await, (CHUNKS * CHUNK_BYTES) as u64);
    // The client and the instance are in this process too.
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 50 << 20, "grew by {grown} bytes");
    rig.until_demand(HELLO, 0, 0).await;
}

#[tokio::test]
async fn a_hundred_megabytes_pass_both_ways_over_http2() {
    let (rig, _instance) = echoing_rig().await;
    let stream = TcpStream::connect(rig.addr).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("http://hello.test/").body(large(Arc::default())).unwrap();
    let response = soon("an answer", sender.send_request(request)).await.unwrap();
    assert_eq!(length(response.into_body()).await, (CHUNKS * CHUNK_BYTES) as u64);
    rig.until_demand(HELLO, 0, 0).await;
}

#[tokio::test]
async fn pieces_pass_both_ways_as_they_come() {
    let (rig, _instance) = echoing_rig().await;
    let (sender, body) = channel_body();
    let mut client = rig.client().await;
    let response = soon("the head, before the body", client.send(post("hello.test", "/", body))).await.unwrap();
    let mut answer = response.into_body();
    for piece in ["one", "two", "three"] {
        sender.send(Ok(piece.into())).await.unwrap();
        let frame = soon("the piece", answer.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), piece);
    }
    drop(sender);
    assert!(answer.frame().await.is_none());
    assert_eq!(client.get("hello.test", "/").await.status, 200);
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_instance_back() {
    let taken = Arc::<AtomicU64>::default();
    let counted = Arc::clone(&taken);
    let instance = Instance::unix("one", move |_| {
        let body = large(Arc::clone(&counted));
        async { Response::new(body) }
    })
    .await;
    let mut rig = Rig::start().await;
    rig.deploy(function("hello"));
    rig.autoscaler.endpoints(HELLO, &[instance.endpoint(1)]).await;
    let mut client = rig.client().await;
    taken.store(0, Ordering::SeqCst);
    let response = client.send(get("hello.test", "/")).await.unwrap();
    // Wait until nothing moves any more: all buffers on the way are full.
    let mut last = u64::MAX;
    while last != taken.load(Ordering::SeqCst) {
        last = taken.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(last < 60 << 20, "{last} bytes are somewhere");
    assert_eq!(length(response.into_body()).await, (CHUNKS * CHUNK_BYTES) as u64);
}

#[tokio::test]
async fn a_client_that_never_reads_loses_its_slot_at_the_deadline() {
    for version in [1, 2] {
        let instance = Instance::unix("one", |_| async { Response::new(large(Arc::default())) }).await;
        let mut rig = Rig::start().await;
        rig.deploy(limited(function("hello"), |limits| limits.timeout = Duration::from_secs(3)));
        rig.autoscaler.endpoints(HELLO, &[instance.endpoint(1)]).await;
        let mut client = rig.client().await;
        let stream = TcpStream::connect(rig.addr).await.unwrap();
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get("http://hello.test/").body(crate::rig::full("")).unwrap();
        let response = match version {
            1 => client.send(get("hello.test", "/")).await.unwrap(),
            _ => sender.send_request(request).await.unwrap(),
        };
        assert_eq!(rig.revision(HELLO).in_flight, 1);
        rig.until_demand(HELLO, 0, 0).await;
        until("the instance has stopped", || instance.in_flight.load(Ordering::SeqCst) == 0).await;
        assert!(soon("the end", response.into_body().collect()).await.is_err());
    }
}

#[tokio::test]
async fn an_instance_that_never_answers_is_504_and_stopped() {
    let instance = Instance::unix("one", |_| futures::future::pending::<Response<Body>>()).await;
    let mut rig = Rig::start().await;
    rig.deploy(limited(function("hello"), |limits| limits.timeout = Duration::from_secs(2)));
    rig.autoscaler.endpoints(HELLO, &[instance.endpoint(1)]).await;
    let answer = spawn_get(rig.addr, "hello.test", "/").await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.error()), (504, "timeout"));
    assert_eq!(instance.requests(), 1);
    until("the instance has stopped", || instance.in_flight.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn a_body_that_never_ends_is_504() {
    let mut rig = Rig::start().await;
    let reads = |request: Request<Incoming>| async {
        let _read = request.into_body().collect().await;
        Response::new(crate::rig::full("read"))
    };
    let instance = Instance::unix("one", reads).await;
    rig.deploy(limited(function("hello"), |limits| limits.timeout = Duration::from_millis(100)));
    rig.autoscaler.endpoints(HELLO, &[instance.endpoint(1)]).await;
    let (sender, body) = channel_body();
    sender.send(Ok("beginning".into())).await.unwrap();
    let response = rig.client().await.send(post("hello.test", "/", body)).await.unwrap();
    assert_eq!(response.status(), 504);
    rig.until_demand(HELLO, 0, 0).await;
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_body_reaches_the_client() {
    let early = |_| async { Response::builder().status(403).body(crate::rig::full("no")).unwrap() };
    let instance = Instance::unix("one", early).await;
    let mut rig = Rig::start().await;
    rig.deploy(function("hello"));
    rig.autoscaler.endpoints(HELLO, &[instance.endpoint(1)]).await;
    let (sender, body) = channel_body();
    sender.send(Ok("beginning".into())).await.unwrap();
    let mut client = rig.client().await;
    let answer = Answer::read(client.send(post("hello.test", "/", body)).await.unwrap()).await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (403, "no"));
    rig.until_demand(HELLO, 0, 0).await;
}
