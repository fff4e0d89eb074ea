//! Clients: HTTP/1.1 and HTTP/2 over connections of their own.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use super::soon;

pub(crate) type Body = BoxBody<Bytes, Infallible>;

/// An answer with all of its body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    pub(crate) trailers: HeaderMap,
}

impl Answer {
    pub(crate) async fn read(response: Response<Incoming>) -> Result<Self, String> {
        let (head, body) = response.into_parts();
        let body = soon("the end of the answer", body.collect()).await.map_err(|error| format!("{error:?}"))?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        Ok(Self { status: head.status.as_u16(), headers: head.headers, body, trailers })
    }

    /// All values of a header, in one.
    pub(crate) fn header(&self, name: &str) -> String {
        let values = self.headers.get_all(name).into_iter().map(|value| value.to_str().unwrap());
        values.collect::<Vec<_>>().join(", ")
    }

    /// The word for what went wrong.
    pub(crate) fn error(&self) -> String {
        self.header("x-wisp-error")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// An HTTP/1.1 connection. Dropping it closes it, whatever is in flight.
pub(crate) struct Connection {
    sender: http1::SendRequest<Body>,
    task: AbortHandle,
}

impl Connection {
    pub(crate) async fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        Self { sender, task: tokio::spawn(async move { drop(connection.await) }).abort_handle() }
    }

    pub(crate) async fn send(mut self, request: Request<Body>) -> Result<Answer, String> {
        Answer::read(self.begin(request).await?).await
    }

    /// The answer's head; its body is still on its way.
    pub(crate) async fn begin(&mut self, request: Request<Body>) -> Result<Response<Incoming>, String> {
        soon("an answer", self.sender.send_request(request)).await.map_err(|error| format!("{error:?}"))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An HTTP/2 connection without TLS. Dropping it closes it, whatever is in flight.
pub(crate) struct Multiplexed {
    sender: http2::SendRequest<Body>,
    task: AbortHandle,
}

impl Multiplexed {
    pub(crate) async fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        Self { sender, task: tokio::spawn(async move { drop(connection.await) }).abort_handle() }
    }

    /// Sends in the background, beside all others on this connection.
    pub(crate) fn send(&self, request: Request<Body>) -> JoinHandle<Result<Answer, String>> {
        let mut sender = self.sender.clone();
        tokio::spawn(async move {
            soon("a stream", sender.ready()).await.map_err(|error| format!("{error:?}"))?;
            let response = sender.send_request(absolute(request)).await.map_err(|error| format!("{error:?}"))?;
            Answer::read(response).await
        })
    }
}

impl Drop for Multiplexed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A request whose body is open, so that it stays in flight.
pub(crate) struct Held {
    pieces: mpsc::Sender<Frame<Bytes>>,
    answer: JoinHandle<Result<Answer, String>>,
}

impl Held {
    pub(super) async fn begin(address: SocketAddr, function: &str) -> Self {
        let (pieces, body) = streamed();
        let connection = Connection::to(address).await;
        let answer = tokio::spawn(connection.send(post(&host(function), "/sink", body)));
        pieces.send(Frame::data(Bytes::from_static(b"held"))).await.unwrap();
        Self { pieces, answer }
    }

    /// Ends the body and reads the answer.
    pub(crate) async fn finish(self) -> Result<Answer, String> {
        drop(self.pieces);
        self.answer.await.unwrap()
    }

    /// Closes the connection.
    pub(crate) fn disconnect(self) {
        self.answer.abort();
    }
}

/// The host of a function in the default namespace.
pub(crate) fn host(function: &str) -> String {
    format!("{function}.default.localhost")
}

pub(crate) fn get(host: &str, path: &str) -> Request<Body> {
    Request::get(path).header("host", host).body(Empty::new().boxed()).unwrap()
}

pub(crate) fn post(host: &str, path: &str, body: Body) -> Request<Body> {
    Request::post(path).header("host", host).body(body).unwrap()
}

/// A body of these bytes.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed()
}

/// A body that is sent piece by piece, and ends when its sender is dropped.
pub(crate) fn streamed() -> (mpsc::Sender<Frame<Bytes>>, Body) {
    // One piece waits at most: who sends more waits until the connection has taken it.
    let (pieces, receiver) = mpsc::channel(1);
    (pieces, BodyExt::boxed(StreamBody::new(ReceiverStream::new(receiver).map(Ok))))
}

/// HTTP/2 names the host in the URI.
fn absolute(mut request: Request<Body>) -> Request<Body> {
    let host = request.headers_mut().remove("host").expect("a request names its host");
    let uri = format!("http://{}{}", host.to_str().unwrap(), request.uri());
    *request.uri_mut() = uri.parse().unwrap();
    request
}
