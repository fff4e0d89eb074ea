//! Components that are plain files on a web server.

use std::time::Duration;

use reqwest::{Certificate, Client, StatusCode};
use wisp_api::status::Reason;

use super::{Refusal, check_size};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two pieces of a file; the whole of it is bounded by whoever asks.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// Web servers, trusted as registries are.
pub(super) struct Downloads(Client);

impl Downloads {
    /// With certificates beside the usual ones, PEM.
    pub(super) fn new(authority: Option<&str>) -> reqwest::Result<Self> {
        let certificates = authority.map_or(Ok(Vec::new()), |pem| Certificate::from_pem_bundle(pem.as_bytes()))?;
        let client = Client::builder()
            .tls_certs_merge(certificates)
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .user_agent(concat!("wisp/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self(client))
    }

    /// The file at `url`.
    pub(super) async fn get(&self, url: &str) -> Result<Vec<u8>, Refusal> {
        let mut response = self.0.get(url).send().await.map_err(|error| broken(url, &error))?;
        refuse_status(url, response.status())?;
        check_size(response.content_length().unwrap_or(0))?;
        let mut bytes = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| broken(url, &error))? {
            check_size((bytes.len() + piece.len()) as u64)?;
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }
}

fn refuse_status(url: &str, status: StatusCode) -> Result<(), Refusal> {
    match status {
        StatusCode::OK => Ok(()),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            let message = format!("{url} is not for everybody: {status}; push it to a registry");
            Err(Refusal::new(Reason::ImageUnauthorized, message))
        }
        other => Err(Refusal::for_now(Reason::ImageNotFound, format!("{url} cannot be downloaded: {other}"))),
    }
}

/// With its causes: the outermost error says only that there is one.
fn broken(url: &str, error: &reqwest::Error) -> Refusal {
    let mut message = format!("{url} cannot be downloaded");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        message.push_str(&format!(": {error}"));
        cause = error.source();
    }
    Refusal::for_now(Reason::ImageNotFound, message)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers one request with `head`, and with zeros for as long as they are taken.
    async fn server(head: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/x.wasm", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _asked = stream.read(&mut [0; 4096]).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            while stream.write_all(&[0; 1 << 16]).await.is_ok() {}
        });
        url
    }

    async fn get(head: &'static str) -> Result<Vec<u8>, Refusal> {
        let _installed = rustls::crypto::ring::default_provider().install_default();
        Downloads::new(None).unwrap().get(&server(head).await).await
    }

    #[tokio::test]
    async fn a_file_is_taken_as_it_is() {
        assert_eq!(get("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n").await.unwrap(), [0; 5]);
    }

    #[tokio::test]
    async fn a_file_that_is_too_large_is_refused_whether_it_says_so_or_not() {
        for head in
            ["HTTP/1.1 200 OK\r\ncontent-length: 134217729\r\n\r\n", "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"]
        {
            let refused = get(head).await.unwrap_err();
            assert_eq!(refused.reason, Reason::NotAComponent, "{refused}");
        }
    }

    #[tokio::test]
    async fn a_server_that_refuses_is_named_with_its_answer() {
        for (head, reason) in [
            ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", Reason::ImageNotFound),
            ("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n", Reason::ImageUnauthorized),
        ] {
            let refused = get(head).await.unwrap_err();
            assert_eq!(refused.reason, reason);
            assert!(refused.message.contains("http://127.0.0.1:"), "{refused}");
        }
    }

    #[tokio::test]
    async fn authorities_that_are_none_are_refused_at_once() {
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(Downloads::new(Some(broken)).is_err());
    }
}
