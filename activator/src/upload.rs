//! A request's body on its way to an instance: counted against its limit, and taken back when nothing of it was sent.
//!
//! While the request waits, a little of it is read ahead. Not to have it: a connection whose body nobody reads does not
//! notice that its client has gone.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// Why a body could not be sent on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    /// It is longer than the function accepts.
    #[error("the request body is too large")]
    TooLarge,
    /// The client stopped sending.
    #[error("the client's body ended early")]
    Client(#[source] hyper::Error),
}

/// A body, shared by the one that sends it and the one that decides what became of it.
#[derive(Clone, Debug)]
pub(crate) enum Upload {
    /// There is none.
    Empty,
    /// There is one.
    Body(Arc<Mutex<Source>>),
}

/// The client's body, and how far it was read.
#[derive(Debug)]
pub(crate) struct Source {
    incoming: Incoming,
    left_bytes: u64,
    progress: Progress,
    ahead: VecDeque<Result<Frame<Bytes>, UploadError>>,
    ahead_bytes: usize,
    reading: ReadAhead,
}

/// Whether a body may be read before it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadAhead {
    /// It may.
    Allowed,
    /// The client waits to be asked for it.
    Forbidden,
}

/// So much of a body is read ahead. Most are shorter.
pub(crate) const AHEAD_BYTES_MAX: usize = 64 * 1024;

/// How far a body got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nobody asked for any of it.
    Untouched,
    /// Some of it may have been sent.
    Started,
    /// It is longer than its limit.
    TooLarge,
    /// The client stopped sending.
    Broken,
}

impl Upload {
    /// The body of a request that may have at most `limit_bytes`.
    pub(crate) fn new(incoming: Incoming, limit_bytes: u64, reading: ReadAhead) -> Self {
        if incoming.is_end_stream() {
            return Self::Empty;
        }
        let source = Source {
            incoming,
            left_bytes: limit_bytes,
            progress: Progress::Untouched,
            ahead: VecDeque::new(),
            ahead_bytes: 0,
            reading,
        };
        Self::Body(Arc::new(Mutex::new(source)))
    }

    /// Reads a little, as far as it has come.
    pub(crate) fn read_ahead(&self, cx: &mut Context<'_>) {
        if let Self::Body(source) = self {
            lock(source).read_ahead(cx);
        }
    }

    /// How far it got.
    pub(crate) fn progress(&self) -> Progress {
        match self {
            Self::Empty => Progress::Untouched,
            Self::Body(source) => lock(source).progress,
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        match &*self {
            Self::Empty => Poll::Ready(None),
            Self::Body(source) => lock(source).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Body(source) => lock(source).is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Body(source) => lock(source).size_hint(),
        }
    }
}

impl Source {
    fn read_ahead(&mut self, cx: &mut Context<'_>) {
        while self.reading == ReadAhead::Allowed && self.ahead_bytes < AHEAD_BYTES_MAX {
            let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else { return };
            let Some(frame) = frame.map(|frame| self.count(frame)) else { return };
            self.ahead_bytes += frame.as_ref().map_or(0, data_bytes);
            if frame.is_err() {
                self.reading = ReadAhead::Forbidden;
            }
            self.ahead.push_back(frame);
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        if self.progress == Progress::Untouched {
            self.progress = Progress::Started;
        }
        if let Some(frame) = self.ahead.pop_front() {
            return Poll::Ready(Some(frame));
        }
        let frame = std::task::ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        Poll::Ready(frame.map(|frame| self.count(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.is_empty() && self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let ahead = self.ahead.iter().flatten().map(data_bytes).sum::<usize>() as u64;
        match self.incoming.size_hint().exact() {
            Some(rest) => SizeHint::with_exact(ahead + rest),
            None => SizeHint::default(),
        }
    }

    fn count(&mut self, frame: Result<Frame<Bytes>, hyper::Error>) -> Result<Frame<Bytes>, UploadError> {
        let frame = frame.map_err(|error| {
            self.progress = Progress::Broken;
            UploadError::Client(error)
        })?;
        match self.left_bytes.checked_sub(data_bytes(&frame) as u64) {
            Some(left) => self.left_bytes = left,
            None => {
                self.progress = Progress::TooLarge;
                return Err(UploadError::TooLarge);
            }
        }
        Ok(frame)
    }
}

fn data_bytes(frame: &Frame<Bytes>) -> usize {
    frame.data_ref().map_or(0, Bytes::len)
}

fn lock(source: &Mutex<Source>) -> MutexGuard<'_, Source> {
    source.lock().unwrap_or_else(PoisonError::into_inner)
}
