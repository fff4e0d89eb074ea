//! The activator under test, and what stands around it.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use wisp_activator::{Activator, Config, Index, RevisionSnapshot};
use wisp_api::key::FunctionKey;
use wisp_api::route::{FunctionRoute, HostClaim, RequestLimits, RouteTarget};
use wisp_api::wire::{self, DemandDown, DemandUp, demand_down, demand_up};
use wisp_chassis::control::{Link, LinkEvent};

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) type Body = BoxBody<Bytes, std::io::Error>;

/// Waits for something that must happen.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("did not happen: {what}"))
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    eventually(what, async || holds()).await;
}

/// The same, of what takes a moment to find out.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    soon(what, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

// ---- The activator ----

pub(crate) struct Rig {
    pub(crate) addr: SocketAddr,
    pub(crate) index: Arc<Index>,
    pub(crate) autoscaler: Autoscaler,
    pub(crate) shutdown: CancellationToken,
    pub(crate) running: JoinHandle<()>,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new("127.0.0.1:0".parse().unwrap(), "activator-1");
        change(&mut config);
        let activator = Activator::build(config, &mut Registry::default()).unwrap();
        let (addr, index) = (activator.local_addr(), activator.index());
        let (up, messages) = mpsc::channel(256);
        let (events, events_receiver) = mpsc::channel(256);
        let shutdown = CancellationToken::new();
        let link = Link { up, events: events_receiver };
        let running = tokio::spawn(activator.run(link, shutdown.clone()));
        let mut autoscaler = Autoscaler { messages, events, sequence: 0 };
        autoscaler.connect().await;
        Self { addr, index, autoscaler, shutdown, running }
    }

    /// Applies a function.
    pub(crate) fn deploy(&self, route: FunctionRoute) {
        self.index.apply(route);
    }

    pub(crate) fn revision(&self, name: &str) -> RevisionSnapshot {
        self.index.revision(name).expect("the revision is known")
    }

    /// Waits until a revision has this many requests in line and at instances.
    pub(crate) async fn until_demand(&self, name: &str, waiting: u32, in_flight: u32) {
        until(&format!("{waiting} waiting and {in_flight} in flight"), || {
            let now = self.revision(name);
            (now.waiting, now.in_flight) == (waiting, in_flight)
        })
        .await;
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.addr).await
    }
}

/// The other end of the control stream.
pub(crate) struct Autoscaler {
    pub(crate) messages: mpsc::Receiver<DemandUp>,
    pub(crate) events: mpsc::Sender<LinkEvent<DemandDown>>,
    sequence: u64,
}

impl Autoscaler {
    /// Opens the stream, and hears the hello and the full report.
    pub(crate) async fn connect(&mut self) -> wire::DemandReport {
        self.events.send(LinkEvent::Connected).await.unwrap();
        let hello = self.next("hello", |message| match message {
            demand_up::Message::Hello(hello) => Some(hello),
            _ => None,
        });
        let wanted =
            wire::DemandHello { protocol: wire::PROTOCOL, activator: "activator-1".into(), token: String::new() };
        assert_eq!(hello.await, wanted);
        self.next("full report", |message| match message {
            demand_up::Message::Report(report) if report.full => Some(report),
            _ => None,
        })
        .await
    }

    /// The next message that `pick` takes; others are passed over.
    pub(crate) async fn next<T>(&mut self, what: &str, pick: impl Fn(demand_up::Message) -> Option<T>) -> T {
        soon(what, async {
            loop {
                let message = self.messages.recv().await.expect("the activator runs");
                if let Some(found) = message.message.and_then(&pick) {
                    return found;
                }
            }
        })
        .await
    }

    pub(crate) async fn next_wake(&mut self) -> wire::Wake {
        self.next("wake", |message| match message {
            demand_up::Message::Wake(wake) => Some(wake),
            _ => None,
        })
        .await
    }

    pub(crate) async fn tell(&mut self, message: demand_down::Message) {
        self.events.send(LinkEvent::Message(DemandDown { message: Some(message) })).await.unwrap();
    }

