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

impl Peers {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self { last: 0, said: SelectAll::new(), open: HashMap::new(), metrics }
    }

    /// Takes a new stream.
    pub(crate) fn open(&mut self, incoming: Incoming) -> StreamId {
        self.last += 1;
        let id = StreamId(self.last);
        let (said, reader, down) = match incoming {
            Incoming::Activator(Peer { up, down }) => {
                let (said, reader) = read(id, up, Event::Activator);
                (said, reader, Down::Activator(down))
            }
            Incoming::Instance(Peer { up, down }) => {
                let (said, reader) = read(id, up, Event::Instance);
                (said, reader, Down::Instance(down))
            }
        };
        self.said.push(said);
        self.metrics.stream_opened(down.kind());
        self.open.insert(id, Open { down, reader });
        id
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
    pub(crate) fn tell_activator(&mut self, id: StreamId, message: DemandDown) -> Option<Event> {
        let Down::Activator(down) = &self.open.get(&id)?.down else { return None };
        is_full(&down.try_send(message)).then(|| self.drop_unread(id, PeerKind::Activator))
    }

    /// The same for a host.
    pub(crate) fn tell_instance(&mut self, id: StreamId, message: InstanceDown) -> Option<Event> {
        let Down::Instance(down) = &self.open.get(&id)?.down else { return None };
        is_full(&down.try_send(message)).then(|| self.drop_unread(id, PeerKind::Instance))
    }

    fn drop_unread(&mut self, id: StreamId, kind: PeerKind) -> Event {
        tracing::warn!(peer = ?kind, "a peer does not read its stream; dropping it, it will reconnect");
        self.metrics.stream_dropped(kind);
        self.close(id);
        Event::Closed(id)
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

// What a peer says, as events, and its end as the last one.
fn read<Up: Send + 'static>(
    id: StreamId,
    up: mpsc::Receiver<Up>,
    event: fn(StreamId, Up) -> Event,
) -> (Said, AbortHandle) {
    let (messages, reader) = abortable(ReceiverStream::new(up));
    let end = stream::once(std::future::ready(Event::Closed(id)));
    (Box::pin(messages.map(move |message| event(id, message)).chain(end)), reader)
}

// A closed one ends by itself in a moment.
fn is_full<T>(sent: &Result<(), TrySendError<T>>) -> bool {
    matches!(sent, Err(TrySendError::Full(_)))
}
