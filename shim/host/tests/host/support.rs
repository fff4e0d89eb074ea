//! A host in this process, and a plain client for it.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use wisp_api::wire::{HostConcurrency, HostLimits, HostSpec};
use wisp_host::compile::Compiler;
use wisp_host::engine::{POOL_SLOTS_MAX, Runtimes};
use wisp_host::handler::Host;
use wisp_host::load::load;
use wisp_host::outbound::Network;
use wisp_host::revision::Revision;
use wisp_host::server::{Address, Listener, Stop, serve};
use wisp_host::store::{Artifact, ArtifactStore};

/// Longer than anything takes here, shorter than anybody waits for a hanging test.
const PATIENCE: Duration = Duration::from_secs(20);

/// The component with a behaviour for each path; see tests/guests/README.md.
pub(crate) fn guests() -> Vec<u8> {
    prebuilt("guests.wasm")
}

pub(crate) fn prebuilt(name: &str) -> Vec<u8> {
    std::fs::read(prebuilt_path(name)).expect("tests/guests/prebuilt is committed")
}

pub(crate) fn prebuilt_path(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // What users begin with, and what was made for tests.
    root.join(if name.contains('/') { "" } else { "tests/guests/prebuilt" }).join(name)
}

pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_wisp-host"))
}

pub(crate) fn compiler() -> Compiler {
    Compiler { program: program().to_owned(), args: vec!["compile".into()] }
}

/// One store for all tests: a component is compiled once.
pub(crate) fn shared_store() -> ArtifactStore {
    ArtifactStore::open(&shared_folder(), compiler()).unwrap()
}

pub(crate) fn shared_folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("host-store")
}

pub(crate) async fn artifact(component: &str) -> Artifact {
    static GUESTS: OnceCell<Artifact> = OnceCell::const_new();
    let ensure = async || shared_store().ensure(&prebuilt(component)).await.unwrap();
    if component == "guests.wasm" { GUESTS.get_or_init(ensure).await.clone() } else { ensure().await }
}

/// `guests.wasm` with default limits: change what the test is about.
pub(crate) struct Given {
    pub(crate) component: &'static str,
    pub(crate) spec: HostSpec,
    pub(crate) network: Network,
}

pub(crate) fn given(component: &'static str) -> Given {
    let spec = HostSpec {
        namespace: "default".to_owned(),
        function: "guests".to_owned(),
        revision: "guests-00001".to_owned(),
        limits: Some(HostLimits::default()),
        concurrency: Some(HostConcurrency::default()),
        ..HostSpec::default()
    };
    Given { component, spec, network: Network::default() }
}

impl Given {
    pub(crate) fn limits(mut self, change: impl FnOnce(&mut HostLimits)) -> Self {
        change(self.spec.limits.as_mut().unwrap());
        self
    }

    pub(crate) fn slots(mut self, slots: u32) -> Self {
        self.spec.concurrency.as_mut().unwrap().slots = slots;
        self
    }

    pub(crate) fn reuse(mut self, requests: u32) -> Self {
        self.spec.concurrency.as_mut().unwrap().reuse_requests = requests;
        self
    }

    pub(crate) fn outbound(mut self, patterns: &[&str], network: Network) -> Self {
        self.spec.outbound = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        self.network = network;
        self
    }

    pub(crate) async fn served(self) -> Served {
        let artifact = artifact(self.component).await;
        let loaded = load(&artifact.path, shared_store().key(), &Runtimes::new(POOL_SLOTS_MAX)).unwrap();
        let host = Arc::new(Host::default());
        host.specialize(Revision::new(self.spec, loaded, Arc::clone(host.metrics()), &self.network).unwrap()).unwrap();
        let listener = Listener::bind(&"tcp:127.0.0.1:0".parse().unwrap()).await.unwrap();
        let Address::Tcp(address) = *listener.address() else { unreachable!() };
        let stop = Stop::default();
        tokio::spawn(serve(listener, Arc::clone(&host), stop.clone()));
        Served { host, address: address.to_string(), stop }
    }
}

/// A host that serves.
pub(crate) struct Served {
    pub(crate) host: Arc<Host>,
    pub(crate) address: String,
    pub(crate) stop: Stop,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cut.cancel();
        self.stop.drain.cancel();
    }
}

/// An answer, with all of its body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    pub(crate) trailers: HeaderMap,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Served {
    pub(crate) async fn get(&self, path: &str) -> Answer {
        read(self.send(get(path)).await).await.unwrap()
    }

    /// Over a connection of its own.
    pub(crate) async fn send<B>(&self, request: Request<B>) -> Response<Incoming>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut client = self.http1().await;
        within(client.send_request(request)).await.unwrap()
    }

    pub(crate) async fn http1<B>(&self) -> http1::SendRequest<B>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let stream = TcpStream::connect(&self.address).await.unwrap();
        let (client, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        client
    }

    pub(crate) async fn http2<B>(&self) -> http2::SendRequest<B>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let stream = TcpStream::connect(&self.address).await.unwrap();
        let (client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// Waits until `wanted` requests are in flight.
    pub(crate) async fn in_flight(&self, wanted: u32) {
        until(|| self.host.metrics().in_flight() == wanted).await;
    }
}

pub(crate) fn get(path: &str) -> Request<Empty<Bytes>> {
    Request::get(path).header("host", "guests.test").body(Empty::new()).unwrap()
}

pub(crate) fn post(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post(path).header("host", "guests.test").body(Full::new(body.into())).unwrap()
}

pub(crate) async fn read(response: Response<Incoming>) -> Result<Answer, hyper::Error> {
    let (head, body) = response.into_parts();
    let body = within(body.collect()).await?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    Ok(Answer { status: head.status, headers: head.headers, text, trailers })
}

pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("nothing takes this long")
}

pub(crate) async fn until(condition: impl Fn() -> bool) {
    within(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}
