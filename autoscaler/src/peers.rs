//! The streams that are open, as one stream of what is said. A peer that does not read is dropped: it reconnects and
//! is told everything, while waiting for it would hold up all others.

use std::collections::HashMap;
use std::pin::Pin;

use futures::stream::{AbortHandle, SelectAll, abortable};
use futures::{Stream, StreamExt, stream};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio_stream::wrappers::ReceiverStream;
use wisp_api::wire::{DemandDown, InstanceDown};
use wisp_chassis::control::{Incoming, Peer};

use crate::event::{Event, PeerKind, StreamId};
use crate::metrics::Metrics;

type Said = Pin<Box<dyn Stream<Item = Event> + Send>>;

/// All open streams.
pub(crate) struct Peers {
    last: u64,
    said: SelectAll<Said>,
    open: HashMap<StreamId, Open>,
    metrics: Metrics,
}

struct Open {
    down: Down,
    reader: AbortHandle,
}

enum Down {
    Activator(mpsc::Sender<DemandDown>),
    Instance(mpsc::Sender<InstanceDown>),
}

/// A message to one of the two.
pub(crate) enum Message {
    Activator(DemandDown),
    Instance(InstanceDown),
}

impl Peers {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self { last: 0, said: SelectAll::new(), open: HashMap::new(), metrics }
    }

    /// Takes a new stream.
    pub(crate) fn open(&mut self, incoming: Incoming) -> StreamId {
        self.last += 1;
        let id = StreamId(self.last);
        match incoming {
            Incoming::Activator(Peer { up, down }) => self.add(id, up, Event::Activator, Down::Activator(down)),
            Incoming::Instance(Peer { up, down }) => self.add(id, up, Event::Instance, Down::Instance(down)),
        }
        id
    }

    fn add<Up: Send + 'static>(
        &mut self,
        id: StreamId,
        up: mpsc::Receiver<Up>,
        event: fn(StreamId, Up) -> Event,
        down: Down,
    ) {
        let (messages, reader) = abortable(ReceiverStream::new(up));
        let end = stream::once(std::future::ready(Event::Closed(id)));
        self.said.push(Box::pin(messages.map(move |message| event(id, message)).chain(end)));
        self.metrics.stream_opened(down.kind());
        self.open.insert(id, Open { down, reader });
    }

    /// The next thing that somebody says; `None` while there is nobody.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            match self.said.next().await? {
                // It was closed from this side, and the fleet knows.
                Event::Closed(id) if !self.open.contains_key(&id) => {}
                Event::Activator(id, _) | Event::Instance(id, _) if !self.open.contains_key(&id) => {}
                Event::Closed(id) => {
                    self.close(id);
                    return Some(Event::Closed(id));
                }
                event => return Some(event),
            }
        }
    }

    /// Sends without waiting. A peer that does not read is dropped, and its end is given back.
    pub(crate) fn send(&mut self, id: StreamId, message: Message) -> Option<Event> {
        let open = self.open.get(&id)?;
        let full = match (&open.down, message) {
            (Down::Activator(down), Message::Activator(message)) => is_full(&down.try_send(message)),
            (Down::Instance(down), Message::Instance(message)) => is_full(&down.try_send(message)),
            _ => false,
        };
        if !full {
            return None;
        }
        let kind = open.down.kind();
        tracing::warn!(peer = ?kind, "a peer does not read its stream; dropping it, it will reconnect");
        self.metrics.stream_dropped(kind);
        self.close(id);
        Some(Event::Closed(id))
    }

    /// Ends a stream.
    pub(crate) fn close(&mut self, id: StreamId) {
        if let Some(Open { down, reader }) = self.open.remove(&id) {
            self.metrics.stream_closed(down.kind());
            reader.abort();
        }
    }
}

impl Down {
    fn kind(&self) -> PeerKind {
        match self {
            Self::Activator(_) => PeerKind::Activator,
            Self::Instance(_) => PeerKind::Instance,
        }
    }
}

// A closed one ends by itself in a moment.
fn is_full<T>(sent: &Result<(), TrySendError<T>>) -> bool {
    matches!(sent, Err(TrySendError::Full(_)))
}
