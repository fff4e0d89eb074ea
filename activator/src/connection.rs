//! One client's connection: TLS, the protocol, and HTTP on it, within the limits.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::client::{Activity, ClientBody, ClientIo, Protocol, Verdict, Watch};
use crate::config::ConnectionLimits;
use crate::headers::{ForwardedTrust, Origin};
use crate::leaving::Leaving;
use crate::proxy::Proxy;

/// What a client may send of a body that the function does not read, per stream.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// The same for a connection.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// What is held of answers that a client does not read, per stream.
const SEND_BUFFER_BYTES: usize = 128 * 1024;
/// Streams that a client may have opened and reset before anybody looked at them (CVE-2023-44487). A browser that leaves a
/// page resets a few.
const PENDING_RESETS_MAX: usize = 20;
/// Streams on which a client may break the protocol, before its connection is closed.
const LOCAL_RESETS_MAX: usize = 1024;
/// An HTTP/2 client is asked this often whether it is there, and has as long to answer.
const PING_PERIOD: Duration = Duration::from_secs(20);

/// What all connections of a worker share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub proxy: Proxy,
    pub tls: Option<Arc<rustls::ServerConfig>>,
    pub forwarded: ForwardedTrust,
    pub limits: ConnectionLimits,
    pub leaving: Leaving,
    /// The order to finish what is in flight, and take nothing new.
    pub drain: CancellationToken,
    /// Connections, and streams of HTTP/2.
    pub tasks: TaskTracker,
}

/// Why a connection ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    #[error("the TLS handshake failed: {0}")]
    Tls(std::io::Error),
    #[error("the connection broke before the first request: {0}")]
    Begin(std::io::Error),
    #[error("the client took longer than {0:?} for its first bytes or its TLS handshake")]
    SlowBegin(Duration),
    #[error("the client took too long for a request, or was idle for too long")]
    Slow,
    #[error("{0}")]
    Http(hyper::Error),
}

/// Runs the streams of HTTP/2 connections.
#[derive(Clone)]
struct Streams(TaskTracker);

/// Serves a client until it goes, is drained, or breaks a limit.
pub(crate) async fn serve(shared: Arc<Shared>, stream: TcpStream, client: IpAddr) -> Result<(), ConnectionError> {
    let head_timeout = shared.limits.head_timeout;
    let activity = Arc::new(Activity::default());
    let Some(tls) = shared.tls.clone() else {
        let detecting = timeout(head_timeout, ClientIo::detect(stream, Arc::clone(&activity))).await;
        let detected = detecting.map_err(|_| ConnectionError::SlowBegin(head_timeout))?;
        let (protocol, io) = detected.map_err(ConnectionError::Begin)?;
        let origin = Origin::new(client, "http", shared.forwarded);
        return Connection::new(shared, activity, origin).serve(io, protocol).await;
    };
    let accepting = timeout(head_timeout, TlsAcceptor::from(tls).accept(stream)).await;
    let accepted = accepting.map_err(|_| ConnectionError::SlowBegin(head_timeout))?;
    let stream = accepted.map_err(ConnectionError::Tls)?;
    let protocol = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Protocol::Http2,
        _ => Protocol::Http1,
    };
    let io = ClientIo::new(stream, Arc::clone(&activity));
    let origin = Origin::new(client, "https", shared.forwarded);
    Connection::new(shared, activity, origin).serve(io, protocol).await
}

struct Connection {
    client: Arc<Client>,
    /// A token of its own: to wait for one that all share takes a lock that all share.
    drain: CancellationToken,
}

/// What each request of a connection needs.
struct Client {
    shared: Arc<Shared>,
    activity: Arc<Activity>,
    origin: Origin,
}

impl Connection {
    fn new(shared: Arc<Shared>, activity: Arc<Activity>, origin: Origin) -> Self {
        let drain = shared.drain.child_token();
        Self { client: Arc::new(Client { shared, activity, origin }), drain }
    }

    async fn serve<T>(self, io: ClientIo<T>, protocol: Protocol) -> Result<(), ConnectionError>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let client = Arc::clone(&self.client);
        let service = service_fn(move |request| Arc::clone(&client).handle(request));
        let shared = &self.client.shared;
        let limits = &shared.limits;
        match protocol {
            Protocol::Http1 => {
                let mut builder = http1::Builder::new();
                builder.max_buf_size(limits.head_bytes).header_read_timeout(None);
                self.watch(pin!(builder.serve_connection(TokioIo::new(io), service)), protocol).await
            }
            Protocol::Http2 => {
                let mut builder = http2::Builder::new(Streams(shared.tasks.clone()));
                builder
                    .timer(TokioTimer::new())
                    .max_concurrent_streams(limits.http2_streams)
                    .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
                    .initial_stream_window_size(STREAM_WINDOW_BYTES)
                    .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                    .max_send_buf_size(SEND_BUFFER_BYTES)
                    .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
                    .max_local_error_reset_streams(LOCAL_RESETS_MAX)
                    .keep_alive_interval(PING_PERIOD)
                    .keep_alive_timeout(PING_PERIOD);
                self.watch(pin!(builder.serve_connection(TokioIo::new(io), service)), protocol).await
            }
        }
    }

    /// Drives a connection, and ends it when its time has come.
    async fn watch<C>(&self, mut connection: Pin<&mut C>, protocol: Protocol) -> Result<(), ConnectionError>
    where
        C: GracefulConnection<Error = hyper::Error>,
    {
        let limits = &self.client.shared.limits;
        // One timer for the whole connection, instead of one for each request's head.
        let mut look = interval(limits.head_timeout.min(limits.idle_timeout) / 4);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut watch = Watch::new(Instant::now());
        let mut is_closing = false;
        loop {
            tokio::select! {
                biased;
                result = connection.as_mut() => return result.map_err(ConnectionError::Http),
                () = self.drain.cancelled(), if !is_closing => {
                    is_closing = true;
                    connection.as_mut().graceful_shutdown();
                }
                now = look.tick() => {
                    match watch.look(&self.client.activity, protocol, now).judge(limits.head_timeout, limits.idle_timeout) {
                        Verdict::Keep => {}
                        Verdict::Close => connection.as_mut().graceful_shutdown(),
                        Verdict::Cut => return Err(ConnectionError::Slow),
                    }
                }
            }
        }
    }
}

impl Client {
    async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Result<http::Response<ClientBody>, Infallible> {
        let active = self.activity.begin();
        let version = request.version();
        let mut response = self.shared.proxy.handle(&self.origin, request).await;
        self.shared.leaving.mark(version, &mut response);
        Ok(response.map(|answer| ClientBody::new(answer, active)))
    }
}

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, stream: F) {
        self.0.spawn(stream);
    }
}
