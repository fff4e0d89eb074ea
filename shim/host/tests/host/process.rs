//! Hosts as processes of their own: signals, exit codes, and a life on the control stream.

use std::path::Path;
use std::process::{ExitStatus, Stdio};

use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wisp_api::wire::{self, InstanceState, instance_down, instance_up};
use wisp_chassis::control::{Incoming, Peer, serve_unix};

use crate::admin::ask;
use crate::support::{Answer, artifact, get, prebuilt_path, program, read, shared_folder, shared_store, until, within};

pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) lines: Lines<BufReader<ChildStdout>>,
}

fn start(args: &[&str]) -> Process {
    start_with(args, &[])
}

pub(crate) fn start_with(args: &[&str], env: &[(&str, &Path)]) -> Process {
    spawn(Command::new(program()).args(args).envs(env.iter().copied()))
}

fn spawn(command: &mut Command) -> Process {
    let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    Process { child, lines }
}

fn serve(component: &str, listen: &str) -> Process {
    let (component, cache) = (prebuilt_path(component), shared_folder());
    start(&["serve", component.to_str().unwrap(), "--listen", listen, "--cache", cache.to_str().unwrap()])
}

impl Process {
    pub(crate) fn terminate(&self) {
        let pid = rustix::process::Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// The next line, which must begin with `word`, without it.
    pub(crate) async fn line(&mut self, word: &str) -> String {
        let line = within(self.lines.next_line()).await.unwrap().expect("it says where it listens");
        line.strip_prefix(word).unwrap_or_else(|| panic!("{line} instead of {word}")).to_owned()
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        within(self.child.wait()).await.unwrap()
    }
}

async fn request(socket: &Path, path: &str) -> Answer {
    let stream = TokioIo::new(UnixStream::connect(socket).await.unwrap());
    let (mut client, connection) =
        hyper::client::conn::http1::handshake::<_, Empty<bytes::Bytes>>(stream).await.unwrap();
    tokio::spawn(connection);
    read(within(client.send_request(get(path))).await.unwrap()).await.unwrap()
}

fn folder() -> (TempDir, std::path::PathBuf, String) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("host.sock");
    let listen = format!("unix:{}", socket.display());
    (folder, socket, listen)
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_requests_in_flight_finish() {
    let (_folder, socket, listen) = folder();
    let mut process = serve("guests.wasm", &listen);
    assert_eq!(within(process.lines.next_line()).await.unwrap(), Some(format!("listening {listen}")));
    let stream = TokioIo::new(UnixStream::connect(&socket).await.unwrap());
    let (mut client, connection) =
        hyper::client::conn::http1::handshake::<_, Empty<bytes::Bytes>>(stream).await.unwrap();
    tokio::spawn(connection);
    let mut body = within(client.send_request(get("/slow-body?chunks=5&ms=100"))).await.unwrap().into_body();
    process.terminate();
    let mut text = Vec::new();
    while let Some(frame) = within(http_body_util::BodyExt::frame(&mut body)).await {
        text.extend(frame.unwrap().into_data().unwrap());
    }
    assert!(String::from_utf8(text).unwrap().ends_with("chunk 4\n"));
    assert_eq!(process.ended().await.code(), Some(0));
    assert!(!socket.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_cause_has_its_exit_code() {
    let (_folder, _socket, listen) = folder();
    assert_eq!(serve("core.wasm", &listen).ended().await.code(), Some(65));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("tcp:{}", taken.local_addr().unwrap());
    assert_eq!(serve("guests.wasm", &listen).ended().await.code(), Some(69));
}

/// The autoscaler's end of a control server in this process.
struct Control {
    _folder: TempDir,
    socket: std::path::PathBuf,
    listen: String,
    endpoint: std::path::PathBuf,
    streams: mpsc::Receiver<Incoming>,
    shutdown: CancellationToken,
}

pub(crate) type InstancePeer = Peer<wire::InstanceUp, wire::InstanceDown>;

async fn control() -> Control {
    let (folder, socket, listen) = folder();
    let endpoint = folder.path().join("control.sock");
    let mut control = Control {
        _folder: folder,
        socket,
        listen,
        endpoint,
        streams: mpsc::channel(1).1,
        shutdown: CancellationToken::new(),
    };
    control.begin().await;
    control
}

impl Control {
    async fn begin(&mut self) {
        let (sender, streams) = mpsc::channel(8);
        self.streams = streams;
        self.shutdown = CancellationToken::new();
        let (endpoint, shutdown) = (self.endpoint.clone(), self.shutdown.clone());
        tokio::spawn(async move { serve_unix(&endpoint, sender, shutdown).await });
        until(|| self.endpoint.exists()).await;
    }

    async fn warm(&self) -> Process {
        spawn(&mut self.warm_command())
    }

    fn warm_command(&self) -> Command {
        // Somebody must have made the installation's key.
        let key = shared_store().key_path();
        let token = self.endpoint.with_extension("token");
        std::fs::write(&token, "secret\n").unwrap();
        let control = format!("unix:{}", self.endpoint.display());
        let args = ["warm", "--control", &control, "--instance", "i-1", "--token-file", token.to_str().unwrap()];
        let parent = std::process::id().to_string();
        let rest = ["--listen", &self.listen, "--seal-key", key.to_str().unwrap(), "--exit-with-parent", &parent];
        let mut command = Command::new(program());
        command.args(args).args(rest);
        command
    }

    async fn stream(&mut self) -> (InstancePeer, wire::InstanceHello) {
        let Some(Incoming::Instance(mut peer)) = within(self.streams.recv()).await else { panic!("not an instance") };
        match next(&mut peer).await {
            instance_up::Message::Hello(hello) => (peer, hello),
            other => panic!("{other:?} before the hello"),
        }
    }
}

/// The next message that is not one of the regular reports.
pub(crate) async fn next(peer: &mut InstancePeer) -> instance_up::Message {
    loop {
        match within(peer.up.recv()).await.expect("the stream is open").message.unwrap() {
            instance_up::Message::Report(_) => {}
            message => return message,
        }
    }
}

pub(crate) async fn order(peer: &InstancePeer, message: instance_down::Message) {
    peer.down.send(wire::InstanceDown { message: Some(message) }).await.unwrap();
}

async fn wire_artifact() -> wire::Artifact {
    let artifact = artifact("guests.wasm").await;
    wire::Artifact { digest: artifact.digest, path: artifact.path.display().to_string() }
}

pub(crate) fn specialize(revision: &str, artifact: wire::Artifact) -> instance_down::Message {
    let spec = wire::HostSpec {
        namespace: "default".to_owned(),
        function: "guests".to_owned(),
        revision: revision.to_owned(),
        artifact: Some(artifact),
        ..wire::HostSpec::default()
    };
    instance_down::Message::Specialize(wire::Specialize { spec: Some(spec) })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_instance_whose_parent_is_gone_already_does_not_stay() {
    // Which it finds out before it looks at anything that it was given.
    let nothing = ["--control", "unix:/no", "--token-fd", "0", "--listen", "unix:/no", "--seal-key", "/no"];
    let mut process = start(&[&["warm", "--instance", "i-1", "--exit-with-parent", "4194305"][..], &nothing].concat());
    assert!(process.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_instance_prepares_becomes_one_revision_and_drains() {
    let mut control = control().await;
    let artifact = wire_artifact().await;
    let mut process = control.warm().await;
    let (mut peer, hello) = control.stream().await;
    assert_eq!((hello.instance.as_str(), hello.token.as_str(), hello.namespace.as_str()), ("i-1", "secret", "default"));
    assert_eq!((hello.state(), hello.address.as_str()), (InstanceState::Warm, control.listen.as_str()));
    let answer = request(&control.socket, "/hello").await;
    assert_eq!((answer.status.as_u16(), answer.header("x-wisp-refused")), (503, "warm"));

    order(&peer, instance_down::Message::Prepare(wire::Prepare { artifact: Some(artifact.clone()) })).await;
    let expected = wire::Prepared { digest: artifact.digest.clone(), error: String::new() };
    assert_eq!(next(&mut peer).await, instance_up::Message::Prepared(expected));

    order(&peer, specialize("guests-00001", artifact.clone())).await;
    let instance_up::Message::Ready(ready) = next(&mut peer).await else { panic!("not ready") };
    assert_eq!((ready.revision.as_str(), ready.slots), ("default/guests-00001", 100));
    assert_eq!(request(&control.socket, "/hello").await.text, "hello\n");

    process.terminate();
    assert!(matches!(next(&mut peer).await, instance_up::Message::Draining(_)));
    // Until traffic is withdrawn, nothing is refused.
    assert_eq!(request(&control.socket, "/hello").await.status, 200);
    order(&peer, instance_down::Message::Drain(wire::Drain { deadline_millis: 0 })).await;
    assert_eq!(process.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_revision_is_refused_and_ends_the_instance() {
    let mut control = control().await;
    let artifact = wire_artifact().await;
    let mut process = control.warm().await;
    let (mut peer, _) = control.stream().await;
    order(&peer, specialize("guests-00001", artifact.clone())).await;
    assert!(matches!(next(&mut peer).await, instance_up::Message::Ready(_)));
    order(&peer, specialize("guests-00002", artifact)).await;
    let instance_up::Message::Failed(failed) = next(&mut peer).await else { panic!("not refused") };
    assert!(failed.message.contains("serves default/guests-00001 already"), "{}", failed.message);
    assert_eq!(process.ended().await.code(), Some(64));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_that_is_not_ours_is_never_loaded() {
    let mut control = control().await;
    let mut process = control.warm().await;
    let (mut peer, _) = control.stream().await;
    let path = prebuilt_path("guests.wasm").display().to_string();
    let foreign = wire::Artifact { digest: "sha256:00".to_owned(), path };
    order(&peer, instance_down::Message::Prepare(wire::Prepare { artifact: Some(foreign.clone()) })).await;
    let instance_up::Message::Prepared(prepared) = next(&mut peer).await else { panic!("no answer") };
    assert!(prepared.error.contains("not a sealed artifact"), "{}", prepared.error);
    order(&peer, specialize("guests-00001", foreign)).await;
    assert!(matches!(next(&mut peer).await, instance_up::Message::Failed(_)));
    assert_eq!(process.ended().await.code(), Some(66));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_leader_hears_the_full_state_and_serving_never_stopped() {
    let mut control = control().await;
    let artifact = wire_artifact().await;
    let mut process = control.warm().await;
    let (mut peer, _) = control.stream().await;
    order(&peer, specialize("guests-00001", artifact)).await;
    assert!(matches!(next(&mut peer).await, instance_up::Message::Ready(_)));
    control.shutdown.cancel();
    drop(peer);
    assert_eq!(request(&control.socket, "/hello").await.status, 200);
    control.begin().await;
    let (_peer, hello) = control.stream().await;
    assert_eq!((hello.state(), hello.revision.as_str()), (InstanceState::Ready, "default/guests-00001"));
    assert_eq!(hello.slots, 100);
    process.child.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn load_is_reported_at_its_edges() {
    let mut control = control().await;
    let artifact = wire_artifact().await;
    let _process = control.warm().await;
    let (mut peer, _) = control.stream().await;
    order(&peer, specialize("guests-00001", artifact)).await;
    assert!(matches!(next(&mut peer).await, instance_up::Message::Ready(_)));
    let socket = control.socket.clone();
    let running = tokio::spawn(async move { request(&socket, "/sleep?ms=2000").await });
    for busy in [1, 0] {
        loop {
            let message = within(peer.up.recv()).await.unwrap().message.unwrap();
            if matches!(message, instance_up::Message::Report(report) if report.in_flight == busy) {
                break;
            }
        }
    }
    assert_eq!(running.await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_ready_when_it_has_its_revision_and_until_it_leaves() {
    let mut control = control().await;
    let artifact = wire_artifact().await;
    let mut command = control.warm_command();
    command.args(["--admin-listen", "127.0.0.1:0"]).env("WISP_LOG", "info").stderr(Stdio::piped());
    let mut process = spawn(&mut command);
    let mut log = BufReader::new(process.child.stderr.take().unwrap()).lines();
    let admin = within(async {
        loop {
            let line = log.next_line().await.unwrap().expect("it says where its admin port is");
            if let Some((_, address)) = line.split_once(" admin=") {
                return address.to_owned();
            }
        }
    });
    let admin = admin.await;
    let (mut peer, _) = control.stream().await;
    assert_eq!(ask(&admin, "/live").await.status, 200);
    assert_eq!(ask(&admin, "/ready").await.status, 503);
    order(&peer, specialize("guests-00001", artifact)).await;
    assert!(matches!(next(&mut peer).await, instance_up::Message::Ready(_)));
    assert_eq!(ask(&admin, "/ready").await.status, 200);
    assert!(ask(&admin, "/dump").await.text.contains("\"name\":\"default/guests-00001\""));
    process.terminate();
    assert!(matches!(next(&mut peer).await, instance_up::Message::Draining(_)));
    assert_eq!(ask(&admin, "/ready").await.status, 503);
    assert_eq!(ask(&admin, "/live").await.status, 200);
    order(&peer, instance_down::Message::Drain(wire::Drain { deadline_millis: 0 })).await;
    assert_eq!(process.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_needs_no_stream() {
    let mut control = control().await;
    let mut process = control.warm().await;
    let _stream = control.stream().await;
    control.shutdown.cancel();
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0));
}
