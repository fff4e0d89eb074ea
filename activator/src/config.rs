//! What an activator is told at its start.

use std::net::SocketAddr;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::headers::ForwardedTrust;
use crate::leaving::Leaving;
use crate::traces::Traces;

/// How an activator is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients connect. Port 0 takes any free one.
    pub listen: SocketAddr,
    /// Certificates, when clients connect by TLS. ALPN is set by the activator.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Whether an ingress stands before it.
    pub forwarded: ForwardedTrust,
    /// Bounds of what clients may take up.
    pub limits: ConnectionLimits,
    /// Threads that take and forward requests.
    pub workers: NonZero<usize>,
    /// Its name toward the autoscaler: unique among activators, stable for the life of the process.
    pub name: String,
    /// The file of the token by which the autoscaler knows it; read at each connection, since tokens are renewed.
    pub token_file: Option<PathBuf>,
    /// Begun some time before the order to drain.
    pub leaving: Leaving,
    /// Where spans of requests go.
    pub traces: Option<Traces>,
}

/// Bounds of what clients may take up.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Client connections at once. An idle one costs about 10 KiB.
    pub connections: usize,
    /// Bytes of a request's head.
    pub head_bytes: usize,
    /// How long the first bytes, a TLS handshake, or the head of a request may take.
    pub head_timeout: Duration,
    /// How long a connection is kept that has no request.
    pub idle_timeout: Duration,
    /// How long a client may leave bytes unacknowledged that were sent to it.
    pub stall_timeout: Duration,
    /// Requests at once on one HTTP/2 connection.
    pub http2_streams: u32,
    /// After the order to stop, how long requests in flight may take.
    pub drain_timeout: Duration,
}

impl Config {
    /// A set-up with the usual bounds and a worker for each core, without TLS.
    #[must_use]
    pub fn new(listen: SocketAddr, name: impl Into<String>) -> Self {
        Self {
            listen,
            tls: None,
            forwarded: ForwardedTrust::default(),
            limits: ConnectionLimits::default(),
            // What cannot be told is not worth a failure: one does the work of all, only slower.
            workers: std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN),
            name: name.into(),
            token_file: None,
            leaving: Leaving::default(),
            traces: None,
        }
    }
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            // 160 MiB when all are idle.
            connections: 16 * 1024,
            // Room for large cookies and tokens; others allow 8 to 64 KiB.
            head_bytes: 64 * 1024,
            // Slow links need a second or two; a client that takes longer holds a place for nothing.
            head_timeout: Duration::from_secs(10),
            // Longer than the 60 s of common load balancers, so that they close first and no request is lost.
            idle_timeout: Duration::from_secs(75),
            stall_timeout: Duration::from_secs(30),
            // What RFC 9113 recommends as the least, times two for clients that multiplex much.
            http2_streams: 200,
            // The default timeout of a function, and a little.
            drain_timeout: Duration::from_secs(35),
        }
    }
}
