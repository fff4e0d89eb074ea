//! Requests and guests that want more than they may have.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{get, given, post, read, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_says_it_is_too_large_is_refused_at_once() {
    let host = given("guests.wasm").limits(|limits| limits.request_body_bytes = 10).served().await;
    let answer = read(host.send(post("/sink", "x".repeat(11))).await).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.header("x-wisp-error")), (413, "body-too-large"));
    assert_eq!(read(host.send(post("/sink", "x".repeat(10))).await).await.unwrap().text, "{\"bytes\":10}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_a_length_is_counted() {
    for component in ["guests.wasm", "guests-p3.wasm"] {
        let host = given(component).limits(|limits| limits.request_body_bytes = 10).served().await;
        let body = Full::new(Bytes::from("x".repeat(100))).map_frame(|frame| frame);
        let request = Request::post("/echo").header("host", "a").header("transfer-encoding", "chunked").body(body);
        let answer = read(host.send(request.unwrap()).await).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.header("x-wisp-error")), (413, "body-too-large"), "{component}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_slots_are_refused_in_a_way_that_activators_can_tell() {
    let host = given("guests.wasm").slots(1).served().await;
    let mut first = host.http1().await;
    let running = tokio::spawn(first.send_request(get("/sleep?ms=60000")));
    host.in_flight(1).await;
    let answer = host.get("/hello").await;
    assert_eq!((answer.status.as_u16(), answer.header("x-wisp-refused")), (503, "slots"));
    running.abort();
    drop(first);
    host.in_flight(0).await;
    assert_eq!(host.get("/hello").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_cannot_pretend_to_be_refused() {
    // Whatever a guest answers, these headers are the host's alone.
    let answer = given("guests.wasm").served().await.get("/status?code=503").await;
    assert_eq!((answer.status.as_u16(), answer.header("x-wisp-refused")), (503, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_waits_too_long_is_a_504() {
    let host = given("guests.wasm").limits(|limits| limits.timeout_millis = 100).served().await;
    for path in
        ["/sleep?ms=60000", "/clock-abuse?mode=forever", "/clock-abuse?mode=timers&count=100", "/clock-abuse?mode=spin"]
    {
        let answer = host.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-wisp-error")), (504, "timeout"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_computes_too_long_is_stopped_and_costs_nobody_else_anything() {
    for component in ["guests.wasm", "guests-p3.wasm"] {
        let host = given(component).limits(|limits| limits.cpu_time_millis = 200).served().await;
        let answer = host.get("/loop").await;
        assert_eq!((answer.status.as_u16(), answer.header("x-wisp-error")), (504, "cpu-time"), "{component}");
        // While it loops, for which a slow machine needs more time.
        let host = given(component).limits(|limits| limits.cpu_time_millis = 20_000).served().await;
        let mut client = host.http1().await;
        let looping = tokio::spawn(client.send_request(get("/loop")));
        host.in_flight(1).await;
        assert_eq!(host.get("/hello").await.status, 200);
        assert!(!looping.is_finished(), "{component}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_bounded_per_wasm_instance() {
    let host = given("guests.wasm").limits(|limits| limits.memory_bytes = 16 << 20).served().await;
    let text = host.get("/memory-bomb").await.text;
    let mib: u64 = text.trim_start_matches("{\"mib\":").split(',').next().unwrap().parse().unwrap();
    assert!(mib < 16 && text.contains("\"refused\":true"), "{text}");
    assert_eq!(host.get("/hello").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_needs_more_memory_to_start_than_allowed_says_so() {
    let host = given("guests.wasm").limits(|limits| limits.memory_bytes = 64 << 10).served().await;
    assert_eq!(host.get("/hello").await.status, 502);
}

#[tokio::test(flavor = "multi_thread")]
async fn resources_and_headers_are_bounded() {
    let host = given("guests.wasm").served().await;
    for path in ["/resource-bomb?kind=fields", "/resource-bomb?kind=pollables"] {
        assert_eq!(host.get(path).await.status, 502, "{path}");
    }
    let answer = host.get("/header-bomb").await;
    assert!(answer.status == 502 || answer.text.contains("\"error\""), "{answer:?}");
    assert!(host.get("/resource-bomb?count=1000").await.text.contains("1000"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_without_end_is_refused() {
    let host = given("guests.wasm").served().await;
    let mut stream = TcpStream::connect(&host.address).await.unwrap();
    stream.write_all(b"GET /hello HTTP/1.1\r\nhost: a\r\n").await.unwrap();
    let line = format!("x-bomb: {}\r\n", "b".repeat(1000));
    for _ in 0..1000 {
        if stream.write_all(line.as_bytes()).await.is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    let _reset = within(stream.read_to_end(&mut answer)).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_eq!(host.get("/hello").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_headers_are_refused() {
    let host = given("guests.wasm").served().await;
    let mut stream = TcpStream::connect(&host.address).await.unwrap();
    let headers = "a: b\r\n".repeat(1000);
    stream.write_all(format!("GET /hello HTTP/1.1\r\nhost: a\r\n{headers}\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_sockets_are_out_of_reach() {
    let host = given("guests.wasm").served().await;
    let text = host.get("/fs-attack").await.text;
    assert!(text.contains("\"reached\":[]"), "{text}");
    let target = host.address.clone();
    let text =
        host.get(&format!("/socket-attack?tcp={target}&udp={target}&listen=127.0.0.1:0&name=localhost")).await.text;
    assert!(text.contains("\"reached\":[]"), "{text}");
}
