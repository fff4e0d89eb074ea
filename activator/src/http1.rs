//! HTTP/1.1 to an instance: connections that carry one request at a time.
//!
//! A connection is driven by the request that has it, in the request's own task, and by nobody while it is idle. So a
//! request costs no task switch, and one that is dropped closes its connection, which tells the instance to stop.
//!
//! Inside, hyper hands requests and answers from one half of a connection to the other by channels, each of which wakes
//! the task that waits at its other end. Here that is the task which is running, and which looks by itself: it would be
//! polled once more for nothing, after each request and each answer. So only the socket is given the task's waker.

use std::pin::{Pin, pin};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use crate::revision::Permit;
use crate::socket::{Probe, Socket};
use crate::upload::Upload;

/// An answer's head may be this large. Hosts limit their guests to less.
const HEAD_BYTES_MAX: usize = 256 * 1024;
/// Connections that an idle revision keeps to an instance for each worker, so that its next requests need not connect.
const KEPT_AT_REST: usize = 2;

/// An idle connection is not used again after this time: a host closes one that brings no request for twice as long, and
/// a request would be lost that is sent at that moment.
const IDLE_MAX: Duration = Duration::from_secs(5);

/// A connection, and the means to use it.
pub(crate) struct Http1 {
    sender: SendRequest<Upload>,
    /// Dropped as soon as it has ended: a request that it did not take comes back only by that.
    connection: Option<Connection<TokioIo<Socket>, Upload>>,
    probe: Probe,
    idle_since: Instant,
}

/// A worker's idle connections to one instance. As many as were in use at once, so never more than it has slots.
#[derive(Default)]
pub(crate) struct Pool {
    idle: Mutex<Idle>,
}

#[allow(clippy::vec_box, reason = "a connection is large, and goes from hand to hand as it is")]
type Idle = Vec<Box<Http1>>;

/// A request that got no answer.
pub(crate) type Unanswered = hyper::client::conn::TrySendError<Request<Upload>>;

impl Http1 {
    pub(crate) async fn new(socket: Socket) -> hyper::Result<Box<Self>> {
        let probe = socket.probe();
        let builder = {
            let mut builder = http1::Builder::new();
            builder.max_buf_size(HEAD_BYTES_MAX);
            builder
        };
        let (sender, connection) = builder.handshake(TokioIo::new(socket)).await?;
        Ok(Box::new(Self { sender, connection: Some(connection), probe, idle_since: Instant::now() }))
    }

    /// Sends a request and waits for the head of its answer. While that waits, the body is sent.
    pub(crate) async fn exchange(
        &mut self,
        request: Request<Upload>,
        permit: &Permit,
    ) -> Result<Response<Incoming>, Unanswered> {
        let mut response = pin!(self.sender.try_send_request(request));
        let answered = std::future::poll_fn(|cx| {
            self.drive(cx);
            permit.sent();
            // Nothing but the connection, which was driven just now, makes it ready.
            response.as_mut().poll(&mut unwoken())
        })
        .await;
        self.settle();
        answered
    }

    /// Reads and writes what can be, and lets the task be woken when there is more. Must come last before a task waits.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) {
        // An error also reaches the answer, or the body of it, which is where it is dealt with.
        if let Some(connection) = &mut self.connection
            && Pin::new(connection).poll(cx).is_ready()
        {
            self.connection = None;
        }
    }

    /// Reads and writes what can be, when the task does not wait for more: all that would wake it forgets it.
    pub(crate) fn settle(&mut self) {
        self.drive(&mut unwoken());
    }

    /// Whether it can take a request, after the last one is complete.
    pub(crate) fn is_ready(&self) -> bool {
        self.connection.is_some() && self.sender.is_ready()
    }

    /// Whether it is still good after it was idle.
    fn is_alive(&mut self) -> bool {
        if self.idle_since.elapsed() > IDLE_MAX {
            return false;
        }
        self.probe.request();
        self.settle();
        self.is_ready()
    }
}

impl Pool {
    /// A good idle connection.
    pub(crate) fn take(&self) -> Option<Box<Http1>> {
        loop {
            let mut connection = self.lock().pop()?;
            if connection.is_alive() {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection for the next request, if it can take one.
    pub(crate) fn put(&self, mut connection: Box<Http1>) {
        if connection.is_ready() {
            connection.idle_since = Instant::now();
            self.lock().push(connection);
        }
    }

    /// Closes all but a few.
    pub(crate) fn rest(&self) {
        let mut idle = self.lock();
        let surplus = idle.len().saturating_sub(KEPT_AT_REST);
        idle.drain(..surplus);
        idle.shrink_to_fit();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For a look that is not repeated by itself.
pub(crate) fn unwoken() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::net::UnixListener;
    use tokio::sync::mpsc;

    use super::*;
    use crate::admission::Offer;
    use crate::endpoint::Endpoint;
    use crate::revision::Revision;

    #[tokio::test]
    async fn a_request_on_a_connection_that_has_just_been_closed_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("http.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let endpoint = Arc::new(Endpoint::new(&format!("unix:{}", path.display()), Duration::ZERO, 1).unwrap());
        let revision = Revision::new("n/f-00001", mpsc::unbounded_channel().0);
        revision.offer(vec![Offer { instance: "one".into(), slots: 1, endpoint: Arc::clone(&endpoint) }]);
        let permit = revision.try_admit().unwrap();

        let mut connection = Http1::new(endpoint.address.connect().await.unwrap()).await.unwrap();
        let (peer, _) = listener.accept().await.unwrap();
        assert!(connection.is_alive());
        drop(peer);
        // The close is found before the request is taken.
        connection.probe.request();
        let error = connection.exchange(Request::new(Upload::Empty), &permit).await.unwrap_err();
        assert!(error.message().is_some(), "{error:?}");
        assert!(!connection.is_ready());
    }
}
