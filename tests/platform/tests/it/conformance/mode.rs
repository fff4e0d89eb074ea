//! Asks one of the two modes.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, FuturesUnordered};
use http::response::Parts;
use http::{Method, Request};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::cases::{Case, Expect, cases, state};

/// Longer than any request timeout of a case.
const ANSWER: Duration = Duration::from_secs(90);
/// Those of one HTTP/2 connection.
const STREAMS: usize = 200;
/// With all their streams, more than two activators' lines take together.
const CONNECTIONS: usize = 12;
/// By then an idle wasm instance is dropped.
const DROPPED: Duration = Duration::from_secs(3);
const REUSE_TRIES: usize = 5;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Where requests go, in either mode.
pub(crate) struct Mode {
    name: &'static str,
    address: String,
    domain: &'static str,
    client: legacy::Client<HttpConnector, Body>,
}

impl Mode {
    pub(crate) fn new(name: &'static str, address: String, domain: &'static str) -> Self {
        Self { name, address, domain, client: legacy::Client::builder(TokioExecutor::new()).build_http() }
    }

    /// All that differs from what is expected.
    pub(crate) async fn differences(&self) -> Vec<String> {
        let mut differences = Vec::new();
        for case in cases() {
            if let Err(error) = self.check(&case).await {
                differences.push(format!("{}: {} at {}: {error:#}", self.name, case.request, case.host));
            }
        }
        let checks = [
            ("bodies stream both ways", self.check_stream().await),
            ("trailers arrive", self.check_trailers().await),
            ("a full line refuses", self.check_full().await),
            ("a wasm instance is reused", self.check_reuse().await),
        ];
        for (what, result) in checks {
            if let Err(error) = result {
                differences.push(format!("{}: {what}: {error:#}", self.name));
            }
        }
        differences
    }

    /// Asks, and says how the answer differs.
    pub(crate) async fn check(&self, case: &Case) -> Result<()> {
        let mut request = self.request(case.host, case.request)?;
        for (name, value) in case.headers {
            request = request.header(*name, *value);
        }
        let exchange = async {
            let answer = self.client.request(request.body(whole(case.body))?).await?;
            let (head, body) = answer.into_parts();
            anyhow::Ok((head, body.collect().await?.to_bytes()))
        };
        let (head, body) = tokio::time::timeout(ANSWER, exchange).await.context("no answer in time")??;
        compare(&case.expect, &head, &body)
    }

    fn request(&self, host: &str, request: &str) -> Result<http::request::Builder> {
        let (method, path) = request.split_once(' ').context("a request is a method and a path")?;
        let builder = Request::builder().method(method.parse::<Method>()?);
        Ok(builder.uri(format!("http://{}{path}", self.address)).header("host", self.host(host)))
    }

    /// The same for HTTP/2, where the host is a part of the URI.
    fn request2(&self, host: &str, path: &str) -> http::request::Builder {
        Request::post(format!("http://{}{path}", self.host(host)))
    }

    fn host(&self, host: &str) -> String {
        if host.contains('.') { host.to_owned() } else { format!("{host}.default.{}", self.domain) }
    }

    async fn http2(&self) -> Result<http2::SendRequest<Body>> {
        let stream = TokioIo::new(TcpStream::connect(&self.address).await?);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
        // It ends with its last sender.
        tokio::spawn(connection);
        Ok(sender)
    }

