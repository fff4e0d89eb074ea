//! The socket: accepts connections, bounds them, and ends them gently.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::handler::Host;

/// Only activators connect, with few connections each; a plain client of `wisp host serve` may open more.
const CONNECTIONS_MAX: usize = 4096;
/// A client that does not finish its head in this time holds a connection for nothing. So does one that sends no request:
/// activators do not use a connection that was idle for half of it.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Head of a request, all fields together; more is answered with 431 or a reset.
const HEADER_BYTES_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 128;
/// Streams of one HTTP/2 connection: at least the slots of an instance, so that the slots decide.
const STREAMS_MAX: u32 = 2048;
/// Enough that one stream fills a local link; the connection's window lets eight streams do so.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 2 << 20;
/// After a failed accept (no descriptors left), so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// How long a server that is to end takes requests as before: some that were sent while it was in use may be in the
/// sockets yet. It settles sooner when all clients have closed their connections, which comes after what they sent.
const SETTLE_MAX: Duration = Duration::from_millis(500);
/// Not sooner than nobody came for this long. Whoever was not told has to connect anew after each answer, and is refused by
/// the system once nobody listens, which loses nothing.
const SETTLE_QUIET: Duration = Duration::from_millis(50);
/// For requests on the connections that were accepted last.
const READ_LAST: Duration = Duration::from_millis(20);

/// Where a host listens: `unix:/path` or `tcp:127.0.0.1:0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A socket file, for this user alone.
    Unix(PathBuf),
    /// A TCP port; 0 lets the system choose.
    Tcp(SocketAddr),
}

/// An address that is not one.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not an address to listen on; say unix:/path or tcp:127.0.0.1:8080")]
pub struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = || AddressError(text.to_owned());
        match text.split_once(':') {
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(("tcp", address)) => address.parse().map(Self::Tcp).map_err(|_| error()),
            _ => Err(error()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

/// A bound socket.
pub struct Listener {
    address: Address,
    socket: Socket,
}

enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    /// Binds `address`. A socket file that is there already is taken over.
    ///
    /// # Errors
    /// When the address is taken or not ours.
    pub async fn bind(address: &Address) -> io::Result<Self> {
        match address {
            Address::Unix(path) => {
                match std::fs::remove_file(path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
                let socket = UnixListener::bind(path)?;
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
                Ok(Self { address: address.clone(), socket: Socket::Unix(socket) })
            }
            Address::Tcp(wanted) => {
                let socket = TcpListener::bind(wanted).await?;
                let address = Address::Tcp(socket.local_addr()?);
                Ok(Self { address, socket: Socket::Tcp(socket) })
            }
        }
    }

    /// Where it really listens.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Address::Unix(path) = &self.address {
            // Nobody can connect any more; whoever finds the file gone is told so at once.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// How a server ends.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Nobody is to send requests any more: serve what has been sent, then close.
    pub drain: CancellationToken,
    /// Set by the server: what had been sent was taken.
    pub settled: CancellationToken,
    /// Cut what is still there.
    pub cut: CancellationToken,
}

/// Serves until `stop.drain`, and returns when the last connection is closed or `stop.cut` has closed it.
// serving => settling => closing
pub async fn serve(listener: Listener, host: Arc<Host>, stop: Stop) {
    let server = Server {
        builder: Arc::new(builder()),
        host,
        cut: stop.cut,
        graceful: GracefulShutdown::new(),
        permits: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        connections: TaskTracker::new(),
        accepted: AtomicU64::new(0),
    };
    server.accept_until(&listener, stop.drain.cancelled()).await;
    server.accept_until(&listener, server.settle()).await;
    // Those who are connected as far as the system is concerned.
    server.accept_until(&listener, std::future::ready(())).await;
    drop(listener);
    let _kept = timeout(READ_LAST, server.connections.wait()).await;
    stop.settled.cancel();
    server.graceful.shutdown().await;
}

struct Server {
    builder: Arc<auto::Builder<TokioExecutor>>,
    host: Arc<Host>,
    cut: CancellationToken,
    graceful: GracefulShutdown,
    permits: Arc<Semaphore>,
    connections: TaskTracker,
    accepted: AtomicU64,
}

impl Server {
    async fn accept_until(&self, listener: &Listener, end: impl Future<Output = ()>) {
        let mut end = std::pin::pin!(end);
        loop {
            let accepted = async {
                let permit = Arc::clone(&self.permits).acquire_owned().await.expect("never closed");
                (permit, listener.socket.accept().await)
            };
            let (permit, accepted) = tokio::select! {
                biased;
                accepted = accepted => accepted,
                () = &mut end => return,
            };
            match accepted {
                Ok(stream) => {
                    self.accepted.fetch_add(1, Relaxed);
                    let connection = Connection {
                        builder: Arc::clone(&self.builder),
                        host: Arc::clone(&self.host),
                        watcher: self.graceful.watcher(),
                        cut: self.cut.clone(),
                        permit,
                    };
                    stream.spawn(connection, &self.connections);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection; raise the limit on open files");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Waits until nobody is connected and nobody has come for a while, for as long as that is worth waiting for.
    async fn settle(&self) {
        self.connections.close();
        let quiet = async {
            let mut before = None;
            while before != Some(self.accepted.load(Relaxed)) {
                before = Some(self.accepted.load(Relaxed));
                sleep(SETTLE_QUIET).await;
                self.connections.wait().await;
            }
        };
        let _busy = timeout(SETTLE_MAX, quiet).await;
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEADER_BYTES_MAX as u32)
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    builder
}

enum Stream {
    Unix(tokio::net::UnixStream),
    Tcp(tokio::net::TcpStream),
}

impl Socket {
    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| Stream::Unix(stream)),
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Otherwise the last piece of an answer waits up to 40 ms for the client's acknowledgement.
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
        }
    }
}

impl Stream {
    fn spawn(self, connection: Connection, connections: &TaskTracker) {
        match self {
            Self::Unix(stream) => connections.spawn(connection.run(stream)),
            Self::Tcp(stream) => connections.spawn(connection.run(stream)),
        };
    }
}

struct Connection {
    builder: Arc<auto::Builder<TokioExecutor>>,
    host: Arc<Host>,
    watcher: Watcher,
    cut: CancellationToken,
    permit: OwnedSemaphorePermit,
}

impl Connection {
    async fn run<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: S) {
        let Self { builder, host, watcher, cut, permit } = self;
        let service = service_fn(move |request: http::Request<Incoming>| {
            let host = Arc::clone(&host);
            async move {
                let is_http2 = request.version() == Version::HTTP_2;
                let mut answer = host.handle(request).await;
                // HTTP/2 has a frame for it, sent in the end, which names the requests that were not begun.
                if host.is_leaving() && !is_http2 {
                    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, std::convert::Infallible>(answer)
            }
        });
        let connection = watcher.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned());
        tokio::select! {
            ended = connection => if let Err(error) = ended {
                tracing::debug!(%error, "connection ended early");
            },
            () = cut.cancelled() => {}
        }
        drop(permit);
    }
}
