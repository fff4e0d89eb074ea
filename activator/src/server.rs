//! Accepts clients, and lets them finish when the activator is told to stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::client::Place;
use crate::config::ConnectionLimits;
use crate::metrics::Metrics;
use crate::workers::Workers;

/// Connections that the kernel holds until they are accepted: a burst of clients that all come at once.
const BACKLOG: u32 = 4096;
/// After an accept that failed for want of files or memory: some are freed by then.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Accepts clients for the workers.
///
/// One for all: a port for each, shared by SO_REUSEPORT, would give a client to a busy worker while another is idle, and
/// would let a second program take the same port unnoticed.
#[derive(Debug)]
pub(crate) struct Server {
    pub listener: TcpListener,
    pub workers: Workers,
    pub limits: ConnectionLimits,
    pub metrics: Arc<Metrics>,
    /// Told to all connections when it stops.
    pub drain: CancellationToken,
}

/// Binds the data port.
pub(crate) fn bind(listen: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if listen.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(listen)?;
    socket.listen(BACKLOG)
}

impl Server {
    /// Accepts clients until `shutdown`, then drains.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let places = Arc::new(Semaphore::new(self.limits.connections));
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = shutdown.cancelled() => break,
            };
            match accepted {
                Ok((stream, client)) => self.welcome(&places, stream, client),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a client; is the limit of open files too low?");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        self.drain().await;
    }

    fn welcome(&self, places: &Arc<Semaphore>, stream: TcpStream, client: SocketAddr) {
        let Ok(permit) = Arc::clone(places).try_acquire_owned() else {
            self.metrics.connections_refused.inc();
            return;
        };
        let place = Place::new(permit, Arc::clone(&self.metrics));
        let set_up = set_up(&stream, self.limits.stall_timeout);
        if let Err(error) = set_up.and_then(|()| self.workers.welcome(stream, client.ip(), place)) {
            tracing::debug!(%error, %client, "the client was gone before it was welcome");
        }
    }

    /// Lets everything in flight finish, but not for ever.
    async fn drain(self) {
        let Self { listener, mut workers, limits, drain, .. } = self;
        drop(listener);
        tracing::info!(connections = workers.in_flight(), "draining");
        drain.cancel();
        if timeout(limits.drain_timeout, workers.finish()).await.is_err() {
            tracing::warn!(
                connections = workers.in_flight(),
                "cut off: still in flight at the end of the drain timeout"
            );
        }
    }
}

fn set_up(stream: &TcpStream, stall_timeout: Duration) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    // The kernel ends a connection whose peer is gone or does not read. Nothing above it would notice.
    SockRef::from(stream).set_tcp_user_timeout(Some(stall_timeout))
}
