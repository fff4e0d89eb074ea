//! HTTP in its versions and its corners.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, Request, Response, Version};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::rig::{Answer, Body, Gate, Instance, Rig, full, function, get, post, says, soon, until};

const HELLO: &str = "default/hello-00001";

async fn http2_client<T: crate::rig::Io + 'static>(io: T) -> http2::SendRequest<Body> {
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// Sends raw bytes and reads until the other side closes, or `enough` was read.
async fn raw(rig: &Rig, bytes: &[u8], enough: &str) -> String {
    let mut stream = TcpStream::connect(rig.addr).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut text = Vec::new();
    soon("an answer", async {
        let mut buffer = [0; 4096];
        while !String::from_utf8_lossy(&text).contains(enough) {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(count) => text.extend_from_slice(&buffer[..count]),
            }
        }
    })
    .await;
    String::from_utf8_lossy(&text).into_owned()
}

/// Answers with what it got: method, path, version, headers.
fn mirror(request: Request<Incoming>) -> futures::future::BoxFuture<'static, Response<Body>> {
    let mut text = format!("{} {} {:?}\n", request.method(), request.uri(), request.version());
    for (name, value) in request.headers() {
        text.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
    }
    Box::pin(async move { Response::new(full(text)) })
}

async fn rig_with(instance: &Instance) -> Rig {
    let mut rig = Rig::start().await;
    rig.deploy(function("hello"));
    rig.autoscaler.endpoints(HELLO, &[instance.endpoint(100)]).await;
    rig
}

#[tokio::test]
async fn the_function_sees_the_host_and_who_asked() {
    let instance = Instance::tcp("one", mirror).await;
    let rig = rig_with(&instance).await;
    let mut request = get("Hello.test:8080", "/a/b?c=d");
    request.headers_mut().insert("connection", "x-private".parse().unwrap());
    request.headers_mut().insert("x-private", "1".parse().unwrap());
    let seen = Answer::read(rig.client().await.send(request).await.unwrap()).await.body;
    assert!(seen.starts_with("GET /a/b?c=d HTTP/1.1\n"), "{seen}");
    for line in [
        "host: Hello.test:8080\n",
        "x-forwarded-for: 127.0.0.1\n",
        "x-forwarded-proto: http\n",
        "x-forwarded-host: Hello.test:8080\n",
        "forwarded: for=127.0.0.1;proto=http;host=\"Hello.test:8080\"\n",
        "traceparent: 00-",
    ] {
        assert!(seen.contains(line), "{line} in {seen}");
    }
    assert!(!seen.contains("x-private") && !seen.contains("connection"), "{seen}");
}

#[tokio::test]
async fn an_absolute_uri_names_the_host() {
    let instance = Instance::tcp("one", mirror).await;
    let rig = rig_with(&instance).await;
    let request = b"GET http://hello.test/x HTTP/1.1\r\nHost: other.test\r\nConnection: close\r\n\r\n";
    let answer = raw(&rig, request, "\0").await;
    assert!(answer.contains("GET /x HTTP/1.1") && answer.contains("host: hello.test"), "{answer}");
    assert!(!answer.contains("other.test"), "{answer}");
}

#[tokio::test]
async fn http_1_0_is_served_and_closed() {
    let instance = Instance::tcp("one", says("hello")).await;
    let rig = rig_with(&instance).await;
    let answer = raw(&rig, b"GET / HTTP/1.0\r\nHost: hello.test\r\n\r\n", "\0").await;
    assert!(answer.starts_with("HTTP/1.0 200") && answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn requests_in_a_row_on_one_connection_are_all_answered() {
    let instance = Instance::tcp("one", says("hello")).await;
    let rig = rig_with(&instance).await;
    let three = "GET / HTTP/1.1\r\nHost: hello.test\r\n\r\n".repeat(3) + "GET / HTTP/1.0\r\nHost: hello.test\r\n\r\n";
    let answer = raw(&rig, three.as_bytes(), "\0").await;
    assert_eq!(answer.matches("hello").count(), 4, "{answer}");
}

#[tokio::test]
async fn a_head_request_has_the_length_and_no_body() {
    let instance = Instance::tcp("one", says("hello")).await;
    let rig = rig_with(&instance).await;
    let mut request = get("hello.test", "/");
    *request.method_mut() = http::Method::HEAD;
    let mut client = rig.client().await;
    let answer = Answer::read(client.send(request).await.unwrap()).await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, ""));
    assert_eq!(answer.headers["content-length"], "5");
    assert_eq!(client.get("hello.test", "/").await.body, "hello");
}

