//! The autoscaler's side of the control streams: a gRPC server that hands each stream over as a [`Peer`].

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use futures::Stream;
use futures::StreamExt;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};
use wisp_api::wire::{DemandDown, DemandUp, InstanceDown, InstanceUp};

use super::proto::control_server::{Control, ControlServer};
use super::{CHANNEL_MESSAGES, Peer};

/// A silent TCP stream is probed this often, so that a lost node is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// A stream that somebody opened.
#[derive(Debug)]
pub enum Incoming {
    /// An activator's.
    Activator(Peer<DemandUp, DemandDown>),
    /// A host's.
    Instance(Peer<InstanceUp, InstanceDown>),
}

/// What the server needs for TLS.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// The server's certificate chain, PEM.
    pub certificate_pem: String,
    /// Its key, PEM.
    pub key_pem: String,
    /// Clients must show a certificate of this CA, where it is given.
    pub client_ca_pem: Option<String>,
}

/// Serves control streams on a Unix socket at `path`, which only the owner may use, until `shutdown`. A file that an
/// earlier process left there is replaced.
///
/// # Errors
/// When the socket cannot be made, or accepting fails for good.
pub async fn serve_unix(path: &Path, incoming: mpsc::Sender<Incoming>, shutdown: CancellationToken) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    let connections = UnixListenerStream::new(listener);
    let server = Server::builder().add_service(ControlServer::new(Service { incoming, shutdown: shutdown.clone() }));
    server.serve_with_incoming_shutdown(connections, shutdown.cancelled()).await.map_err(io::Error::other)
}

/// Serves control streams with TLS on `listener` until `shutdown`.
///
/// # Errors
/// When the certificate or key cannot be used, or accepting fails for good.
pub async fn serve_tcp(
    listener: TcpListener,
    tls: ServerTls,
    incoming: mpsc::Sender<Incoming>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let mut config = ServerTlsConfig::new().identity(Identity::from_pem(tls.certificate_pem, tls.key_pem));
    if let Some(ca) = tls.client_ca_pem {
        config = config.client_ca_root(Certificate::from_pem(ca));
    }
    let server = Server::builder()
        .tls_config(config)
        .map_err(io::Error::other)?
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .add_service(ControlServer::new(Service { incoming, shutdown: shutdown.clone() }));
    server.serve_with_incoming_shutdown(undelayed(listener), shutdown.cancelled()).await.map_err(io::Error::other)
}

/// Connections on which a message leaves at once. An order to a host is shorter than a packet: it would wait until the host has
/// acknowledged the one before, which its system may put off for 40 ms.
fn undelayed(listener: TcpListener) -> TcpIncoming {
    TcpIncoming::from(listener).with_nodelay(Some(true))
}

struct Service {
    incoming: mpsc::Sender<Incoming>,
    shutdown: CancellationToken,
}

type Messages<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

impl Service {
    async fn accept<Up, Down>(
        &self,
        stream: Streaming<Up>,
        wrap: fn(Peer<Up, Down>) -> Incoming,
    ) -> Result<Response<Messages<Down>>, Status>
    where
        Up: Send + 'static,
        Down: Send + 'static,
    {
        let (up_sender, up) = mpsc::channel(CHANNEL_MESSAGES);
        let (down, down_receiver) = mpsc::channel(CHANNEL_MESSAGES);
        tokio::spawn(carry(stream, up_sender));
        let gone = |_| Status::unavailable("the autoscaler is shutting down; try again");
        self.incoming.send(wrap(Peer { up, down })).await.map_err(gone)?;
        // Without this an open stream would keep the server from ending.
        let messages = ReceiverStream::new(down_receiver).map(Ok);
        Ok(Response::new(Box::pin(messages.take_until(self.shutdown.clone().cancelled_owned()))))
    }
}

/// Hands messages on until the stream or its reader ends.
async fn carry<Up>(mut stream: Streaming<Up>, sender: mpsc::Sender<Up>) {
    loop {
        let message = tokio::select! {
            message = stream.message() => message,
            () = sender.closed() => return,
        };
        match message {
            Ok(Some(message)) => {
                if sender.send(message).await.is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(status) => {
                tracing::debug!(reason = status.message(), "a control stream broke");
                return;
            }
        }
    }
}

#[tonic::async_trait]
impl Control for Service {
    type DemandStream = Messages<DemandDown>;
    type InstanceStream = Messages<InstanceDown>;

    async fn demand(&self, request: Request<Streaming<DemandUp>>) -> Result<Response<Self::DemandStream>, Status> {
        self.accept(request.into_inner(), Incoming::Activator).await
    }

    async fn instance(
        &self,
        request: Request<Streaming<InstanceUp>>,
    ) -> Result<Response<Self::InstanceStream>, Status> {
        self.accept(request.into_inner(), Incoming::Instance).await
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn messages_leave_without_waiting_for_acknowledgements() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let accepted = undelayed(listener).next().await.unwrap().unwrap();
        assert!(accepted.nodelay().unwrap());
    }
}