    /// Names the endpoints of one revision, and waits until that has been applied.
    pub(crate) async fn endpoints(&mut self, revision: &str, endpoints: &[wire::Endpoint]) {
        self.sequence += 1;
        let sequence = self.sequence;
        let named = wire::RevisionEndpoints { revision: revision.into(), endpoints: endpoints.to_vec() };
        let update = wire::EndpointsUpdate { sequence, full: false, revisions: vec![named] };
        self.tell(demand_down::Message::Endpoints(update)).await;
        self.next("applied", |message| match message {
            demand_up::Message::Applied(applied) if applied.sequence == sequence => Some(()),
            _ => None,
        })
        .await;
    }
}

/// A function `default/<name>` with one revision, at `<name>.test`.
pub(crate) fn function(name: &str) -> FunctionRoute {
    let key = FunctionKey::new("default", name);
    let limits =
        RequestLimits { timeout: PATIENCE, request_body_bytes: 1 << 40, queue_requests: 1000, queue_bytes: 64 << 20 };
    FunctionRoute {
        claims: vec![HostClaim { host: format!("{name}.test"), path: "/".into(), tag: None }],
        targets: vec![RouteTarget { revision: key.revision(1), percent: 100, tag: None, limits }],
        created_unix_seconds: 1,
        function: key,
    }
}

/// Changes the limits of a function.
pub(crate) fn limited(mut route: FunctionRoute, change: impl FnOnce(&mut RequestLimits)) -> FunctionRoute {
    change(&mut route.targets[0].limits);
    route
}

// ---- Instances ----

type Handler = Arc<dyn Fn(Request<Incoming>) -> BoxFuture<'static, Response<Body>> + Send + Sync>;

/// A server that stands for a host.
pub(crate) struct Instance {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) requests: Arc<AtomicU64>,
    connections: Arc<AtomicUsize>,
    pub(crate) in_flight: Arc<AtomicUsize>,
    handler: Handler,
    task: Option<AbortHandle>,
    folder: Option<tempfile::TempDir>,
}

/// Counts a request until it is answered or cancelled, or a connection until it is closed.
struct InFlight(Arc<AtomicUsize>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Instance {
    /// Listens on TCP.
    pub(crate) async fn tcp<F, R>(name: &str, handler: F) -> Self
    where
        F: Fn(Request<Incoming>) -> R + Send + Sync + 'static,
        R: Future<Output = Response<Body>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("tcp:{}", listener.local_addr().unwrap());
        let mut instance = Self::new(name, address, boxed(handler));
        let serve = instance.server();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                connections.spawn(serve(Box::new(stream)));
            }
        });
        instance.task = Some(task.abort_handle());
        instance
    }

    /// Listens on a Unix socket.
    pub(crate) async fn unix<F, R>(name: &str, handler: F) -> Self
    where
        F: Fn(Request<Incoming>) -> R + Send + Sync + 'static,
        R: Future<Output = Response<Body>> + Send + 'static,
    {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("http.sock");
        let mut instance = Self::new(name, format!("unix:{}", path.display()), boxed(handler));
        instance.folder = Some(folder);
        instance.listen(path);
        instance
    }

    fn new(name: &str, address: String, handler: Handler) -> Self {
        let (requests, connections, in_flight) = Default::default();
        Self { name: name.into(), address, requests, connections, in_flight, handler, task: None, folder: None }
    }

    fn server(&self) -> impl Fn(Box<dyn Io>) -> BoxFuture<'static, ()> + use<> {
        let serve = server(Arc::clone(&self.handler), Arc::clone(&self.requests), Arc::clone(&self.in_flight));
        let connections = Arc::clone(&self.connections);
        move |stream| {
            connections.fetch_add(1, Ordering::SeqCst);
            let (open, served) = (InFlight(Arc::clone(&connections)), serve(stream));
            Box::pin(async move {
                let _open = open;
                served.await;
            })
        }
    }

    fn listen(&mut self, path: PathBuf) {
        let _gone = std::fs::remove_file(&path);
        let listener = UnixListener::bind(path).unwrap();
        let serve = self.server();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(Box::new(stream)));
            }
        });
        self.task = Some(task.abort_handle());
    }

    /// Dies like a process that is killed: all sockets are closed at once.
    pub(crate) fn kill(&self) {
        self.task.iter().for_each(AbortHandle::abort);
    }

    /// The same, and waits until they are.
    pub(crate) async fn killed(&self) {
        self.kill();
        until("its connections are closed", || self.connections() == 0).await;
    }

    /// Begins again at the same Unix socket.
    pub(crate) fn revive(&mut self) {
        let path = self.folder.as_ref().expect("listens on a Unix socket").path().join("http.sock");
        self.listen(path);
    }

    /// As the autoscaler names it.
    pub(crate) fn endpoint(&self, slots: u32) -> wire::Endpoint {
        wire::Endpoint { instance: self.name.clone(), address: self.address.clone(), slots, start_micros: 0 }
    }

    /// Connections to it that are open.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

