//! HTTP/1.1 and HTTP/2, good and bad, with clients of other makers too.

use bytes::Bytes;
use futures::future::join_all;
use http::{HeaderMap, Request};
use hyper::body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::harness::{Multiplexed, PATIENCE, Wisp, function, get, host, soon, streamed};

#[tokio::test(flavor = "multi_thread")]
async fn http2_carries_many_requests_at_once_and_trailers_both_ways() {
    let wisp = Wisp::up(&[function("hello")]).await;
    let connection = Multiplexed::to(wisp.requests).await;
    let asked: Vec<_> = (0..100).map(|_| connection.send(get(&host("hello"), "/sleep?ms=50"))).collect();
    for answer in join_all(asked).await {
        assert_eq!(answer.unwrap().unwrap().body, "slept\n");
    }
    for path in ["/trailers", "/echo"] {
        let (pieces, body) = streamed();
        let request = Request::post(path).header("host", host("hello")).header("te", "trailers");
        let answer = connection.send(request.body(body).unwrap());
        pieces.send(Frame::data(Bytes::from_static(b"body"))).await.unwrap();
        let trailers = HeaderMap::from_iter([("x-checksum".parse().unwrap(), "42".parse().unwrap())]);
        pieces.send(Frame::trailers(trailers)).await.unwrap();
        drop(pieces);
        let answer = answer.await.unwrap().unwrap();
        let expected = if path == "/echo" { ("x-checksum", "42") } else { ("x-received", "1") };
        assert_eq!(answer.trailers[expected.0], expected.1, "{path}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_speaks_both_protocols() {
    let wisp = Wisp::up(&[function("hello")]).await;
    let (name, port) = (host("hello"), wisp.requests.port());
    for (flag, version) in [("--http1.1", "1.1"), ("--http2-prior-knowledge", "2")] {
        let mut curl = Command::new("curl");
        curl.args([flag, "--silent", "--show-error", "--noproxy", "*", "--data", "from curl"]);
        curl.args(["--resolve", &format!("{name}:{port}:127.0.0.1"), "--write-out", " %{http_version} %{http_code}"]);
        curl.arg("--max-time").arg(PATIENCE.as_secs().to_string()).arg(format!("http://{name}:{port}/echo"));
        let output = match curl.output().await {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return eprintln!("left out: there is no curl");
            }
            output => output.unwrap(),
        };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let without_http2 = flag.starts_with("--http2") && output.status.code() == Some(2);
        assert!(without_http2 || text == format!("from curl {version} 200"), "{flag}: {output:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_are_refused_and_hurt_nobody() {
    let wisp = Wisp::up(&[function("hello")]).await;
    let name = host("hello");
    for (request, statuses) in [
        ("nonsense\r\n\r\n".to_owned(), ["400", "400"]),
        ("GET /hello HTTP/1.1\r\n\r\n".to_owned(), ["400", "400"]),
        (format!("GET /hello HTTP/9.9\r\nhost: {name}\r\n\r\n"), ["400", "505"]),
        (format!("GET /hello HTTP/1.1\r\nhost: {name}\r\nhost: other\r\n\r\n"), ["400", "400"]),
        (format!("GET /hello HTTP/1.1\r\nhost: {name}\r\nbad name: x\r\n\r\n"), ["400", "400"]),
        (format!("GET /hello HTTP/1.1\r\nhost: {name} x\r\n\r\n"), ["400", "400"]),
        (format!("GET /hel lo HTTP/1.1\r\nhost: {name}\r\n\r\n"), ["400", "400"]),
        (format!("POST /sink HTTP/1.1\r\nhost: {name}\r\ncontent-length: many\r\n\r\n"), ["400", "400"]),
        (
            format!("POST /sink HTTP/1.1\r\nhost: {name}\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n"),
            ["400", "400"],
        ),
        (format!("POST /sink HTTP/1.1\r\nhost: {name}\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"), ["400", "400"]),
        (format!("GET /hello HTTP/1.1\r\nhost: {name}\r\nx: {}\r\n\r\n", "x".repeat(100_000)), ["431", "400"]),
        (format!("CONNECT {name}:80 HTTP/1.1\r\nhost: {name}\r\n\r\n"), ["501", "400"]),
    ] {
        let answer = raw(&wisp, request.as_bytes()).await;
        let status = answer.split(' ').nth(1).unwrap_or_default();
        let shown = &request[..request.len().min(120)];
        assert!(statuses.contains(&status), "{shown:?}: {:?}", &answer[..answer.len().min(200)]);
        wisp.answers("hello").await;
    }
    // No HTTP at all, and HTTP/2 that breaks off: the connection is closed, with or without a word.
    let tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".as_slice();
    let http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff".as_slice();
    for bytes in [tls, http2] {
        assert!(!raw(&wisp, bytes).await.contains(" 200 "));
        wisp.answers("hello").await;
    }
    let hello = wisp.function("hello").await;
    assert_eq!((&hello["failedTotal"], &hello["inFlight"]), (&0.into(), &0.into()), "{hello}");
}

/// Sends bytes and nothing after them; returns what comes back, up to the end of a head or of the connection.
async fn raw(wisp: &Wisp, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(wisp.requests).await.unwrap();
    // Refused before the end, perhaps.
    let _reset = stream.write_all(bytes).await;
    let (mut answer, mut buffer) = (String::new(), [0; 4096]);
    while !answer.contains("\r\n\r\n") {
        match soon("an answer", stream.read(&mut buffer)).await {
            Ok(0) | Err(_) => break,
            Ok(read) => answer.push_str(&String::from_utf8_lossy(&buffer[..read])),
        }
    }
    answer
}
