//! A client of one function.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Longer than any function's request timeout in these tests.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Asks one function by its host, at the address of the activators or of an ingress.
#[derive(Clone)]
pub struct Client {
    address: String,
    host: String,
    inner: legacy::Client<HttpConnector, Empty<Bytes>>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// As the activator or the function gave it.
    pub status: StatusCode,
    /// All of them.
    pub headers: HeaderMap,
    /// As text.
    pub body: String,
}

impl Client {
    /// Asks for `host` at `address`. Nothing is asked yet.
    #[must_use]
    pub fn new(address: &str, host: &str) -> Self {
        let inner = legacy::Client::builder(TokioExecutor::new()).build_http();
        Self { address: address.to_owned(), host: host.to_owned(), inner }
    }

    /// One request.
    ///
    /// # Errors
    /// When there is no answer, or only a part of one.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        let request = Request::get(format!("http://{}{path}", self.address)).header("host", &self.host);
        let exchange = async {
            let answer = self.inner.request(request.body(Empty::new())?).await?;
            let (parts, body) = answer.into_parts();
            let body = body.collect().await?.to_bytes();
            anyhow::Ok((parts, body))
        };
        let (parts, body) = tokio::time::timeout(TIMEOUT, exchange).await.context("no answer in time")??;
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }
}

/// Whether the activator at `address` knows the function of `host` and `path`. It refuses a body that is too long for
/// the function, and starts nothing for that.
pub(crate) async fn is_known(address: &str, host: &str, path: &str) -> Result<bool> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let head = format!("POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {}\r\n\r\n", u64::MAX >> 1);
        stream.write_all(head.as_bytes()).await?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await?;
        anyhow::Ok(line)
    };
    let line = tokio::time::timeout(TIMEOUT, exchange).await.context("no answer in time")??;
    match line.split(' ').nth(1) {
        Some("413") => Ok(true),
        Some("404") => Ok(false),
        _ => bail!("{address} answers {line:?}"),
    }
}

impl Answer {
    /// The milliseconds that `Server-Timing` gives for `metric`.
    #[must_use]
    pub fn timing(&self, metric: &str) -> Option<f64> {
        let entries = self.headers.get_all("server-timing").into_iter().filter_map(|value| value.to_str().ok());
        let mut entries = entries.flat_map(|value| value.split(','));
        entries.find_map(|entry| entry.trim().strip_prefix(metric)?.strip_prefix(";dur=")?.parse().ok())
    }
}