#[tokio::test]
async fn malformed_requests_are_answered_400_and_reach_nobody() {
    let instance = Instance::tcp("one", says("hello")).await;
    let rig = rig_with(&instance).await;
    for bad in [
        "NONSENSE\r\n\r\n",
        "GET / HTTP/1.1\r\nHost hello.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: hello.test\r\nContent-Length: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: hello.test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: hello.test\r\nHost: hello.test\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\nConnection: close\r\n\r\n",
    ] {
        let answer = raw(&rig, bad.as_bytes(), "\0").await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{bad:?}: {answer}");
    }
    assert_eq!(instance.requests(), 0);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_answered_431() {
    let rig = Rig::start().await;
    let head = format!("GET / HTTP/1.1\r\nHost: hello.test\r\nX-Large: {}\r\n\r\n", "x".repeat(100_000));
    assert!(raw(&rig, head.as_bytes(), "\r\n").await.starts_with("HTTP/1.1 431"));
    let many = (0..200).map(|number| format!("x-{number}: 1\r\n")).collect::<String>();
    let head = format!("GET / HTTP/1.1\r\nHost: hello.test\r\n{many}\r\n");
    assert!(raw(&rig, head.as_bytes(), "\r\n").await.starts_with("HTTP/1.1 431"));
}

#[tokio::test]
async fn an_unknown_host_is_answered_404_in_the_form_that_is_asked_for() {
    let rig = Rig::start().await;
    let mut client = rig.client().await;
    let answer = client.get("nobody.test", "/x").await;
    assert_eq!((answer.status.as_u16(), answer.error()), (404, "unknown-host"));
    assert!(answer.body.contains("nobody.test/x"), "{}", answer.body);
    let mut request = get("nobody.test", "/");
    request.headers_mut().insert("accept", "application/json".parse().unwrap());
    let answer = Answer::read(client.send(request).await.unwrap()).await;
    assert!(answer.body.starts_with("{\"error\":\"unknown-host\""), "{}", answer.body);
}

#[tokio::test]
async fn upgrades_and_connect_are_refused_with_a_reason() {
    let instance = Instance::tcp("one", says("hello")).await;
    let rig = rig_with(&instance).await;
    let mut request = get("hello.test", "/");
    request.headers_mut().insert("connection", "Upgrade".parse().unwrap());
    request.headers_mut().insert("upgrade", "websocket".parse().unwrap());
    let answer = Answer::read(rig.client().await.send(request).await.unwrap()).await;
    assert_eq!((answer.status.as_u16(), answer.error()), (501, "no-upgrade"));
    assert!(answer.body.contains("websocket"), "{}", answer.body);
    let connect = "CONNECT hello.test:443 HTTP/1.1\r\nHost: hello.test\r\n\r\n";
    assert!(raw(&rig, connect.as_bytes(), "\r\n").await.starts_with("HTTP/1.1 501"));
}

#[tokio::test]
async fn a_client_that_expects_100_continue_sends_its_body_only_when_there_is_a_slot() {
    let mut rig = Rig::start().await;
    rig.deploy(function("hello"));
    let echo = |request: Request<Incoming>| async move {
        assert!(!request.headers().contains_key("expect"));
        Response::new(full(request.into_body().collect().await.unwrap().to_bytes()))
    };
    let instance = Instance::tcp("one", echo).await;
    let mut stream = TcpStream::connect(rig.addr).await.unwrap();
    let head = "POST / HTTP/1.1\r\nHost: hello.test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    rig.until_demand(HELLO, 1, 0).await;
    let mut byte = [0];
    assert!(stream.try_read(&mut byte).is_err(), "nothing is asked for yet");
    rig.autoscaler.endpoints(HELLO, &[instance.endpoint(1)]).await;
    let mut interim = [0; 25];
    soon("100 Continue", stream.read_exact(&mut interim)).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"body").await.unwrap();
    let mut answer = vec![0; 4096];
    let count = soon("the answer", stream.read(&mut answer)).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..count]);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("body"), "{answer}");
}

#[tokio::test]
async fn http2_requests_share_a_connection_and_do_not_wait_for_one_another() {
    let gate = Gate::closed();
    let instance = Instance::tcp("one", gate.handler()).await;
    let rig = rig_with(&instance).await;
    let sender = http2_client(TcpStream::connect(rig.addr).await.unwrap()).await;
    let answers: Vec<_> = (0..50)
        .map(|number| {
            let mut sender = sender.clone();
            let request = Request::get(format!("http://hello.test/{number}")).body(full("")).unwrap();
            tokio::spawn(async move { Answer::read(sender.send_request(request).await.unwrap()).await })
        })
        .collect();
    until("all are there at once", || gate.seen.lock().unwrap().len() == 50).await;
    gate.open(50);
    for (number, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.await.unwrap().body, format!("/{number}"));
    }
}

