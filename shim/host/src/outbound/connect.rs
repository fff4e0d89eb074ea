//! Connections to the outside: the name is resolved here, each address is checked, and exactly a checked one is dialled.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wasmtime_wasi_http::WasiBody;

use super::network::Network;
use super::policy::Policy;

/// Connections that one function may hold, idle ones included.
const CONNECTIONS_MAX: usize = 256;
/// An idle connection is kept for this long; servers commonly close after a minute.
const IDLE: Duration = Duration::from_secs(30);
const IDLE_PER_ORIGIN_MAX: usize = 16;

/// All that the instances of a revision share for outgoing requests.
pub struct Upstreams {
    /// What is allowed.
    pub policy: Policy,
    /// Keeps connections by origin.
    pub client: Client<Connector, WasiBody>,
}

impl Upstreams {
    /// Connections as `policy` and `network` allow them.
    #[must_use]
    pub fn new(policy: Policy, network: Network) -> Self {
        let connector = Connector { network: Arc::new(network), permits: Arc::new(Semaphore::new(CONNECTIONS_MAX)) };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_PER_ORIGIN_MAX)
            .set_host(false)
            .build(connector);
        Self { policy, client }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address of the name must not be reached.
    #[error("{0} resolves only to addresses that functions may not reach")]
    Prohibited(String),
    /// The name does not resolve.
    #[error("{0} does not resolve: {1}")]
    Resolve(String, io::Error),
    /// No address answers.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// The other side does not prove that it is who we called.
    #[error("TLS: {0}")]
    Tls(io::Error),
    /// Not something one can connect to.
    #[error("the URI has no host")]
    NoHost,
    /// The system's root certificates cannot be read.
    #[error("no root certificates: {0}; install ca-certificates, or name a file with SSL_CERT_FILE")]
    Roots(String),
}

/// Dials for hyper's client.
#[derive(Clone)]
pub struct Connector {
    network: Arc<Network>,
    permits: Arc<Semaphore>,
}

impl tower::Service<Uri> for Connector {
    type Response = Upstream;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Upstream, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

impl Connector {
    async fn connect(self, uri: Uri) -> Result<Upstream, ConnectError> {
        // Waiting here is bounded by the request's connect timeout.
        let permit = Arc::clone(&self.permits).acquire_owned().await.expect("never closed");
        let host = uri.host().ok_or(ConnectError::NoHost)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let secure = uri.scheme() == Some(&Scheme::HTTPS);
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let addresses = self.resolve(host, port).await?;
        let tcp = dial(&addresses).await.map_err(ConnectError::Connect)?;
        tcp.set_nodelay(true).map_err(ConnectError::Connect)?;
        if !secure {
            return Ok(Upstream { stream: Stream::Plain(TokioIo::new(tcp)), _permit: permit });
        }
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| ConnectError::Tls(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let tls = tls_connector().await?.connect(name, tcp).await.map_err(ConnectError::Tls)?;
        Ok(Upstream { stream: Stream::Tls(Box::new(TokioIo::new(tls))), _permit: permit })
    }

    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
        let found = tokio::net::lookup_host((host, port)).await;
        let found = found.map_err(|error| ConnectError::Resolve(host.to_owned(), error))?;
        let permitted: Vec<_> = found.filter(|address| self.network.permits(address.ip(), port)).collect();
        if permitted.is_empty() { Err(ConnectError::Prohibited(host.to_owned())) } else { Ok(permitted) }
    }
}

async fn dial(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The system's roots, or those of the files that `SSL_CERT_FILE` and `SSL_CERT_DIR` name in their place.
///
/// Reading them takes milliseconds and megabytes: only who calls https pays, once per process.
async fn tls_connector() -> Result<TlsConnector, ConnectError> {
    static CONFIG: OnceLock<Arc<rustls::ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(TlsConnector::from(Arc::clone(config)));
    }
    let made = tokio::task::spawn_blocking(tls_config).await;
    let config = made.map_err(|error| ConnectError::Roots(error.to_string()))??;
    Ok(TlsConnector::from(Arc::clone(CONFIG.get_or_init(|| Arc::new(config)))))
}

fn tls_config() -> Result<rustls::ClientConfig, ConnectError> {
    let loaded = rustls_native_certs::load_native_certs();
    let mut roots = rustls::RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(loaded.certs);
    if usable == 0 {
        let why = loaded.errors.first().map_or_else(|| "the system has none".to_owned(), ToString::to_string);
        return Err(ConnectError::Roots(why));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| ConnectError::Roots(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// A connection, and its share of the function's allowance.
pub struct Upstream {
    stream: Stream,
    _permit: OwnedSemaphorePermit,
}

enum Stream {
    Plain(TokioIo<TcpStream>),
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

impl Connection for Upstream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Upstream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, buffer),
        }
    }
}

impl Write for Upstream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }
}
