//! Outgoing requests over TLS, to servers whose certificates come from an authority of the test's own.

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::admin::ask;
use crate::process::{Process, start_with};
use crate::support::{prebuilt_path, shared_folder};

pub(crate) type Authority = CertifiedIssuer<'static, KeyPair>;

pub(crate) fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server on loopback that proves to be `name`; answers everything with `hello over tls`.
async fn server(authority: &Authority, name: &str) -> u16 {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, authority).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Whoever does not trust us hangs up here.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 14\r\nconnection: close\r\n\r\nhello over tls";
            let _ = stream.write_all(answer).await;
            let _ = stream.shutdown().await;
        }
    });
    port
}

/// A host with a function that fetches from localhost, and trusts `authority` alone.
async fn host(authority: &Path, ports: &[u16]) -> (Process, String) {
    let (component, cache) = (prebuilt_path("samples/prebuilt/outbound.wasm"), shared_folder());
    let (component, cache) = (component.display().to_string(), cache.display().to_string());
    let mut args = vec!["serve".to_owned(), component, "--cache".to_owned(), cache];
    args.extend(["--listen", "tcp:127.0.0.1:0", "--allow-private-outbound", "localhost"].map(str::to_owned));
    args.extend(ports.iter().flat_map(|port| ["--outbound".to_owned(), format!("https://localhost:{port}")]));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut process = start_with(&args, &[("SSL_CERT_FILE", authority)]);
    let address = process.line("listening tcp:").await;
    (process, address)
}

fn written(authority: &Authority) -> (TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("authority.pem");
    std::fs::write(&file, authority.pem()).unwrap();
    (folder, file)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_servers_that_prove_their_name_to_a_trusted_authority_are_called() {
    let (ours, foreign) = (authority(), authority());
    let trusted = server(&ours, "localhost").await;
    let misnamed = server(&ours, "elsewhere.test").await;
    let unknown = server(&foreign, "localhost").await;
    let (_folder, file) = written(&ours);
    let (_process, address) = host(&file, &[trusted, misnamed, unknown]).await;
    let fetch = async |port| ask(&address, &format!("/?url=https://localhost:{port}/")).await;
    let answer = fetch(trusted).await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, "hello over tls"));
    for port in [misnamed, unknown] {
        let answer = fetch(port).await;
        assert_eq!(answer.status, 502);
        assert!(answer.text.contains("TlsCertificateError"), "{}", answer.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_is_not_taken_for_one_with_a_bad_certificate() {
    let plain = crate::support::given("guests.wasm").served().await;
    let port = plain.address.rsplit_once(':').unwrap().1.parse().unwrap();
    let (_folder, file) = written(&authority());
    let (_process, address) = host(&file, &[port]).await;
    let text = ask(&address, &format!("/?url=https://localhost:{port}/")).await.text;
    assert!(text.contains("TlsProtocolError"), "{text}");
}
