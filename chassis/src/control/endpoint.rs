//! Where the autoscaler's control server is, and how to get a channel to it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tower::service_fn;

/// A peer that does not answer within this time is tried again.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A silent TCP stream is probed this often, so that a lost node is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Where the autoscaler's control server is: `unix:/path`, or `https://host:port` with [`ClientTls`].
#[derive(Clone, Debug)]
pub struct ControlEndpoint {
    target: Target,
    tls: Option<ClientTls>,
}

/// What a client needs for TLS: the installation's CA, and its own certificate where the server asks for one.
#[derive(Clone, Debug)]
pub struct ClientTls {
    /// The installation's CA, PEM.
    pub ca_pem: String,
    /// The client's certificate chain and key, PEM.
    pub identity: Option<(String, String)>,
    /// The name in the server's certificate, where it is not the host of the URL.
    pub server_name: Option<String>,
}

/// An address that is neither `unix:/path` nor `https://host:port`, or TLS settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The text is no address.
    #[error("{0:?} is no control address; write unix:/path or https://host:port")]
    NoAddress(String),
    /// The URL or the TLS settings are not usable.
    #[error("control address {0} cannot be used: {1}")]
    Unusable(String, String),
}

#[derive(Clone, Debug)]
enum Target {
    Unix(PathBuf),
    Https(String),
}

impl ControlEndpoint {
    /// The Unix socket at `path`.
    #[must_use]
    pub fn unix(path: &Path) -> Self {
        Self { target: Target::Unix(path.to_owned()), tls: None }
    }

    /// The same place with these TLS settings.
    #[must_use]
    pub fn with_tls(self, tls: ClientTls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    pub(super) async fn connect(&self) -> Result<Channel, EndpointError> {
        let unusable = |error: tonic::transport::Error| EndpointError::Unusable(self.to_string(), describe(&error));
        match &self.target {
            Target::Unix(path) => {
                let path = path.clone();
                let connector = service_fn(move |_| {
                    let path = path.clone();
                    async move { UnixStream::connect(path).await.map(TokioIo::new) }
                });
                let endpoint = Endpoint::from_static("http://control").connect_timeout(CONNECT_TIMEOUT);
                endpoint.connect_with_connector(connector).await.map_err(unusable)
            }
            Target::Https(url) => {
                let mut endpoint = Endpoint::from_shared(url.clone()).map_err(unusable)?;
                if let Some(tls) = &self.tls {
                    endpoint = endpoint.tls_config(tls.config()).map_err(unusable)?;
                }
                let endpoint = endpoint.connect_timeout(CONNECT_TIMEOUT).tcp_nodelay(true);
                let endpoint = endpoint.http2_keep_alive_interval(KEEP_ALIVE).keep_alive_while_idle(true);
                endpoint.connect().await.map_err(unusable)
            }
        }
    }
}

impl ClientTls {
    fn config(&self) -> ClientTlsConfig {
        let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.ca_pem));
        if let Some((certificate, key)) = &self.identity {
            config = config.identity(Identity::from_pem(certificate, key));
        }
        match &self.server_name {
            Some(name) => config.domain_name(name),
            None => config,
        }
    }
}

impl FromStr for ControlEndpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let target = match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Target::Unix(PathBuf::from(path)),
            None if text.starts_with("https://") => Target::Https(text.to_owned()),
            _ => return Err(EndpointError::NoAddress(text.to_owned())),
        };
        Ok(Self { target, tls: None })
    }
}

impl fmt::Display for ControlEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Unix(path) => write!(f, "unix:{}", path.display()),
            Target::Https(url) => f.write_str(url),
        }
    }
}

// tonic's own text is "transport error"; the cause is further down.
fn describe(error: &dyn std::error::Error) -> String {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    root.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_unix_or_https() {
        for good in ["unix:/run/wisp/control.sock", "https://autoscaler.wisp-system:8443"] {
            assert_eq!(good.parse::<ControlEndpoint>().unwrap().to_string(), good);
        }
        for bad in ["", "unix:relative", "http://plain:1", "autoscaler:8443"] {
            assert!(bad.parse::<ControlEndpoint>().is_err(), "{bad:?}");
        }
    }
}
