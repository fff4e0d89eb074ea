//! A client's connection, below HTTP: what was read to find out the protocol, and whether anything happens on it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::answer::{AnswerBody, AnswerError};
use crate::metrics::Metrics;

/// What HTTP/2 with prior knowledge begins with (RFC 9113, section 3.4); no HTTP/1.1 method does.
const HTTP2_BEGINNING: [u8; 4] = *b"PRI ";

/// The protocol that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// One of the connections that there may be at once.
#[derive(Debug)]
pub(crate) struct Place {
    metrics: Arc<Metrics>,
    _permit: OwnedSemaphorePermit,
}

/// What happens on a connection.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    active: AtomicUsize,
    begun: AtomicU64,
    /// Bytes have come since the last request began or ended: the head of another one.
    head_begun: AtomicBool,
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct Active(Arc<Activity>);

/// A client's connection, with the bytes that were read before HTTP took over.
#[derive(Debug)]
pub(crate) struct ClientIo<T> {
    io: T,
    beginning: Bytes,
    activity: Arc<Activity>,
}

/// An answer's body, which keeps its connection active.
#[derive(Debug)]
pub(crate) struct ClientBody {
    answer: AnswerBody,
    _active: Active,
}

/// Judges a connection by looking at it now and then.
#[derive(Debug)]
pub(crate) struct Watch {
    begun: u64,
    idle_since: Instant,
    head_since: Option<Instant>,
}

/// What a connection deserves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// To go on.
    Keep,
    /// To be closed in the proper way: it was idle for long.
    Close,
    /// To be cut: it takes too long for a request's head.
    Cut,
}

impl Place {
    pub(crate) fn new(permit: OwnedSemaphorePermit, metrics: Arc<Metrics>) -> Self {
        metrics.connections.inc();
        Self { metrics, _permit: permit }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.metrics.connections.dec();
    }
}

impl<T: AsyncRead + Unpin> ClientIo<T> {
    /// Reads as much as tells the protocol.
    pub(crate) async fn detect(mut io: T, activity: Arc<Activity>) -> io::Result<(Protocol, Self)> {
        let mut beginning = [0; HTTP2_BEGINNING.len()];
        let mut length = 0;
        while length < beginning.len() && beginning[..length] == HTTP2_BEGINNING[..length] {
            match io.read(&mut beginning[length..]).await? {
                0 => break,
                count => length += count,
            }
        }
        let protocol = if beginning == HTTP2_BEGINNING { Protocol::Http2 } else { Protocol::Http1 };
        let beginning = Bytes::copy_from_slice(&beginning[..length]);
        Ok((protocol, Self { io, beginning, activity }))
    }

    /// A connection whose protocol is known.
    pub(crate) fn new(io: T, activity: Arc<Activity>) -> Self {
        Self { io, beginning: Bytes::new(), activity }
    }
}

impl Activity {
    /// A request begins.
    pub(crate) fn begin(self: &Arc<Self>) -> Active {
        self.head_begun.store(false, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.active.fetch_add(1, Ordering::Relaxed);
        Active(Arc::clone(self))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.head_begun.store(false, Ordering::Relaxed);
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Watch {
    pub(crate) fn new(now: Instant) -> Self {
        Self { begun: 0, idle_since: now, head_since: Some(now) }
    }

    /// Looks at the connection. With HTTP/2, bytes without a request are no head: pings come at any time.
    pub(crate) fn look(&mut self, activity: &Activity, protocol: Protocol, now: Instant) -> Seen {
        let begun = activity.begun.load(Ordering::Relaxed);
        if activity.active.load(Ordering::Relaxed) > 0 || begun != self.begun {
            self.begun = begun;
            self.idle_since = now;
            self.head_since = None;
        } else if protocol == Protocol::Http1 && activity.head_begun.load(Ordering::Relaxed) {
            self.head_since.get_or_insert(now);
        }
        Seen { idle: now - self.idle_since, head: self.head_since.map(|since| now - since) }
    }
}

/// For how long a connection has had no request, and the head of the next one has been coming.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    idle: Duration,
    head: Option<Duration>,
}

impl Seen {
    pub(crate) fn judge(self, head_timeout: Duration, idle_timeout: Duration) -> Verdict {
        if self.head.is_some_and(|head| head >= head_timeout) || self.idle >= idle_timeout + head_timeout {
            return Verdict::Cut;
        }
        if self.idle >= idle_timeout { Verdict::Close } else { Verdict::Keep }
    }
}

impl ClientBody {
    /// The connection is active until the body has been dropped.
    pub(crate) fn new(answer: AnswerBody, active: Active) -> Self {
        Self { answer, _active: active }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for ClientIo<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if !self.beginning.is_empty() {
            let count = self.beginning.len().min(buf.remaining());
            buf.put_slice(&self.beginning.split_to(count));
            return Poll::Ready(Ok(()));
        }
        let result = Pin::new(&mut self.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.activity.head_begun.store(true, Ordering::Relaxed);
        }
        result
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for ClientIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        Pin::new(&mut self.answer).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.answer.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.answer.size_hint()
    }
}
