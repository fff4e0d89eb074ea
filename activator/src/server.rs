//! Accepts clients, and lets them finish when the activator is told to stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::connection::{self, Shared};

/// Connections that the kernel holds until they are accepted: a burst of clients that all come at once.
const BACKLOG: u32 = 4096;
/// After an accept that failed for want of files or memory: some are freed by then.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Binds the data port.
pub(crate) fn bind(listen: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if listen.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(listen)?;
    socket.listen(BACKLOG)
}

/// Accepts clients until `shutdown`, then drains.
pub(crate) async fn run(shared: Arc<Shared>, listener: TcpListener, shutdown: CancellationToken) {
    let places = Arc::new(Semaphore::new(shared.limits.connections));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, client)) => welcome(&shared, &places, stream, client),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a client; is the limit of open files too low?");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    drain(&shared).await;
}

fn welcome(shared: &Arc<Shared>, places: &Arc<Semaphore>, stream: TcpStream, client: SocketAddr) {
    let Ok(place) = Arc::clone(places).try_acquire_owned() else {
        shared.proxy.metrics.connections_refused.inc();
        return;
    };
    if let Err(error) = set_up(&stream, shared.limits.stall_timeout) {
        tracing::debug!(%error, %client, "the client was gone before it was welcome");
        return;
    }
    shared.proxy.metrics.connections.inc();
    let served = Arc::clone(shared);
    shared.tasks.spawn(async move {
        if let Err(error) = connection::serve(Arc::clone(&served), stream, client.ip()).await {
            tracing::debug!(%error, %client, "a client's connection ended early");
        }
        served.proxy.metrics.connections.dec();
        drop(place);
    });
}

fn set_up(stream: &TcpStream, stall_timeout: Duration) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    // The kernel ends a connection whose peer is gone or does not read. Nothing above it would notice.
    SockRef::from(stream).set_tcp_user_timeout(Some(stall_timeout))
}

/// Lets everything in flight finish, but not for ever.
async fn drain(shared: &Shared) {
    let in_flight = shared.tasks.len();
    tracing::info!(connections = in_flight, "draining");
    shared.drain.cancel();
    shared.tasks.close();
    if timeout(shared.limits.drain_timeout, shared.tasks.wait()).await.is_err() {
        tracing::warn!(connections = shared.tasks.len(), "cut off: still in flight at the end of the drain timeout");
    }
    shared.abort.cancel();
    shared.tasks.wait().await;
}
