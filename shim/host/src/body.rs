//! Bodies: the request's, counted on its way to the guest; the answer's, which drives the guest that writes it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty};
use wasmtime_wasi_http::{Error, WasiBody};

use crate::exchange::Exchange;
use crate::meter::Meter;
use crate::respond::Failure;

/// Answers of at most this many frames that are complete at once are sent as one piece with a length.
const GATHERED_FRAMES_MAX: usize = 4;

/// A request's body that fails as soon as more than `left` bytes came.
pub struct LimitedBody<B> {
    inner: B,
    bytes_max: u64,
    left: u64,
    meter: Arc<Meter>,
}

impl<B> LimitedBody<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Error>,
{
    /// `inner` as a guest may see it; what is too long is also noted on `meter`.
    pub fn boxed(inner: B, bytes_max: u64, meter: Arc<Meter>) -> WasiBody {
        if inner.is_end_stream() {
            return Empty::new().map_err(|never| match never {}).boxed_unsync();
        }
        Self { inner, bytes_max, left: bytes_max, meter }.boxed_unsync()
    }
}

impl<B> Body for LimitedBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Error>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            None => return Poll::Ready(None),
        };
        let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Poll::Ready(Some(Ok(frame)))
            }
            None => {
                self.meter.set_body_too_large();
                Poll::Ready(Some(Err(Error::HttpRequestBodySize(Some(self.bytes_max)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The body of an answer.
pub enum HostBody {
    /// All of it, already here.
    Full(Option<Bytes>),
    /// Still being written by the guest.
    Streaming(Box<Streaming>),
}

/// An answer that its guest still writes. An error on it makes hyper reset the connection or stream, so that the client
/// cannot take a cut answer for a whole one.
pub struct Streaming {
    /// What is missing of the length that the answer's head promised.
    left: Option<u64>,
    /// `None` when the guest is done and the slot given back.
    exchange: Option<Exchange>,
    frames: std::collections::VecDeque<Frame<Bytes>>,
    rest: Option<WasiBody>,
}

/// What a guest has begun to answer.
pub struct Answer {
    /// Its body.
    pub body: WasiBody,
    /// The length that its head promises.
    pub length: Option<u64>,
}

impl HostBody {
    /// A body that is all here.
    #[must_use]
    pub fn full(bytes: Bytes) -> Self {
        Self::Full(Some(bytes))
    }

    /// The answer of `exchange`. Most guests have written all of a short answer when they return: it then goes out in
    /// one write, with its length, and the slot is free at once.
    ///
    /// # Errors
    /// When the answer breaks off before anything of it was sent: the client then gets a proper error.
    pub fn of(mut exchange: Exchange, answer: Answer, context: &mut Context<'_>) -> Result<Self, Failure> {
        let Answer { mut body, length } = answer;
        let (mut frames, mut driven) = (Vec::new(), false);
        while (exchange.is_finished() || exchange.is_shared()) && frames.len() <= GATHERED_FRAMES_MAX {
            match Pin::new(&mut body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    frames.push(frame);
                    driven = false;
                }
                Poll::Ready(Some(Err(error))) => return Err(exchange.fail(Failure::from_body(error))),
                Poll::Ready(None) => {
                    exchange.body_complete();
                    return Ok(Self::complete(frames));
                }
                // A shared guest may have its answer ready, and only be busy with others.
                Poll::Pending if exchange.is_shared() && !driven => {
                    driven = true;
                    if let Poll::Ready(Err(failure)) = exchange.poll_guest(context) {
                        return Err(failure);
                    }
                }
                Poll::Pending => break,
            }
        }
        let mut streaming =
            Streaming { left: length, exchange: Some(exchange), frames: frames.into(), rest: Some(body) };
        match streaming.poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => streaming.frames.push_front(frame),
            Poll::Ready(Some(Err(failure))) => return Err(failure),
            Poll::Ready(None) => return Ok(Self::Full(None)),
            Poll::Pending => {}
        }
        Ok(Self::Streaming(Box::new(streaming)))
    }

    fn complete(mut frames: Vec<Frame<Bytes>>) -> Self {
        match (frames.pop(), frames.pop()) {
            (None, _) => Self::Full(None),
            (Some(frame), None) if frame.is_data() => Self::Full(frame.into_data().ok()),
            (Some(last), before) => {
                frames.extend(before);
                frames.push(last);
                Self::Streaming(Box::new(Streaming { left: None, exchange: None, frames: frames.into(), rest: None }))
            }
        }
    }
}

impl Streaming {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        if let Some(frame) = self.frames.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        let (Some(exchange), Some(rest)) = (&mut self.exchange, &mut self.rest) else { return Poll::Ready(None) };
        if let Poll::Ready(Err(failure)) = exchange.poll_guest(context) {
            return Poll::Ready(Some(Err(failure)));
        }
        let mut polled = Pin::new(&mut *rest).poll_frame(context);
        if polled.is_pending() && exchange.is_finished() {
            // Whoever returned without finishing its body still holds the other end in its store.
            exchange.discard_instance();
            polled = Pin::new(rest).poll_frame(context);
        }
        // Polling may have pulled more of the request, where a guest joins it to its answer.
        if polled.is_pending() || exchange.meter().is_body_too_large() {
            return exchange.poll_limits(context).map(|failure| Some(Err(failure)));
        }
        match ready!(polled) {
            Some(frame) => Poll::Ready(Some(frame.map_err(|error| exchange.fail(Failure::from_body(error))))),
            None => {
                self.end();
                Poll::Ready(None)
            }
        }
    }

    fn passed(&mut self, frame: &Frame<Bytes>) {
        if let (Some(left), Some(data)) = (&mut self.left, frame.data_ref()) {
            *left = left.saturating_sub(data.len() as u64);
        }
    }

    /// The client has its answer.
    fn end(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            exchange.body_complete();
        }
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        // Whoever has as many bytes as were promised does not ask for more.
        if self.left == Some(0) {
            self.end();
        }
    }
}

impl Body for HostBody {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match &mut *self {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Streaming(streaming) => {
                let polled = streaming.poll_frame(context);
                if let Poll::Ready(Some(Ok(frame))) = &polled {
                    streaming.passed(frame);
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Self::Streaming(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Streaming(_) => SizeHint::default(),
        }
    }
}
