//! A small HTTP/1.1 client for the admin port and the data port: one connection for each request.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

/// Both ports are on this machine or near it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The admin port answers from memory; a delete waits for what is in flight.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// The overview of 100,000 functions has 60 MiB.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// The body of a request, which may come from a file or a pipe.
pub(crate) type RequestBody = BoxBody<Bytes, io::Error>;

/// Why there is no answer, or not the one that was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// Nobody listens on the admin address.
    #[error("no wisp up answers at {0}; start one with `wisp up`, or give --admin")]
    NoServer(SocketAddr),
    /// Nobody listens on the data address.
    #[error("cannot connect to {address}, where requests should arrive: {reason}")]
    Connect {
        /// Where to.
        address: SocketAddr,
        /// What the system says.
        reason: String,
    },
    /// The request was sent, and no whole answer came.
    #[error("the connection to {peer} ended early; did it stop?")]
    Broken {
        /// Whom to: an address, or a pod.
        peer: String,
        /// What HTTP says.
        #[source]
        source: hyper::Error,
    },
    /// The admin port takes too long.
    #[error("{0} has not answered for {ANSWER_TIMEOUT:?}; look at the log of its wisp up")]
    Silent(SocketAddr),
    /// The answer has a status other than success.
    #[error("{message}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// What the server says, or its status.
        message: String,
    },
    /// The answer makes no sense.
    #[error("what answers at {peer} is no Wisp of this version: {reason}")]
    NotWisp {
        /// Who answered.
        peer: String,
        /// What is wrong with the answer.
        reason: String,
    },
}

/// The admin port of a running `wisp up`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admin {
    pub(crate) address: SocketAddr,
}

/// A response whose body is still to come. Its connection ends with it.
pub(crate) struct Answer {
    pub(crate) response: Response<Incoming>,
    peer: String,
    _connection: AbortOnDropHandle<()>,
}

impl Admin {
    /// The whole answer to a GET.
    ///
    /// # Errors
    /// When there is no successful answer.
    pub(crate) async fn get(&self, path: &str) -> Result<Bytes, ClientError> {
        self.request(Method::GET, path).await?.whole().await
    }

    /// The whole answer to a DELETE.
    ///
    /// # Errors
    /// When there is no successful answer.
    pub(crate) async fn delete(&self, path: &str) -> Result<Bytes, ClientError> {
        self.request(Method::DELETE, path).await?.whole().await
    }

    /// A successful answer to a GET, to be read as it comes.
    ///
    /// # Errors
    /// When there is no successful answer.
    pub(crate) async fn stream(&self, path: &str) -> Result<Answer, ClientError> {
        self.request(Method::GET, path).await
    }

    /// What `bytes`, an answer of this server, say.
    ///
    /// # Errors
    /// When they are not what a `wisp up` of this version says.
    pub(crate) fn parse<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, ClientError> {
        let peer = self.address.to_string();
        serde_json::from_slice(bytes).map_err(|error| ClientError::NotWisp { peer, reason: error.to_string() })
    }

    async fn request(&self, method: Method, path: &str) -> Result<Answer, ClientError> {
        let address = self.address;
        let sent = tokio::time::timeout(ANSWER_TIMEOUT, send(address, bare(method, &address.to_string(), path))).await;
        let answer = sent.map_err(|_| ClientError::Silent(address))?.map_err(|error| match error {
            ClientError::Connect { .. } => ClientError::NoServer(address),
            other => other,
        })?;
        answer.success().await
    }
}

impl Answer {
    /// This answer, when its status is a success.
    ///
    /// # Errors
    /// What the server says when it is none.
    pub(crate) async fn success(self) -> Result<Self, ClientError> {
        let status = self.response.status();
        if status.is_success() {
            return Ok(self);
        }
        let peer = self.peer.clone();
        let text = self.whole().await.unwrap_or_default();
        let text = String::from_utf8_lossy(&text).trim().to_owned();
        let message = if text.is_empty() { format!("{peer} answered {status}") } else { text };
        Err(ClientError::Refused { status, message })
    }

    /// The whole body.
    ///
    /// # Errors
    /// When the connection ends before it, or it is too long.
    pub(crate) async fn whole(self) -> Result<Bytes, ClientError> {
        let peer = self.peer;
        let body = Limited::new(self.response.into_body(), ANSWER_BYTES_MAX).collect().await;
        body.map(http_body_util::Collected::to_bytes).map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(source) => ClientError::Broken { peer, source: *source },
            Err(error) => ClientError::NotWisp { peer, reason: error.to_string() },
        })
    }

    /// What to say when its body breaks off.
    pub(crate) fn broken(&self, source: hyper::Error) -> ClientError {
        ClientError::Broken { peer: self.peer.clone(), source }
    }
}

/// A request without a body. The path is made of encoded segments.
pub(crate) fn bare(method: Method, host: &str, path: &str) -> Request<RequestBody> {
    let body = Empty::new().map_err(|never| match never {}).boxed();
    let request = Request::builder().method(method).uri(path).header(header::HOST, host);
    request.body(body).expect("paths are made of encoded segments")
}

/// Sends `request` to `address`, whatever host its headers name.
///
/// # Errors
/// When nobody listens there, or the connection ends before the answer's head.
pub(crate) async fn send(address: SocketAddr, request: Request<RequestBody>) -> Result<Answer, ClientError> {
    let connecting = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
    let stream = match connecting {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(ClientError::Connect { address, reason: error.to_string() }),
        Err(_) => return Err(ClientError::Connect { address, reason: format!("no answer for {CONNECT_TIMEOUT:?}") }),
    };
    exchange(stream, address.to_string(), request).await
}

/// Sends `request` over `stream`, at whose other end `peer` is.
///
/// # Errors
/// When the connection ends before the answer's head.
pub(crate) async fn exchange<S>(stream: S, peer: String, request: Request<RequestBody>) -> Result<Answer, ClientError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let broken = |source| ClientError::Broken { peer: peer.clone(), source };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // Its error is the request's error too, and told there.
    let connection = AbortOnDropHandle::new(tokio::spawn(async move { drop(connection.await) }));
    let response = sender.send_request(request).await.map_err(broken)?;
    Ok(Answer { response, peer, _connection: connection })
}

/// `text` as one segment of a path.
pub(crate) fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric()
            || b"-_~".contains(&byte)
            || (byte == b'.' && !text.trim_matches('.').is_empty())
        {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn names_cannot_leave_their_segment() {
        assert_eq!(segment("hello-1.x"), "hello-1.x");
        assert_eq!(segment("../a b?ü"), "..%2Fa%20b%3F%C3%BC");
        assert_eq!(segment(".."), "%2E%2E");
    }

    #[tokio::test]
    async fn without_a_server_the_error_says_how_to_start_one() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = Admin { address }.get("/api/overview").await.unwrap_err().to_string();
        assert_eq!(error, format!("no wisp up answers at {address}; start one with `wisp up`, or give --admin"));
    }

    #[tokio::test]
    async fn a_server_that_hangs_up_is_told_apart_from_none() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move { drop(listener.accept().await.unwrap()) });
        let error = Admin { address }.get("/api/overview").await.unwrap_err();
        assert!(matches!(error, ClientError::Broken { .. }), "{error:?}");
        server.await.unwrap();
    }

    #[test]
    fn another_program_at_the_address_is_named() {
        let admin = Admin { address: "127.0.0.1:9".parse().unwrap() };
        let error = admin.parse::<crate::view::Overview>(b"<html>").unwrap_err().to_string();
        assert!(error.starts_with("what answers at 127.0.0.1:9 is no Wisp of this version"), "{error}");
    }
}