#[tokio::test]
async fn http2_stays_http2_and_carries_trailers_both_ways() {
    let echo = |request: Request<Incoming>| async move {
        assert_eq!(request.version(), Version::HTTP_2);
        assert_eq!(request.headers()["te"], "trailers");
        assert_eq!(request.uri().authority().unwrap(), "hello.test");
        let body = request.into_body().collect().await.unwrap();
        let trailers = body.trailers().cloned().unwrap();
        let data = body.to_bytes();
        let frames = [Ok(Frame::data(data)), Ok(Frame::trailers(trailers))];
        Response::new(BodyExt::boxed(StreamBody::new(futures::stream::iter(frames))))
    };
    let instance = Instance::unix("one", echo).await;
    let rig = rig_with(&instance).await;
    let mut sender = http2_client(TcpStream::connect(rig.addr).await.unwrap()).await;
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
    let frames = [Ok(Frame::data(Bytes::from("data"))), Ok(Frame::trailers(trailers.clone()))];
    let body = BodyExt::boxed(StreamBody::new(futures::stream::iter(frames)));
    let request = Request::post("http://hello.test/").header("te", "trailers").body(body).unwrap();
    let response = soon("an answer", sender.send_request(request)).await.unwrap();
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers(), Some(&trailers));
    assert_eq!(body.to_bytes(), "data");
}

#[tokio::test]
async fn trailers_of_http_1_1_are_passed_on_to_those_who_ask() {
    let with_trailer = |_| async {
        let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), "42".parse().unwrap())]);
        let frames = [Ok(Frame::data(Bytes::from("data"))), Ok(Frame::trailers(trailers))];
        let body = BodyExt::boxed(StreamBody::new(futures::stream::iter(frames)));
        Response::builder().header("trailer", "x-sum").body(body).unwrap()
    };
    let instance = Instance::tcp("one", with_trailer).await;
    let rig = rig_with(&instance).await;
    let request = "GET / HTTP/1.1\r\nHost: hello.test\r\nTE: trailers\r\nConnection: TE\r\n\r\n";
    let answer = raw(&rig, request.as_bytes(), "x-sum: 42\r\n\r\n").await;
    assert!(answer.contains("transfer-encoding: chunked"), "{answer}");
    assert!(answer.to_lowercase().ends_with("0\r\nx-sum: 42\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_stream_that_is_reset_stops_the_instance() {
    let gate = Gate::closed();
    let instance = Instance::tcp("one", gate.handler()).await;
    let rig = rig_with(&instance).await;
    let mut sender = http2_client(TcpStream::connect(rig.addr).await.unwrap()).await;
    let request = Request::get("http://hello.test/").body(full("")).unwrap();
    let sending = tokio::spawn(async move { sender.send_request(request).await });
    until("it is there", || gate.seen.lock().unwrap().len() == 1).await;
    sending.abort();
    rig.until_demand(HELLO, 0, 0).await;
    until("it is cancelled", || instance.in_flight.load(std::sync::atomic::Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn tls_clients_choose_their_protocol() {
    let instance = Instance::tcp("one", mirror).await;
    let made = rcgen::generate_simple_self_signed(vec!["hello.test".into()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let mut rig = Rig::start_with(|config| config.tls = Some(Arc::new(server))).await;
    rig.deploy(function("hello"));
    rig.autoscaler.endpoints(HELLO, &[instance.endpoint(100)]).await;

    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    for (alpn, version) in [("h2", "HTTP/2.0"), ("http/1.1", "HTTP/1.1")] {
        let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.into()];
        let stream = TcpStream::connect(rig.addr).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = connector.connect("hello.test".try_into().unwrap(), stream).await.unwrap();
        let answer = if alpn == "h2" {
            let request = Request::get("https://hello.test/").body(full("")).unwrap();
            Answer::read(http2_client(stream).await.send_request(request).await.unwrap()).await
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            Answer::read(sender.send_request(get("hello.test", "/")).await.unwrap()).await
        };
        assert!(answer.body.contains(version), "{}", answer.body);
        assert!(answer.body.contains("x-forwarded-proto: https"), "{}", answer.body);
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_answered_413() {
    let reads = |request: Request<Incoming>| async {
        let read = request.into_body().collect().await;
        Response::new(full(if read.is_ok() { "all" } else { "part" }))
    };
    let instance = Instance::tcp("one", reads).await;
    let mut rig = Rig::start().await;
    rig.deploy(crate::rig::limited(function("hello"), |limits| limits.request_body_bytes = 10));
    rig.autoscaler.endpoints(HELLO, &[instance.endpoint(100)]).await;
    let fits = rig.client().await.send(post("hello.test", "/", full("0123456789"))).await.unwrap();
    assert_eq!(Answer::read(fits).await.body, "all");

    let told = rig.client().await.send(post("hello.test", "/", full("0123456789a"))).await.unwrap();
    assert_eq!((told.status().as_u16(), told.headers()["x-wisp-error"].to_str().unwrap()), (413, "body-too-large"));
    assert_eq!(instance.requests(), 1);

    let chunks = futures::stream::iter(["0123456", "789a"]).map(|chunk| Ok(Frame::data(Bytes::from(chunk))));
    let untold = post("hello.test", "/", BodyExt::boxed(StreamBody::new(chunks)));
    let untold = rig.client().await.send(untold).await.unwrap();
    assert_eq!(untold.status(), 413);
    rig.until_demand(HELLO, 0, 0).await;
}