fn boxed<F, R>(handler: F) -> Handler
where
    F: Fn(Request<Incoming>) -> R + Send + Sync + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    Arc::new(move |request| Box::pin(handler(request)))
}

fn server(
    handler: Handler,
    requests: Arc<AtomicU64>,
    in_flight: Arc<AtomicUsize>,
) -> impl Fn(Box<dyn Io>) -> BoxFuture<'static, ()> {
    move |stream| {
        let (handler, requests, in_flight) = (Arc::clone(&handler), Arc::clone(&requests), Arc::clone(&in_flight));
        let service = service_fn(move |request| {
            requests.fetch_add(1, Ordering::SeqCst);
            in_flight.fetch_add(1, Ordering::SeqCst);
            let guard = InFlight(Arc::clone(&in_flight));
            let answer = handler(request);
            async move {
                let _guard = guard;
                Ok::<_, Infallible>(answer.await)
            }
        });
        Box::pin(async move {
            let _ended = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        })
    }
}

pub(crate) fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never| match never {}).boxed()
}

/// Answers with its name.
pub(crate) fn says(name: &str) -> impl Fn(Request<Incoming>) -> BoxFuture<'static, Response<Body>> + use<> {
    let name = name.to_owned();
    move |_| {
        let answer = Response::new(full(name.clone()));
        Box::pin(async { answer })
    }
}

/// Answers once the gate lets it through, with the request's path; notes the order in which requests come.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) gate: Arc<Semaphore>,
    pub(crate) seen: Arc<Mutex<Vec<String>>>,
}

impl Gate {
    pub(crate) fn closed() -> Self {
        Self { gate: Arc::new(Semaphore::new(0)), seen: Arc::default() }
    }

    pub(crate) fn open(&self, requests: usize) {
        self.gate.add_permits(requests);
    }

    pub(crate) fn handler(&self) -> impl Fn(Request<Incoming>) -> BoxFuture<'static, Response<Body>> + use<> {
        let this = self.clone();
        move |request| {
            let this = this.clone();
            let path = request.uri().path().to_owned();
            this.seen.lock().unwrap().push(path.clone());
            Box::pin(async move {
                this.gate.acquire().await.unwrap().forget();
                Response::new(full(path))
            })
        }
    }
}

// ---- Clients ----

/// An HTTP/1.1 client with one connection.
pub(crate) struct Client {
    pub(crate) sender: hyper::client::conn::http1::SendRequest<Body>,
    connection: AbortHandle,
}

impl Client {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(async move { _ = connection.await }).abort_handle();
        Self { sender, connection }
    }

    pub(crate) async fn send(&mut self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        soon("the connection is ready", self.sender.ready()).await?;
        self.sender.send_request(request).await
    }

    pub(crate) async fn get(&mut self, host: &str, path: &str) -> Answer {
        let response = soon("an answer", self.send(get(host, path))).await.unwrap();
        Answer::read(response).await
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

pub(crate) fn get(host: &str, path: &str) -> Request<Body> {
    let body = Empty::new().map_err(|never| match never {}).boxed();
    Request::get(path).header("host", host).body(body).unwrap()
}

pub(crate) fn post(host: &str, path: &str, body: Body) -> Request<Body> {
    Request::post(path).header("host", host).body(body).unwrap()
}

/// An answer that was read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) async fn read(response: Response<Incoming>) -> Self {
        let (parts, body) = response.into_parts();
        let body = soon("the end of the answer", body.collect()).await.unwrap().to_bytes();
        let body = String::from_utf8_lossy(&body).into_owned();
        Self { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) fn error(&self) -> &str {
        self.headers.get("x-wisp-error").map_or("", |word| word.to_str().unwrap())
    }
}

/// Sends a request on a connection of its own, and goes on.
pub(crate) fn spawn_get(addr: SocketAddr, host: &'static str, path: &str) -> JoinHandle<Answer> {
    let path = path.to_owned();
    tokio::spawn(async move { Client::connect(addr).await.get(host, &path).await })
}
