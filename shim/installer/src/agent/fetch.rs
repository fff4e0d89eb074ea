//! Gets one artifact from the operator, over TLS with a token, into a file that has no name yet; and the node's key.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tempfile::NamedTempFile;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use wisp_identity::NodeKey;

use super::name::ArtifactName;
use super::shelf::{Shelf, settle_artifact};
use crate::trust::trust;

/// Connecting, and the head of the answer: the operator has the file, or says at once that it has not.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two pieces of the file.
const PIECE_TIMEOUT: Duration = Duration::from_secs(15);
const HTTPS_PORT: u16 = 443;
/// The name of a node, and the key.
const NODE_KEY_BYTES_MAX: usize = 4096;

/// Where artifacts come from.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// `https://host:port`.
    pub(crate) url: Uri,
    /// The name in the operator's certificate, where it is not the host of the URL.
    pub(crate) server_name: Option<String>,
    /// A file with the installation's CA, PEM. Read for each fetch, as the next one: both are renewed.
    pub(crate) ca: PathBuf,
    /// A file with the token that proves who asks.
    pub(crate) token: PathBuf,
}

/// Why an artifact is not there. Each is tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("{what} {path}: {source}", path = path.display())]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{0}")]
    Setting(String),
    #[error("{url} cannot be reached: {message}; is the operator running, and is its certificate of this CA?")]
    Connect { url: Uri, message: String },
    #[error("the operator answers {0}; does it know this service account's token for the audience wisp.dev/artifacts?")]
    Refused(StatusCode),
    #[error("the operator answers {0}")]
    Status(StatusCode),
    #[error("the operator gives nothing for too long")]
    Silent,
    #[error("what the operator gives is no key of a node; is it of the same release?")]
    NoKey,
    #[error("the operator gives {found} bytes, and the revision says {named}")]
    Size { found: u64, named: u64 },
    #[error("cannot be written: {0}; is the node's disk full?")]
    Write(io::Error),
}

/// Gets the artifact `name` of this size.
pub(crate) async fn fetch(
    source: &Source,
    shelf: &Shelf,
    name: &ArtifactName,
    bytes: u64,
) -> Result<NamedTempFile, FetchError> {
    let answer = answered(source, &format!("/artifacts/{name}")).await?;
    let file = shelf.partial().map_err(FetchError::Write)?;
    let file = receive(answer.into_body(), file, bytes).await?;
    let settled = tokio::task::spawn_blocking(move || settle_artifact(&file).map(|()| file)).await;
    settled.map_err(|error| FetchError::Write(io::Error::other(error)))?.map_err(FetchError::Write)
}

/// Gets the key by which this node vouches for its pods.
pub(crate) async fn fetch_node_key(source: &Source) -> Result<NodeKey, FetchError> {
    let answer = answered(source, "/node-key").await?;
    let body = Limited::new(answer.into_body(), NODE_KEY_BYTES_MAX).collect();
    let body = timeout(PIECE_TIMEOUT, body).await.map_err(|_| FetchError::Silent)?;
    let key = body.ok().and_then(|body| serde_json::from_slice(&body.to_bytes()).ok());
    key.ok_or(FetchError::NoKey)
}

async fn answered(source: &Source, path: &str) -> Result<Response<Incoming>, FetchError> {
    let answer = timeout(ANSWER_TIMEOUT, ask(source, path)).await.map_err(|_| FetchError::Silent)??;
    match answer.status() {
        StatusCode::OK => Ok(answer),
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Err(FetchError::Refused(status)),
        status => Err(FetchError::Status(status)),
    }
}

async fn receive(mut body: Incoming, mut file: NamedTempFile, named: u64) -> Result<NamedTempFile, FetchError> {
    let mut found = 0;
    while let Some(frame) = timeout(PIECE_TIMEOUT, body.frame()).await.map_err(|_| FetchError::Silent)? {
        // A connection that breaks is a file that is too short.
        let Ok(frame) = frame else { break };
        let Ok(piece) = frame.into_data() else { continue };
        found += piece.len() as u64;
        if found > named {
            break;
        }
        file.write_all(&piece).map_err(FetchError::Write)?;
    }
    if found == named { Ok(file) } else { Err(FetchError::Size { found, named }) }
}

async fn ask(source: &Source, path: &str) -> Result<Response<Incoming>, FetchError> {
    let unreachable =
        |error: &dyn std::fmt::Display| FetchError::Connect { url: source.url.clone(), message: error.to_string() };
    let (host, port) = authority(&source.url)?;
    let token = read("token", &source.token)?;
    let config = trust(&source.ca).map_err(|error| FetchError::Setting(error.to_string()))?;
    let connector = TlsConnector::from(Arc::new(config));
    let server_name = source.server_name.as_deref().unwrap_or(host);
    let server_name = ServerName::try_from(server_name.to_owned());
    let server_name = server_name.map_err(|error| FetchError::Setting(format!("{host}: {error}")))?;

    let stream = TcpStream::connect((host, port)).await.map_err(|error| unreachable(&error))?;
    let stream = connector.connect(server_name, stream).await.map_err(|error| unreachable(&error))?;
    let (mut client, connection) =
        http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await.map_err(|error| unreachable(&error))?;
    // Ends when the answer's body is dropped or at its end: there is one request.
    tokio::spawn(connection);
    let request = Request::get(path)
        .header(header::HOST, source.url.authority().map_or(host, |authority| authority.as_str()))
        .header(header::AUTHORIZATION, format!("Bearer {}", token.trim()))
        .body(Empty::new())
        .map_err(|error| FetchError::Setting(format!("token {}: {error}", source.token.display())))?;
    client.send_request(request).await.map_err(|error| unreachable(&error))
}

fn authority(url: &Uri) -> Result<(&str, u16), FetchError> {
    match (url.scheme_str(), url.host()) {
        // An address of version 6 stands in brackets.
        (Some("https"), Some(host)) => Ok((host.trim_matches(['[', ']']), url.port_u16().unwrap_or(HTTPS_PORT))),
        _ => Err(FetchError::Setting(format!("{url} is not of the form https://host:port"))),
    }
}

fn read(what: &'static str, path: &std::path::Path) -> Result<String, FetchError> {
    std::fs::read_to_string(path).map_err(|source| FetchError::File { what, path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_is_a_source() {
        let parts = |url: &str| authority(&url.parse().unwrap()).map(|(host, port)| (host.to_owned(), port)).ok();
        assert_eq!(
            parts("https://wisp-operator.wisp-system.svc:8443"),
            Some(("wisp-operator.wisp-system.svc".to_owned(), 8443))
        );
        assert_eq!(parts("https://[::1]"), Some(("::1".to_owned(), 443)));
        assert_eq!(parts("http://operator:8443"), None);
        assert_eq!(parts("operator:8443"), None);
    }
}
