//! HTTP/2 to an instance: one connection that all requests of a worker share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::Semaphore;

use crate::http1::Unanswered;
use crate::socket::Address;
use crate::upload::Upload;

/// What a stream may have in flight unread: enough to keep a fast network busy, and times the streams still bounded.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
/// The same for a connection.
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// An answer's head may be this large, as with HTTP/1.1.
const HEAD_BYTES_MAX: u32 = 256 * 1024;

/// The connection to one instance, made when it is first used, and anew when it is closed.
pub(crate) struct Shared {
    sender: Mutex<Option<SendRequest<Upload>>>,
    /// Held by the one that connects, so that many first requests make one connection.
    connecting: Semaphore,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The socket cannot be connected.
    #[error("cannot connect: {0}")]
    Socket(std::io::Error),
    /// The peer does not speak the protocol.
    #[error("cannot begin: {0}")]
    Handshake(hyper::Error),
}

impl Default for Shared {
    fn default() -> Self {
        Self { sender: Mutex::default(), connecting: Semaphore::new(1) }
    }
}

impl Shared {
    /// The connection that there is, or a new one.
    pub(crate) async fn get(&self, address: &Address) -> Result<SendRequest<Upload>, ConnectError> {
        if let Some(sender) = self.current() {
            return Ok(sender);
        }
        let _turn = self.connecting.acquire().await.expect("the semaphore is never closed");
        if let Some(sender) = self.current() {
            return Ok(sender);
        }
        let sender = connect(address).await?;
        *self.lock() = Some(sender.clone());
        Ok(sender)
    }

    fn current(&self) -> Option<SendRequest<Upload>> {
        self.lock().as_ref().filter(|sender| !sender.is_closed()).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Option<SendRequest<Upload>>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn connect(address: &Address) -> Result<SendRequest<Upload>, ConnectError> {
    let socket = address.connect().await.map_err(ConnectError::Socket)?;
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(socket))
        .await
        .map_err(ConnectError::Handshake)?;
    // Ends by itself: when the instance closes it, or when the last sender and stream are dropped.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an HTTP/2 connection to an instance ended");
        }
    });
    Ok(sender)
}

/// Sends a request and waits for the head of its answer.
pub(crate) async fn exchange(
    mut sender: SendRequest<Upload>,
    request: Request<Upload>,
) -> Result<Response<Incoming>, Unanswered> {
    sender.try_send_request(request).await
}

/// Whether the peer said that it did not look at this request.
pub(crate) fn is_unprocessed(error: &hyper::Error) -> bool {
    // Streams above the last one that a GOAWAY names were not processed either, and end with its reason.
    cause(error).is_some_and(|error| {
        error.reason() == Some(h2::Reason::REFUSED_STREAM)
            || (error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR))
    })
}

/// Whether the peer ended this request alone, and the connection lives.
pub(crate) fn is_reset(error: &hyper::Error) -> bool {
    cause(error).is_some_and(h2::Error::is_reset)
}

fn cause(error: &hyper::Error) -> Option<&h2::Error> {
    std::iter::successors(std::error::Error::source(error), |error| error.source())
        .find_map(|error| error.downcast_ref())
}
