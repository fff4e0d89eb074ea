//! The reconnecting side of a control stream.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};
use wisp_api::wire::{DemandDown, DemandUp, InstanceDown, InstanceUp};

use super::proto::control_client::ControlClient;
use super::{CHANNEL_MESSAGES, ControlEndpoint, Link, LinkEvent};
use crate::backoff::Backoff;

/// The first wait after a stream broke: a local autoscaler that restarts is back in tens of milliseconds.
const BACKOFF_FIRST: Duration = Duration::from_millis(20);
/// The longest wait: a standby takes over within seconds, and must then be told quickly.
const BACKOFF_CAP: Duration = Duration::from_secs(1);

/// An activator's stream to the autoscaler at `endpoint`, kept up until `shutdown`. Must be called within a tokio
/// runtime.
#[must_use]
pub fn demand_link(endpoint: ControlEndpoint, shutdown: CancellationToken) -> Link<DemandUp, DemandDown> {
    spawn::<DemandRpc>(endpoint, shutdown)
}

/// A host's stream to the autoscaler at `endpoint`, kept up until `shutdown`. Must be called within a tokio runtime.
#[must_use]
pub fn instance_link(endpoint: ControlEndpoint, shutdown: CancellationToken) -> Link<InstanceUp, InstanceDown> {
    spawn::<InstanceRpc>(endpoint, shutdown)
}

/// One of the two methods of the service.
trait Rpc: 'static {
    type Up: Send + 'static;
    type Down: Send + 'static;

    fn open(
        channel: Channel,
        messages: ReceiverStream<Self::Up>,
    ) -> impl Future<Output = Result<Response<Streaming<Self::Down>>, Status>> + Send;
}

struct DemandRpc;
struct InstanceRpc;

impl Rpc for DemandRpc {
    type Up = DemandUp;
    type Down = DemandDown;

    async fn open(
        channel: Channel,
        messages: ReceiverStream<DemandUp>,
    ) -> Result<Response<Streaming<DemandDown>>, Status> {
        ControlClient::new(channel).demand(messages).await
    }
}

impl Rpc for InstanceRpc {
    type Up = InstanceUp;
    type Down = InstanceDown;

    async fn open(
        channel: Channel,
        messages: ReceiverStream<InstanceUp>,
    ) -> Result<Response<Streaming<InstanceDown>>, Status> {
        ControlClient::new(channel).instance(messages).await
    }
}

fn spawn<R: Rpc>(endpoint: ControlEndpoint, shutdown: CancellationToken) -> Link<R::Up, R::Down> {
    let (up, up_receiver) = mpsc::channel(CHANNEL_MESSAGES);
    let (events_sender, events) = mpsc::channel(CHANNEL_MESSAGES);
    let mut stream = Reconnecting::<R> { endpoint, up: up_receiver, events: events_sender };
    // Ends with `shutdown`, or when the link is dropped.
    tokio::spawn(async move {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = stream.run() => {}
        }
    });
    Link { up, events }
}

struct Reconnecting<R: Rpc> {
    endpoint: ControlEndpoint,
    up: mpsc::Receiver<R::Up>,
    events: mpsc::Sender<LinkEvent<R::Down>>,
}

impl<R: Rpc> Reconnecting<R> {
    async fn run(&mut self) {
        let mut backoff = Backoff::new(BACKOFF_FIRST, BACKOFF_CAP);
        while !self.up.is_closed() {
            let connecting = connect::<R>(&self.endpoint);
            let reason = match unheard(&mut self.up, connecting).await {
                Ok((sender, stream)) => {
                    let began = Instant::now();
                    let reason = self.carry(sender, stream).await;
                    // A peer that is refused each time is not to come at each moment.
                    if began.elapsed() > BACKOFF_CAP {
                        backoff.reset();
                    }
                    reason
                }
                Err(reason) => reason,
            };
            tracing::debug!(endpoint = %self.endpoint, reason, "control stream is down");
            if self.events.send(LinkEvent::Disconnected { reason }).await.is_err() || self.up.is_closed() {
                return;
            }
            unheard(&mut self.up, tokio::time::sleep(backoff.wait())).await;
        }
    }

    /// Carries messages until the stream ends; says why it did.
    async fn carry(&mut self, sender: mpsc::Sender<R::Up>, mut stream: Streaming<R::Down>) -> String {
        while self.up.try_recv().is_ok() {} // What was said to nobody is out of date.
        if self.events.send(LinkEvent::Connected).await.is_err() {
            return String::new();
        }
        loop {
            tokio::select! {
                message = self.up.recv() => match message {
                    Some(message) => {
                        if sender.send(message).await.is_err() {
                            return "the autoscaler stopped reading".to_owned();
                        }
                    }
                    None => {
                        drop(sender);
                        return self.until_heard(stream).await;
                    }
                },
                message = stream.message() => match message {
                    Ok(Some(message)) => {
                        if self.events.send(LinkEvent::Message(message)).await.is_err() {
                            return String::new();
                        }
                    }
                    Ok(None) => return "the autoscaler closed the stream".to_owned(),
                    Err(status) => return status.message().to_owned(),
                },
            }
        }
    }

    /// The autoscaler ends its side when it has read ours to the end.
    async fn until_heard(&self, mut stream: Streaming<R::Down>) -> String {
        let heard = async { while let Ok(Some(_)) = stream.message().await {} };
        tokio::select! {
            () = heard => {}
            () = self.events.closed() => {}
        }
        "the link was closed".to_owned()
    }
}

type Opened<R> = (mpsc::Sender<<R as Rpc>::Up>, Streaming<<R as Rpc>::Down>);

async fn connect<R: Rpc>(endpoint: &ControlEndpoint) -> Result<Opened<R>, String> {
    let channel = endpoint.connect().await.map_err(|error| error.to_string())?;
    let (sender, messages) = mpsc::channel(CHANNEL_MESSAGES);
    let opened = R::open(channel, ReceiverStream::new(messages)).await;
    opened.map(|response| (sender, response.into_inner())).map_err(|status| status.message().to_owned())
}

/// Drops what is said meanwhile: nobody hears it, it would be out of date later, and who says it must not wait for that.
async fn unheard<Up, T>(up: &mut mpsc::Receiver<Up>, meanwhile: impl Future<Output = T>) -> T {
    let mut meanwhile = std::pin::pin!(meanwhile);
    loop {
        tokio::select! {
            done = &mut meanwhile => return done,
            Some(_) = up.recv() => {}
        }
    }
}
