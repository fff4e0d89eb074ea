//! A connection to an instance: a Unix socket, or TCP.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// An instance on the same node or network answers within a millisecond; after this it is as good as dead.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A Unix socket whose backlog is full refuses at once instead of making the caller wait; try again after this.
const BACKLOG_FULL_WAIT: Duration = Duration::from_millis(1);

/// Where an instance listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// An IP address and a port.
    Ip(SocketAddr),
    /// A host name and a port.
    Name(String),
}

/// A connection to an instance.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: Stream,
    probe: Arc<AtomicBool>,
}

/// Asks for the next read to look first whether the connection is still good.
#[derive(Clone, Debug)]
pub(crate) struct Probe(Arc<AtomicBool>);

#[derive(Debug)]
enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Address {
    /// From `unix:/path` or `tcp:host:port`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            return path.starts_with('/').then(|| Self::Unix(path.into()));
        }
        let place = text.strip_prefix("tcp:")?;
        if let Ok(address) = place.parse() {
            return Some(Self::Ip(address));
        }
        let (host, port) = place.rsplit_once(':')?;
        (!host.is_empty() && port.parse::<u16>().is_ok()).then(|| Self::Name(place.to_owned()))
    }

    /// Connects, within a fixed time.
    pub(crate) async fn connect(&self) -> io::Result<Socket> {
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, self.connect_patiently());
        let stream = connecting.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        Ok(Socket { stream, probe: Arc::default() })
    }

    async fn connect_patiently(&self) -> io::Result<Stream> {
        match self {
            Self::Unix(path) => loop {
                match UnixStream::connect(path).await {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        tokio::time::sleep(BACKLOG_FULL_WAIT).await;
                    }
                    result => return result.map(Stream::Unix),
                }
            },
            Self::Ip(address) => tcp(TcpStream::connect(address).await?),
            Self::Name(place) => tcp(TcpStream::connect(place).await?),
        }
    }
}

fn tcp(stream: TcpStream) -> io::Result<Stream> {
    stream.set_nodelay(true)?;
    Ok(Stream::Tcp(stream))
}

impl Socket {
    /// A handle to ask for probes once HTTP owns the socket.
    pub(crate) fn probe(&self) -> Probe {
        Probe(Arc::clone(&self.probe))
    }
}

impl Probe {
    /// The next read looks first.
    pub(crate) fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Stream {
    /// Whether an idle connection is still good: neither closed by the peer nor with bytes that nobody asked for.
    ///
    /// It asks the kernel: the runtime learns of a close only when it next polls, and a request sent until then is lost.
    fn is_quiet(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let peeked = match self {
            Self::Unix(stream) => SockRef::from(stream).peek(&mut byte),
            Self::Tcp(stream) => SockRef::from(stream).peek(&mut byte),
        };
        matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.probe.load(Ordering::Relaxed) {
            self.probe.store(false, Ordering::Relaxed);
            if !self.stream.is_quiet() {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
        }
        match &mut self.stream {
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_unix_paths_or_hosts_with_ports() {
        assert_eq!(Address::parse("unix:/run/a.sock"), Some(Address::Unix("/run/a.sock".into())));
        assert_eq!(Address::parse("tcp:127.0.0.1:80"), Some(Address::Ip(([127, 0, 0, 1], 80).into())));
        assert_eq!(Address::parse("tcp:[::1]:80"), Some(Address::Ip("[::1]:80".parse().unwrap())));
        assert_eq!(Address::parse("tcp:pod.local:80"), Some(Address::Name("pod.local:80".into())));
        for bad in ["", "unix:a.sock", "tcp:", "tcp:host", "tcp::80", "tcp:host:x", "http://a:1"] {
            assert_eq!(Address::parse(bad), None, "{bad}");
        }
    }
}
