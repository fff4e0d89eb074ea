//! One request on a connection of its own, with everything that a plain client leaves out: TLS, HTTP/2, trailers, upgrades.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Collected, Empty, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::certificate::Certificate;

/// Longer than any function's request timeout in these tests.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What is sent.
pub(crate) type Body = BoxBody<Bytes, Infallible>;
/// What comes back, to its end.
pub(crate) type Answer = Response<Collected<Bytes>>;

pub(crate) fn no_body() -> Body {
    Empty::new().boxed()
}

pub(crate) fn message(bytes: &'static [u8]) -> Body {
    Full::new(Bytes::from_static(bytes)).boxed()
}

/// By HTTP/1.1, without TLS.
pub(crate) async fn plain(address: &str, request: Request<Body>) -> Result<Answer> {
    let exchange = async {
        let stream = TcpStream::connect((address, 80)).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let answer = collect(sender.send_request(request).await?).await;
        connection.abort();
        answer
    };
    tokio::time::timeout(TIMEOUT, exchange).await.context("no answer in time")?
}

/// By HTTP/2 and TLS, to a server that shows `certificate`.
pub(crate) async fn secure(address: &str, certificate: &Certificate, request: Request<Body>) -> Result<Answer> {
    let exchange = async {
        let stream = TcpStream::connect((address, 443)).await?;
        let host = request.uri().host().context("the request's address names its host")?.to_owned();
        let stream = TlsConnector::from(certificate.client()).connect(ServerName::try_from(host)?, stream).await?;
        ensure!(stream.get_ref().1.alpn_protocol() == Some(b"h2"), "the server does not agree to HTTP/2");
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let answer = collect(sender.send_request(request).await?).await;
        connection.abort();
        answer
    };
    tokio::time::timeout(TIMEOUT, exchange).await.context("no answer in time")?
}

async fn collect(answer: Response<hyper::body::Incoming>) -> Result<Answer> {
    let (parts, body) = answer.into_parts();
    Ok(Response::from_parts(parts, body.collect().await?))
}
