//! Whether an installation on a cluster answers, as seen from a pod: what `helm test` asks.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::trust::trust;

/// One try.
const TRY_TIMEOUT: Duration = Duration::from_secs(5);
const TRY_INTERVAL: Duration = Duration::from_millis(500);
/// No function has it: names under `.invalid` are nobody's (RFC 6761).
const NOBODYS_HOST: &str = "wisp-check.invalid";

/// What is asked.
#[derive(Clone, Debug, clap::Args)]
pub struct CheckArgs {
    /// The activators' Service, such as `http://wisp-activator`: it must say that it has no such function.
    #[arg(long)]
    pub activator: Uri,
    /// A server of the installation, such as `https://wisp-operator:8443`; may be repeated. It must show a certificate of
    /// the CA.
    #[arg(long = "server")]
    pub servers: Vec<Uri>,
    /// A file with the installation's CA, PEM.
    #[arg(long)]
    pub ca: PathBuf,
    /// For how many seconds each is asked again.
    #[arg(long, default_value = "30")]
    pub patience: u64,
}

/// Asks all, and says of each how it went.
///
/// # Errors
/// When one does not answer as it should in time.
pub async fn check(args: &CheckArgs) -> Result<()> {
    let patience = Duration::from_secs(args.patience);
    let mut bad = report(&args.activator, again(patience, async || activator(&args.activator).await).await);
    for url in &args.servers {
        bad += report(url, again(patience, async || server(url, &args.ca).await).await);
    }
    ensure!(bad == 0, "{bad} of {} do not answer as they should", 1 + args.servers.len());
    Ok(())
}

/// Prints a line; 1 for what is bad.
fn report(url: &Uri, outcome: Result<String>) -> usize {
    match outcome {
        Ok(how) => println!("good: {url} {how}"),
        Err(error) => {
            println!("bad: {url}: {error:#}");
            return 1;
        }
    }
    0
}

/// Tries until it is good, or returns the last error.
async fn again(patience: Duration, mut look: impl AsyncFnMut() -> Result<String>) -> Result<String> {
    let end = Instant::now() + patience;
    loop {
        let looked = timeout(TRY_TIMEOUT, look()).await.unwrap_or_else(|_| bail!("gives no answer in time"));
        if looked.is_ok() || Instant::now() >= end {
            return looked;
        }
        sleep(TRY_INTERVAL).await;
    }
}

async fn activator(url: &Uri) -> Result<String> {
    ensure!(url.scheme_str() == Some("http"), "is not of the form http://host:port");
    let stream = connect(url, 80).await?;
    let (mut client, connection) = http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await?;
    // Ends with the client.
    tokio::spawn(connection);
    let request = Request::get("/").header(header::HOST, NOBODYS_HOST).body(Empty::new())?;
    let answer = client.send_request(request).await?;
    let word = answer.headers().get("x-wisp-error").and_then(|word| word.to_str().ok());
    let is_so = answer.status() == StatusCode::NOT_FOUND && word == Some("unknown-host");
    ensure!(is_so, "answers {} ({word:?}), which is not an activator's answer to an unknown host", answer.status());
    Ok("answers as an activator".to_owned())
}

async fn server(url: &Uri, ca: &Path) -> Result<String> {
    ensure!(url.scheme_str() == Some("https"), "is not of the form https://host:port");
    let connector = TlsConnector::from(Arc::new(trust(ca)?));
    let name = ServerName::try_from(host(url)?.to_owned())?;
    let stream = connect(url, 443).await?;
    connector.connect(name, stream).await.context("does not show a certificate of this installation")?;
    Ok("shows a certificate of this installation".to_owned())
}

async fn connect(url: &Uri, port: u16) -> Result<TcpStream> {
    let stream = TcpStream::connect((host(url)?, url.port_u16().unwrap_or(port))).await;
    stream.context("cannot be reached")
}

fn host(url: &Uri) -> Result<&str> {
    // An address of version 6 stands in brackets.
    url.host().map(|host| host.trim_matches(['[', ']'])).context("names no host")
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A server that gives one answer to whoever asks, and its URL.
    async fn answering(answer: &'static str) -> Uri {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 1024];
                let _read = stream.read(&mut request).await;
                let _written = stream.write_all(answer.as_bytes()).await;
            }
        });
        url
    }

    #[tokio::test]
    async fn only_an_activators_answer_is_good() {
        let good = "HTTP/1.1 404 Not Found\r\nx-wisp-error: unknown-host\r\ncontent-length: 0\r\n\r\n";
        activator(&answering(good).await).await.unwrap();
        for other in [
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx-wisp-error: unknown-host\r\ncontent-length: 0\r\n\r\n",
            "nothing of HTTP\r\n\r\n",
        ] {
            activator(&answering(other).await).await.unwrap_err();
        }
    }

    #[tokio::test]
    async fn a_server_without_the_installations_certificate_is_bad() {
        let plain = answering("HTTP/1.1 200 OK\r\n\r\n").await.to_string().replace("http:", "https:");
        let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let ca = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(ca.path(), key.cert.pem()).unwrap();
        let error = server(&plain.parse().unwrap(), ca.path()).await.unwrap_err();
        assert!(error.to_string().contains("certificate of this installation"), "{error:#}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_late_is_waited_for_and_what_does_not_come_is_not() {
        let mut tries = 0;
        let late = again(Duration::from_secs(30), async || {
            tries += 1;
            if tries < 5 { bail!("not yet") } else { Ok("there".to_owned()) }
        });
        assert_eq!(late.await.unwrap(), "there");
        let never = again(Duration::from_secs(3), async || bail!("never")).await;
        assert_eq!(never.unwrap_err().to_string(), "never");
    }
}
