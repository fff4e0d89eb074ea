//! Guests and clients that fail.

use http_body_util::BodyExt;

use crate::support::{get, given, read, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_is_a_502_with_an_id_and_the_neighbours_go_on() {
    for component in ["guests.wasm", "guests-p3.wasm"] {
        let host = given(component).served().await;
        let mut client = host.http1().await;
        let neighbour = tokio::spawn(client.send_request(get("/sleep?ms=2000")));
        host.in_flight(1).await;
        let answer = host.get("/trap").await;
        assert_eq!((answer.status.as_u16(), answer.header("x-wisp-error")), (502, "trap"), "{component}");
        assert!(answer.text.contains("under id "), "{}", answer.text);
        assert_eq!(within(neighbour).await.unwrap().unwrap().status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guests_own_error_is_a_502() {
    let answer = given("guests-p3.wasm").served().await.get("/error").await;
    assert_eq!((answer.status.as_u16(), answer.header("x-wisp-error")), (502, "guest-error"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_leave_without_an_answer_is_a_502() {
    let host = given("guests.wasm").served().await;
    for path in ["/no-response", "/exit?code=0", "/exit?code=1", "/stack"] {
        assert_eq!(host.get(path).await.status, 502, "{path}");
    }
    assert_eq!(host.get("/hello").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_traps_on_its_way_is_never_taken_for_a_whole_one() {
    let host = given("guests.wasm").limits(|limits| limits.cpu_time_millis = 100).served().await;
    // Either the trap came before the head was sent, or the answer is cut, perhaps even before its head.
    if let Ok(response) = within(host.http1().await.send_request(get("/trap/after-headers"))).await {
        let status = response.status();
        assert!(status.is_server_error() || read(response).await.is_err(), "{status}");
    }
    // A loop lets its head be sent, unless the machine is so busy that it is stopped before.
    let begun = within(async {
        loop {
            match host.http1().await.send_request(get("/loop/after-headers")).await {
                Ok(response) if response.status() == 200 => return response,
                _ => {}
            }
        }
    });
    assert!(read(begun.await).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_stops_the_guest() {
    for path in ["/sleep?ms=60000", "/slow-body?chunks=1000&ms=50", "/loop"] {
        let host = given("guests.wasm").served().await;
        let mut client = host.http1().await;
        let running = tokio::spawn(client.send_request(get(path)));
        host.in_flight(1).await;
        running.abort();
        // An answer that has begun is dropped with its task.
        drop((running, client));
        host.in_flight(0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_stream_stops_the_guest_and_not_its_neighbour() {
    let host = given("guests.wasm").served().await;
    let client = host.http2().await;
    let (mut first, mut second) = (client.clone(), client);
    let request = |path: &str| {
        http::Request::get(format!("http://guests.test{path}"))
            .body(http_body_util::Empty::<bytes::Bytes>::new())
            .unwrap()
    };
    let running = tokio::spawn(first.send_request(request("/slow-body?chunks=1000&ms=20")));
    let mut body = within(running).await.unwrap().unwrap().into_body();
    assert!(within(body.frame()).await.unwrap().is_ok());
    assert_eq!(host.host.metrics().in_flight(), 1);
    drop(body);
    host.in_flight(0).await;
    assert_eq!(within(second.send_request(request("/hello"))).await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_instead_of_a_request_harms_nobody() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let host = given("guests.wasm").served().await;
    for garbage in
        [&b"\0\xff\r\n\r\n"[..], b"GET / HTTP/9.9\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nxxxxxxxxxxxxxxxxxx"]
    {
        let mut stream = tokio::net::TcpStream::connect(&host.address).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        within(stream.read_to_end(&mut answer)).await.unwrap();
        // An HTTP/2 preface with nothing sensible after it is answered in frames.
        assert!(answer.starts_with(b"HTTP/1.1 400") || garbage.starts_with(b"PRI"), "{garbage:?}: {answer:?}");
    }
    assert_eq!(host.get("/hello").await.status, 200);
}
