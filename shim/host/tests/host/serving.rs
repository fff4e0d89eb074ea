//! Requests that go well.

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, HeaderValue, Request, Version};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::support::{Served, get, given, post, read, within};

type Channel = StreamBody<
    futures::stream::Map<ReceiverStream<Frame<Bytes>>, fn(Frame<Bytes>) -> Result<Frame<Bytes>, std::io::Error>>,
>;

fn channel() -> (mpsc::Sender<Frame<Bytes>>, Channel) {
    let (sender, receiver) = mpsc::channel(1);
    let ok: fn(_) -> _ = Ok;
    (sender, StreamBody::new(ReceiverStream::new(receiver).map(ok)))
}

#[tokio::test(flavor = "multi_thread")]
async fn both_worlds_answer() {
    assert_eq!(given("guests.wasm").served().await.get("/hello").await.text, "hello\n");
    assert_eq!(given("guests-p3.wasm").served().await.get("/hello").await.text, "hello from p3\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_answer_has_a_length_and_says_how_long_instantiation_took() {
    let host = given("guests.wasm").served().await;
    assert!(host.get("/hello").await.header("server-timing").starts_with("instantiate;dur="));
    // None where a tick of the clock came before the guest had written all of it.
    within(async { while host.get("/hello").await.header("content-length") != "6" {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wasm_instance_serves_one_request_unless_reuse_is_asked_for() {
    let fresh = given("guests.wasm").served().await;
    for _ in 0..3 {
        assert!(fresh.get("/state").await.text.contains("\"requests\":1,"));
    }
    for component in ["guests.wasm", "guests-p3.wasm"] {
        let reused = given(component).reuse(2).served().await;
        let requests = async || {
            reused.in_flight(0).await;
            reused.get("/state").await.text.split([',', '}']).next().unwrap().to_owned()
        };
        assert_eq!(requests().await, "{\"requests\":1", "{component}");
        // A wasm instance waits a second for its next request; on a slow machine that is too short at times.
        within(async { while requests().await != "{\"requests\":2" {} }).await;
        assert_eq!(requests().await, "{\"requests\":1", "{component}");
    }
}

async fn streams_both_ways(host: &Served) {
    let (sender, body) = channel();
    let request = Request::post("/echo").header("host", "guests.test").body(body).unwrap();
    sender.send(Frame::data(Bytes::from_static(b"one"))).await.unwrap();
    let mut response = host.send(request).await.into_body();
    // The first piece is back before the second is sent.
    assert_eq!(within(response.frame()).await.unwrap().unwrap().into_data().unwrap(), "one");
    sender.send(Frame::data(Bytes::from_static(b"two"))).await.unwrap();
    assert_eq!(within(response.frame()).await.unwrap().unwrap().into_data().unwrap(), "two");
    drop(sender);
    assert!(within(response.frame()).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_stream_both_ways_at_once() {
    streams_both_ways(&given("guests.wasm").served().await).await;
    streams_both_ways(&given("guests-p3.wasm").served().await).await;
    streams_both_ways(&given("guests-p3.wasm").reuse(10).served().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_go_both_ways_over_http2() {
    for component in ["guests.wasm", "guests-p3.wasm"] {
        let host = given(component).served().await;
        let (sender, body) = channel();
        let request = Request::post("http://guests.test/echo").body(body).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let mut client = host.http2().await;
        let answered = client.send_request(request);
        sender.send(Frame::data(Bytes::from_static(b"message"))).await.unwrap();
        sender.send(Frame::trailers(trailers)).await.unwrap();
        drop(sender);
        let answer = read(within(answered).await.unwrap()).await.unwrap();
        assert_eq!(answer.text, "message", "{component}");
        assert_eq!(answer.trailers.get("grpc-status").unwrap(), "0", "{component}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_of_http1_reach_the_client() {
    let request = Request::post("/trailers").header("host", "guests.test").header("te", "trailers");
    let host = given("guests.wasm").served().await;
    let answer = read(host.send(request.body(http_body_util::Empty::<Bytes>::new()).unwrap()).await).await.unwrap();
    assert_eq!(answer.trailers.get("x-status").unwrap(), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_http2_connection_carries_many_requests() {
    let host = given("guests.wasm").slots(200).served().await;
    let client = host.http2().await;
    let requests = (0..100).map(|_| {
        let mut client = client.clone();
        async move {
            let request = Request::get("http://guests.test/sleep?ms=20").body(http_body_util::Empty::<Bytes>::new());
            let response = client.send_request(request.unwrap()).await.unwrap();
            assert_eq!(response.version(), Version::HTTP_2);
            read(response).await.unwrap().status
        }
    });
    let statuses = within(futures::future::join_all(requests)).await;
    assert!(statuses.iter().all(|status| *status == 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_answer_arrives_whole() {
    let host = given("guests.wasm").served().await;
    assert_eq!(host.get("/big-response?mib=32").await.text.len(), 32 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_for_100_continue_gets_it() {
    let host = given("guests.wasm").served().await;
    let mut stream = TcpStream::connect(&host.address).await.unwrap();
    let head =
        "POST /sink HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut interim = vec![0; 25];
    within(stream.read_exact(&mut interim)).await.unwrap();
    assert_eq!(interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"ok").await.unwrap();
    let mut rest = String::new();
    within(stream.read_to_string(&mut rest)).await.unwrap();
    assert!(
        rest.starts_with("HTTP/1.1 200 OK\r\n") && rest.contains("\r\n\r\n") && rest.contains("{\"bytes\":2}"),
        "{rest}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guest_sees_the_request_and_only_the_environment_that_was_granted() {
    let mut given = given("guests.wasm");
    given.spec.env.insert("GREETING".to_owned(), "hi".to_owned());
    let host = given.served().await;
    let text = host.get("/headers?a=b").await.text;
    assert!(text.contains("\"authority\":\"guests.test\"") && text.contains("/headers?a=b"), "{text}");
    let text = host.get("/env-attack").await.text;
    assert!(text.contains("{\"GREETING\":\"hi\"}"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_request_and_a_bare_status_have_no_body() {
    let host = given("guests.wasm").served().await;
    assert_eq!(host.get("/status?code=204").await.status, 204);
    let mut head = get("/hello");
    *head.method_mut() = http::Method::HEAD;
    assert_eq!(read(host.send(head).await).await.unwrap().text, "");
    assert_eq!(read(host.send(post("/echo", "x")).await).await.unwrap().text, "x");
}

// On one thread, where who is woken first runs first: what is sent before the host is told is in the sockets by then.
#[tokio::test]
async fn what_was_sent_before_the_end_is_served() {
    let host = given("guests.wasm").served().await;
    let mut used = host.http1().await;
    let answer = within(used.send_request(get("/hello"))).await.unwrap();
    assert_eq!(read(answer).await.unwrap().text, "hello\n");
    // Its next request is refused by hyper before that, for no fault of the host.
    within(used.ready()).await.unwrap();
    let mut unused = host.http1().await;
    let (on_used, on_unused) = (used.send_request(get("/hello")), unused.send_request(get("/hello")));
    host.stop.drain.cancel();
    // The third connection is there by then, but not accepted.
    let (on_used, on_unused, on_new) = within(async { tokio::join!(on_used, on_unused, host.get("/hello")) }).await;
    assert_eq!([on_used.unwrap().status(), on_unused.unwrap().status(), on_new.status], [200; 3]);
    // Nobody is connected any more.
    drop((used, unused));
    within(host.stop.settled.cancelled()).await;
}

// On one thread, as above.
#[tokio::test]
async fn who_was_not_told_that_a_host_ends_is_served_and_told_to_connect_anew() {
    let host = given("guests.wasm").served().await;
    let mut untold = host.http1().await;
    let answer = within(untold.send_request(get("/hello"))).await.unwrap();
    assert_eq!(read(answer).await.unwrap().header("connection"), "");
    within(untold.ready()).await.unwrap();
    host.host.leave();
    let answer = untold.send_request(get("/hello"));
    host.stop.drain.cancel();
    let answer = read(within(answer).await.unwrap()).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.header("connection")), (200, "close"));
    assert!(within(untold.ready()).await.is_err(), "the connection is closed");
    within(host.stop.settled.cancelled()).await;
    // Until nobody listens.
    within(async { while TcpStream::connect(&host.address).await.is_ok() {} }).await;
}
