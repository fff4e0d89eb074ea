//! The body of an answer on its way to the client, and what it holds until it is through: the slot and the connection.
//!
//! A client that stops reading also stops the body from being asked for anything. So its deadline is watched from
//! outside, by [`Deadlines`], and when it has passed, slot and connection are taken away from it.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::task::AtomicWaker;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::http1::{Http1, unwoken};
use crate::revision::Permit;
use crate::workers::WorkerId;

/// Why an answer ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    /// The instance broke it off.
    #[error("the instance ended in the middle of its answer")]
    Instance(#[source] hyper::Error),
    /// The request's time is over.
    #[error("the function's timeout passed in the middle of its answer")]
    Timeout,
}

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum AnswerBody {
    /// All of it is here.
    Fixed(Option<Bytes>),
    /// It comes from an instance.
    Stream(Handle),
}

/// Answers that are on their way, for the sake of their deadlines.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    streams: Mutex<HashMap<u64, Arc<Stream>>>,
    next_id: AtomicU64,
}

/// What an answer holds.
pub(crate) struct Exchange {
    /// What is still to come of it.
    pub incoming: Incoming,
    /// The connection, when it is this answer's alone.
    pub http1: Option<Box<Http1>>,
    /// The slot.
    pub permit: Permit,
    /// Who has the connection.
    pub worker: WorkerId,
}

/// A body that the client reads. Dropping it gives everything back.
#[derive(Debug)]
pub(crate) struct Handle {
    id: u64,
    stream: Arc<Stream>,
    deadlines: Arc<Deadlines>,
}

#[derive(Debug)]
struct Stream {
    deadline: Instant,
    state: Mutex<State>,
    reader: AtomicWaker,
}

#[derive(Debug)]
enum State {
    /// What was read ahead, and the rest.
    Open(Option<Frame<Bytes>>, Box<Exchange>),
    /// The client has all of it.
    Done,
    /// Its time is over, and the client has not been told yet.
    Expired,
}

impl AnswerBody {
    pub(crate) fn fixed(bytes: Bytes) -> Self {
        Self::Fixed(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }
}

impl Deadlines {
    /// Makes an instance's answer one for the client. A short one is read at once, and gives its slot back here.
    pub(crate) async fn answer(
        self: &Arc<Self>,
        response: Response<()>,
        mut exchange: Box<Exchange>,
        deadline: Instant,
    ) -> Result<Response<AnswerBody>, AnswerError> {
        let ahead = std::future::poll_fn(|cx| Poll::Ready(exchange.read_ahead(cx))).await;
        let body = match ahead {
            Ahead::All(bytes) => {
                exchange.finish();
                AnswerBody::fixed(bytes)
            }
            Ahead::Some(frame) => AnswerBody::Stream(self.watch(frame, exchange, deadline)),
            Ahead::Broken(error) => return Err(AnswerError::Instance(error)),
        };
        Ok(response.map(|()| body))
    }

    /// Takes slot and connection from all answers whose time is over.
    pub(crate) fn expire(&self, now: Instant) {
        let late =
            self.lock().extract_if(|_, stream| stream.deadline <= now).map(|(_, stream)| stream).collect::<Vec<_>>();
        for stream in late {
            let was = std::mem::replace(&mut *stream.lock(), State::Expired);
            // Slots are handed on without the lock.
            drop(was);
            stream.reader.wake();
        }
    }

    fn watch(self: &Arc<Self>, ahead: Option<Frame<Bytes>>, exchange: Box<Exchange>, deadline: Instant) -> Handle {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let state = Mutex::new(State::Open(ahead, exchange));
        let stream = Arc::new(Stream { deadline, state, reader: AtomicWaker::new() });
        self.lock().insert(id, Arc::clone(&stream));
        Handle { id, stream, deadlines: Arc::clone(self) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Stream>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much of an answer was there already.
enum Ahead {
    All(Bytes),
    Some(Option<Frame<Bytes>>),
    Broken(hyper::Error),
}

impl Exchange {
    /// Reads what has arrived with the head. Most answers are complete with that.
    fn read_ahead(&mut self, cx: &mut Context<'_>) -> Ahead {
        if self.incoming.is_end_stream() {
            return Ahead::All(Bytes::new());
        }
        let frame = match self.poll_frame(cx) {
            Poll::Pending => return Ahead::Some(None),
            Poll::Ready(None) => return Ahead::All(Bytes::new()),
            Poll::Ready(Some(Err(error))) => return Ahead::Broken(error),
            Poll::Ready(Some(Ok(frame))) => frame,
        };
        match frame.into_data() {
            Ok(data) if self.incoming.is_end_stream() => Ahead::All(data),
            Ok(data) => Ahead::Some(Some(Frame::data(data))),
            Err(trailers) => Ahead::Some(Some(trailers)),
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let mut incoming = Pin::new(&mut self.incoming);
        let Some(http1) = &mut self.http1 else { return incoming.poll_frame(cx) };
        // Asks the connection for it, if it is not there yet.
        if let ready @ Poll::Ready(_) = incoming.as_mut().poll_frame(&mut unwoken()) {
            return ready;
        }
        http1.drive(cx);
        incoming.poll_frame(&mut unwoken())
    }

    /// After the last byte: gives back the connection, and then the slot, so that the next one finds the connection.
    fn finish(self) {
        if let Some(mut http1) = self.http1 {
            http1.settle();
            self.permit.endpoint().lane(self.worker).http1.put(http1);
        }
        drop(self.permit);
    }
}

impl Stream {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        self.reader.register(cx.waker());
        let mut state = self.lock();
        let exchange = match &mut *state {
            State::Open(ahead, exchange) => match ahead.take() {
                Some(frame) => return Poll::Ready(Some(Ok(frame))),
                None => exchange,
            },
            State::Done => return Poll::Ready(None),
            State::Expired => {
                *state = State::Done;
                return Poll::Ready(Some(Err(AnswerError::Timeout)));
            }
        };
        let frame = ready!(exchange.poll_frame(cx));
        let is_last = !matches!(frame, Some(Ok(_))) || exchange.incoming.is_end_stream();
        if is_last {
            let State::Open(_, exchange) = std::mem::replace(&mut *state, State::Done) else { unreachable!() };
            drop(state);
            exchange.finish();
        }
        Poll::Ready(frame.map(|frame| frame.map_err(AnswerError::Instance)))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        match &mut *self {
            Self::Fixed(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(handle) => handle.stream.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Fixed(bytes) => bytes.is_none(),
            Self::Stream(handle) => matches!(*handle.stream.lock(), State::Done),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Fixed(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Stream(handle) => match &*handle.stream.lock() {
                State::Open(None, exchange) => exchange.incoming.size_hint(),
                State::Open(Some(_), _) | State::Done | State::Expired => SizeHint::default(),
            },
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.deadlines.lock().remove(&self.id);
        let was = std::mem::replace(&mut *self.stream.lock(), State::Done);
        drop(was);
    }
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange").field("permit", &self.permit).finish_non_exhaustive()
    }
}