    /// A part is sent when the one before has come back: nobody on the way may wait for more.
    async fn check_stream(&self) -> Result<()> {
        let (parts, sent) = mpsc::channel::<Bytes>(1);
        let body = stream::unfold(sent, |mut sent: mpsc::Receiver<Bytes>| async move {
            let part = sent.recv().await?;
            Some((Ok(Frame::data(part)), sent))
        });
        let request = self.request("plain", "POST /echo")?.body(UnsyncBoxBody::new(StreamBody::new(body)))?;
        let exchange = async {
            parts.send(Bytes::from_static(b"part 0;")).await?;
            let mut answer = self.client.request(request).await?;
            let mut echoed = Vec::new();
            for number in 1..4 {
                while !echoed.ends_with(b";") {
                    let frame = answer.body_mut().frame().await.context("the answer ends early")??;
                    echoed.extend_from_slice(frame.data_ref().context("these are no trailers")?);
                }
                echoed.clear();
                parts.send(Bytes::from(format!("part {number};"))).await?;
            }
            drop(parts);
            let rest = answer.into_body().collect().await?.to_bytes();
            ensure!(rest == "part 3;", "it ends with {rest:?}");
            Ok(())
        };
        tokio::time::timeout(ANSWER, exchange).await.context("the echo does not come back in time")?
    }

    async fn check_trailers(&self) -> Result<()> {
        let request = self.request2("plain", "/trailers").header("te", "trailers").body(whole("x"))?;
        let exchange = async {
            let answer = self.http2().await?.send_request(request).await?;
            anyhow::Ok(answer.into_body().collect().await?)
        };
        let body = tokio::time::timeout(ANSWER, exchange).await.context("no answer in time")??;
        let status = body.trailers().and_then(|trailers| trailers.get("x-status"));
        ensure!(status.is_some_and(|status| status == "ok"), "{body:?}");
        Ok(())
    }

    /// By one request after another. Not by late ones: a wasm instance that was idle for a second is dropped.
    async fn check_reuse(&self) -> Result<()> {
        for _ in 1..REUSE_TRIES {
            if self.check_three().await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(DROPPED).await;
        }
        self.check_three().await
    }

    async fn check_three(&self) -> Result<()> {
        for requests in 1..=3 {
            self.check(&state("pooled", requests)).await?;
        }
        Ok(())
    }

    /// One request has the only slot, as many as may wait do, and the next is refused at once.
    async fn check_full(&self) -> Result<()> {
        let (mut answers, mut connections) = (FuturesUnordered::new(), Vec::new());
        for _ in 0..CONNECTIONS {
            let mut connection = self.http2().await?;
            for _ in 0..STREAMS {
                answers.push(connection.send_request(self.request2("full", "/sleep?ms=600000").body(whole(""))?));
            }
            connections.push(connection);
        }
        let first = tokio::time::timeout(ANSWER, answers.next()).await.context("nothing is refused")?;
        let (head, body) = first.context("requests were sent")??.into_parts();
        compare(&Expect::Refused(503, "queue-full"), &head, &body.collect().await?.to_bytes())?;
        ensure!(head.headers.contains_key("retry-after"), "it does not say when to try again: {head:?}");
        // The others are dropped, which frees their places.
        Ok(())
    }
}

fn compare(expect: &Expect, head: &Parts, body: &Bytes) -> Result<()> {
    let (status, text) = (head.status.as_u16(), String::from_utf8_lossy(body));
    let error = head.headers.get("x-wisp-error").map_or("", |value| value.to_str().unwrap_or("?"));
    let shown = || format!("{status}, x-wisp-error {error:?}, {} bytes: {:.300}", body.len(), text);
    match expect {
        Expect::Text(wanted, words) => ensure!((status, &*text, error) == (*wanted, *words, ""), shown()),
        Expect::Lines(count) => ensure!(status == 200 && text.lines().count() == *count, shown()),
        Expect::Bytes(count) => ensure!(status == 200 && body.len() == *count, shown()),
        Expect::Refused(wanted, word) => ensure!((status, error) == (*wanted, *word), shown()),
        Expect::Json(pointer, value) => {
            let json: Value = serde_json::from_slice(body).with_context(shown)?;
            ensure!(status == 200 && json.pointer(pointer).unwrap_or(&Value::Null) == value, shown());
        }
    }
    Ok(())
}

fn whole(body: &'static str) -> Body {
    UnsyncBoxBody::new(Full::from(body))
}
