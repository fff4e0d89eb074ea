//! The two ends of a control stream, as channels of messages.

use tokio::sync::mpsc;
use wisp_api::wire::{DemandDown, DemandUp};

use super::{CHANNEL_MESSAGES, Incoming};

/// The end that an activator or a host holds.
///
/// What is sent while the stream is down is dropped: after each [`LinkEvent::Connected`] the holder says hello and
/// tells its full state.
#[derive(Debug)]
pub struct Link<Up, Down> {
    /// Messages to the autoscaler.
    pub up: mpsc::Sender<Up>,
    /// What happens on the stream.
    pub events: mpsc::Receiver<LinkEvent<Down>>,
}

impl<Up, Down> Link<Up, Down> {
    /// Says nothing more, and waits until the autoscaler has heard all that was said. Where the stream is down that
    /// takes as long as one try to connect.
    pub async fn close(self) {
        let Self { up, mut events } = self;
        drop(up);
        while events.recv().await.is_some() {}
    }
}

/// What happens on a [`Link`].
#[derive(Debug, PartialEq)]
pub enum LinkEvent<Down> {
    /// The stream is up: say hello.
    Connected,
    /// The autoscaler said something.
    Message(Down),
    /// The stream is down; it will be tried again.
    Disconnected {
        /// Why, for the log.
        reason: String,
    },
}

/// The end that the autoscaler holds. Dropping it closes the stream.
///
/// A stream's first message is its hello; what comes before it is left over from an earlier stream and is ignored.
#[derive(Debug)]
pub struct Peer<Up, Down> {
    /// Messages from the other side. Ends when the stream does.
    pub up: mpsc::Receiver<Up>,
    /// Messages to the other side. A send fails when the stream has ended.
    pub down: mpsc::Sender<Down>,
}

/// A link and its peer inside one program. Must be called within a tokio runtime.
#[must_use]
pub fn pair<Up: Send + 'static, Down: Send + 'static>() -> (Link<Up, Down>, Peer<Up, Down>) {
    let (up_sender, up) = mpsc::channel(CHANNEL_MESSAGES);
    let (down, mut down_receiver) = mpsc::channel(CHANNEL_MESSAGES);
    let (events_sender, events) = mpsc::channel(CHANNEL_MESSAGES);
    // Ends by itself when either end is dropped.
    tokio::spawn(async move {
        let mut event = LinkEvent::Connected;
        while events_sender.send(event).await.is_ok() {
            event = tokio::select! {
                message = down_receiver.recv() => match message {
                    Some(message) => LinkEvent::Message(message),
                    None => break,
                },
                () = events_sender.closed() => return,
            };
        }
        let reason = "the autoscaler closed the stream".to_owned();
        // Nobody listens any more when this fails, which is as good.
        let _closed = events_sender.send(LinkEvent::Disconnected { reason }).await;
    });
    (Link { up: up_sender, events }, Peer { up, down })
}

/// An activator's link to an autoscaler in the same program, which reaches it by `incoming`. As over the wire, a
/// stream that the autoscaler closes is opened anew. Must be called within a tokio runtime.
#[must_use]
pub fn local_demand_link(incoming: mpsc::Sender<Incoming>) -> Link<DemandUp, DemandDown> {
    let (up, mut up_receiver) = mpsc::channel(CHANNEL_MESSAGES);
    let (events_sender, events) = mpsc::channel(CHANNEL_MESSAGES);
    // Ends when the link is dropped or the autoscaler ends.
    tokio::spawn(async move {
        while !events_sender.is_closed() && !up_receiver.is_closed() {
            let (mut inner, peer) = pair();
            if incoming.send(Incoming::Activator(peer)).await.is_err() {
                return;
            }
            while up_receiver.try_recv().is_ok() {} // What was said to nobody is out of date.
            carry(&mut inner, &mut up_receiver, &events_sender).await;
        }
    });
    Link { up, events }
}

/// Carries messages between the two until either ends.
async fn carry(
    inner: &mut Link<DemandUp, DemandDown>,
    up: &mut mpsc::Receiver<DemandUp>,
    events: &mpsc::Sender<LinkEvent<DemandDown>>,
) {
    loop {
        tokio::select! {
            message = up.recv() => {
                let Some(message) = message else { return };
                // A closed stream tells of itself below.
                let _closed = inner.up.send(message).await;
            }
            event = inner.events.recv() => {
                let Some(event) = event else { return };
                if events.send(event).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_local_link_comes_back_when_the_autoscaler_drops_it() {
        let (sender, mut incoming) = mpsc::channel(1);
        let mut link = local_demand_link(sender);
        for _ in 0..2 {
            let Some(Incoming::Activator(mut peer)) = incoming.recv().await else { panic!("no stream") };
            assert_eq!(link.events.recv().await, Some(LinkEvent::Connected));
            link.up.send(DemandUp::default()).await.unwrap();
            assert_eq!(peer.up.recv().await, Some(DemandUp::default()));
            drop(peer);
            assert!(matches!(link.events.recv().await, Some(LinkEvent::Disconnected { .. })));
        }
    }

    #[tokio::test]
    async fn a_pair_carries_messages_both_ways_and_tells_of_the_end() {
        let (mut link, mut peer) = pair::<u32, &str>();
        assert_eq!(link.events.recv().await, Some(LinkEvent::Connected));
        link.up.send(7).await.unwrap();
        assert_eq!(peer.up.recv().await, Some(7));
        peer.down.send("hello").await.unwrap();
        assert_eq!(link.events.recv().await, Some(LinkEvent::Message("hello")));
        drop(peer);
        assert!(matches!(link.events.recv().await, Some(LinkEvent::Disconnected { .. })));
    }
}
