//! The operator's port for artifacts: TLS, a token, and files by name.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use wisp_identity::{InstallationKey, NodeKey};

/// In its certificate.
pub(crate) const NAME: &str = "wisp-operator.wisp-system.svc";

/// A server that lives as long as the test.
pub(crate) struct Operator {
    pub(crate) address: SocketAddr,
    pub(crate) ca: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    answers: BTreeMap<String, Answer>,
    asked: Vec<(String, String)>,
}

/// What is answered to who asks for a file.
#[derive(Clone)]
pub(crate) enum Answer {
    File(Vec<u8>),
    /// The connection breaks after these bytes of a file that has one more.
    Half(Vec<u8>),
}

impl Operator {
    pub(crate) async fn listen(ip: impl Into<IpAddr>) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![NAME.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = config.unwrap().with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key);
        let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
        let listener = TcpListener::bind((ip.into(), 0)).await.unwrap();
        let operator = Self { address: listener.local_addr().unwrap(), ca: authority.pem(), state: Arc::default() };
        operator.answers("/node-key", Answer::File(serde_json::to_vec(&node_key([1; 32])).unwrap()));
        let state = Arc::clone(&operator.state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(acceptor.clone(), stream, Arc::clone(&state)));
            }
        });
        operator
    }

    pub(crate) fn answers(&self, file: &str, answer: Answer) {
        self.state().answers.insert(file.to_owned(), answer);
    }

    /// The tokens of those who asked for `file`, in order.
    pub(crate) fn asked(&self, file: &str) -> Vec<String> {
        let asked = self.state().asked.clone().into_iter();
        asked.filter(|(name, _)| name == file).map(|(_, token)| token).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// Of a node that all of these tests are on.
pub(crate) fn node_key(installation: [u8; wisp_identity::KEY_BYTES]) -> NodeKey {
    InstallationKey::new(&installation).unwrap().of_node("node-a")
}

async fn serve(acceptor: TlsAcceptor, stream: TcpStream, state: Arc<Mutex<State>>) {
    // Whoever does not trust us hangs up here.
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    let head = head(&mut stream).await;
    let path = head.split(' ').nth(1).unwrap_or_default();
    let file = path.strip_prefix("/artifacts/").unwrap_or(path).to_owned();
    let token = head.lines().find_map(|line| line.strip_prefix("authorization: Bearer ")).unwrap_or_default();
    let answer = {
        let mut state = state.lock().unwrap();
        state.asked.push((file.clone(), token.to_owned()));
        state.answers.get(&file).cloned()
    };
    let (status, length, body) = match answer {
        Some(Answer::File(bytes)) => ("200 OK", bytes.len(), bytes),
        Some(Answer::Half(bytes)) => ("200 OK", bytes.len() + 1, bytes),
        None => ("404 Not Found", 0, Vec::new()),
    };
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(&body).await;
    let _ = stream.shutdown().await;
}

async fn head(stream: &mut TlsStream<TcpStream>) -> String {
    let mut head = Vec::new();
    let mut piece = [0; 4096];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => break,
            Ok(read) => head.extend(&piece[..read]),
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}
