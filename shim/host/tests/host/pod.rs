//! An instance as the first process of a function's pod: the folder of artifacts and the key at descriptors 3 and 4,
//! a control server with TLS, and all else from the environment.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wisp_api::wire::{self, InstanceState, InstanceUp, instance_down, instance_up};
use wisp_chassis::control::{Incoming, ServerTls, serve_tcp};

use crate::admin::ask;
use crate::process::{InstancePeer, next, order, specialize};
use crate::support::{artifact, program, shared_store, within};
use crate::tls::{Authority, authority};

/// Not where the server is, which has no name: what its certificate is for.
const NAME: &str = "wisp-autoscaler.wisp-system.svc";

/// The node and the autoscaler, as a pod finds them.
struct Surroundings {
    place: TempDir,
    authority: Authority,
    address: String,
    streams: mpsc::Receiver<Incoming>,
    shutdown: CancellationToken,
}

async fn surroundings() -> Surroundings {
    let place = tempfile::tempdir().unwrap();
    std::fs::create_dir(place.path().join("artifacts")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut surroundings = Surroundings {
        place,
        authority: authority(),
        address,
        streams: mpsc::channel(1).1,
        shutdown: CancellationToken::new(),
    };
    surroundings.control(listener);
    surroundings
}

impl Surroundings {
    fn control(&mut self, listener: TcpListener) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        let certificate = certificate.signed_by(&key, &self.authority).unwrap();
        let tls = ServerTls { certificate_pem: certificate.pem(), key_pem: key.serialize_pem(), client_ca_pem: None };
        let (sender, streams) = mpsc::channel(8);
        self.streams = streams;
        self.shutdown = CancellationToken::new();
        tokio::spawn(serve_tcp(listener, tls, sender, self.shutdown.clone()));
    }

    fn artifacts(&self) -> PathBuf {
        self.place.path().join("artifacts")
    }

    /// The guest, called `name` in the folder, where it is not yet.
    async fn called(&self, name: &str) -> wire::Artifact {
        wire::Artifact { digest: artifact("guests.wasm").await.digest, path: name.to_owned() }
    }

    /// As the node's agent does it: all at once.
    async fn fetched(&self, name: &str) {
        let partial = self.place.path().join("partial");
        std::fs::copy(artifact("guests.wasm").await.path, &partial).unwrap();
        std::fs::rename(partial, self.artifacts().join(name)).unwrap();
    }

    fn pod(&self) -> Pod {
        let variables = [
            ("WISP_CONTROL", format!("https://{}", self.address)),
            ("WISP_CONTROL_NAME", NAME.to_owned()),
            ("WISP_CONTROL_CA", self.authority.pem()),
            ("WISP_TOKEN", "proof".to_owned()),
            ("WISP_INSTANCE", "uid-1".to_owned()),
            ("WISP_NAMESPACE", "default".to_owned()),
            ("WISP_POD_IP", "10.9.8.7".to_owned()),
            // In the pod's own network it would be port 8080 of all addresses.
            ("WISP_LISTEN", "tcp:127.0.0.1:0".to_owned()),
        ];
        Pod { folder: self.artifacts(), key: shared_store().key_path(), variables: variables.into() }
    }

    async fn stream(&mut self) -> (InstancePeer, wire::InstanceHello) {
        let Some(Incoming::Instance(mut peer)) = within(self.streams.recv()).await else { panic!("not an instance") };
        match next(&mut peer).await {
            instance_up::Message::Hello(hello) => (peer, hello),
            other => panic!("{other:?} before the hello"),
        }
    }
}

struct Pod {
    folder: PathBuf,
    key: PathBuf,
    variables: Vec<(&'static str, String)>,
}

impl Pod {
    fn without(mut self, name: &str) -> Self {
        self.variables.retain(|(variable, _)| *variable != name);
        self
    }

    fn start(self) -> Child {
        // The shell opens the descriptors and then is the host.
        Command::new("/bin/sh")
            .args(["-c", "exec 3<\"$0\" 4<\"$1\"; exec \"$2\" instance"])
            .args([&self.folder, &self.key, Path::new(program())])
            .env_clear()
            .envs(self.variables)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }
}

fn terminate(child: &Child) {
    let pid = rustix::process::Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}

async fn code(child: &mut Child) -> Option<i32> {
    within(child.wait()).await.unwrap().code()
}

fn prepare(artifact: &wire::Artifact) -> instance_down::Message {
    instance_down::Message::Prepare(wire::Prepare { artifact: Some(artifact.clone()) })
}

async fn prepared(peer: &mut InstancePeer) -> wire::Prepared {
    match next(peer).await {
        instance_up::Message::Prepared(prepared) => prepared,
        other => panic!("{other:?} instead of the answer to prepare"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_prepares_becomes_its_revision_by_name_and_drains() {
    let mut around = surroundings().await;
    around.fetched("guests.wisp").await;
    let artifact = around.called("guests.wisp").await;
    let mut pod = around.pod().start();
    let (mut peer, hello) = around.stream().await;
    assert_eq!(
        (hello.instance.as_str(), hello.token.as_str(), hello.namespace.as_str()),
        ("uid-1", "proof", "default")
    );
    assert_eq!(hello.state(), InstanceState::Warm);
    let port = hello.address.strip_prefix("tcp:10.9.8.7:").expect("it announces the pod's address");

    order(&peer, prepare(&artifact)).await;
    assert_eq!(prepared(&mut peer).await.error, "");
    order(&peer, specialize("guests-00001", artifact)).await;
    let instance_up::Message::Ready(ready) = next(&mut peer).await else { panic!("not ready") };
    assert_eq!(ready.revision, "default/guests-00001");
    let address = format!("127.0.0.1:{port}");
    assert_eq!(ask(&address, "/hello").await.text, "hello\n");
    let seen = ask(&address, "/env-attack").await.text;
    assert!(!seen.contains("WISP_") && !seen.contains("BEGIN CERTIFICATE"), "{seen}");

    terminate(&pod);
    assert!(matches!(next(&mut peer).await, instance_up::Message::Draining(_)));
    assert_eq!(ask(&address, "/hello").await.status, 200);
    order(&peer, instance_down::Message::Drain(wire::Drain { deadline_millis: 0 })).await;
    assert_eq!(code(&mut pod).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_refused_finishes_what_it_has_and_says_why_it_ends() {
    let mut around = surroundings().await;
    around.fetched("guests.wisp").await;
    let artifact = around.called("guests.wisp").await;
    let mut pod = around.pod().start();
    let (mut peer, hello) = around.stream().await;
    let address = format!("127.0.0.1:{}", hello.address.strip_prefix("tcp:10.9.8.7:").unwrap());
    let refused = || instance_down::Message::Refused(wire::Refused { reason: "the test says so".to_owned() });
    // Once is not enough: it does not tell its clients to go.
    order(&peer, refused()).await;
    order(&peer, prepare(&artifact)).await;
    assert_eq!(prepared(&mut peer).await.error, "");
    assert_eq!(ask(&address, "/hello").await.header("connection"), "");
    order(&peer, specialize("guests-00001", artifact)).await;
    assert!(matches!(next(&mut peer).await, instance_up::Message::Ready(_)));
    let slow = tokio::spawn(async move { ask(&address, "/sleep?ms=6000").await });
    let is_on_its_way =
        |said: InstanceUp| matches!(said.message, Some(instance_up::Message::Report(report)) if report.in_flight == 1);
    while !is_on_its_way(within(peer.up.recv()).await.unwrap()) {}

    let ended = loop {
        // It may have gone.
        let _gone = peer.down.send(wire::InstanceDown { message: Some(refused()) }).await;
        if let Ok(ended) = tokio::time::timeout(Duration::from_millis(500), pod.wait()).await {
            break ended.unwrap();
        }
    };
    assert_eq!(slow.await.unwrap().status, 200);
    assert_eq!(ended.code(), Some(77));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_that_comes_late_is_waited_for_while_orders_are_answered() {
    let mut around = surroundings().await;
    around.fetched("there.wisp").await;
    let (late, there) = (around.called("late.wisp").await, around.called("there.wisp").await);
    let _pod = around.pod().start();
    let (mut peer, _) = around.stream().await;
    order(&peer, specialize("guests-00001", late)).await;
    let there = wire::Artifact { digest: "sha256:another".to_owned(), ..there };
    order(&peer, prepare(&there)).await;
    assert_eq!(prepared(&mut peer).await, wire::Prepared { digest: there.digest, error: String::new() });
    around.fetched("late.wisp").await;
    assert!(matches!(next(&mut peer).await, instance_up::Message::Ready(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_that_does_not_come_is_said_to_be_missing() {
    let mut around = surroundings().await;
    let never = around.called("never.wisp").await;
    let mut pod = around.pod().start();
    let (mut peer, _) = around.stream().await;
    order(&peer, prepare(&never)).await;
    let error = prepared(&mut peer).await.error;
    assert!(error.contains("never.wisp is not on this node"), "{error}");
    order(&peer, specialize("guests-00001", never)).await;
    let instance_up::Message::Failed(failed) = next(&mut peer).await else { panic!("not failed") };
    assert!(failed.message.contains("never.wisp is not on this node"), "{}", failed.message);
    assert_eq!(code(&mut pod).await, Some(66));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_names_of_files_in_the_folder_are_artifacts() {
    let mut around = surroundings().await;
    let absolute = artifact("guests.wasm").await.path.display().to_string();
    let _pod = around.pod().start();
    let (mut peer, _) = around.stream().await;
    for name in ["../token", &absolute, "", "."] {
        let artifact = around.called(name).await;
        order(&peer, prepare(&artifact)).await;
        let error = prepared(&mut peer).await.error;
        assert!(error.contains("is not the name of a file"), "{name}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proof_is_shown_to_a_new_leader_too() {
    let mut around = surroundings().await;
    let _pod = around.pod().start();
    let (peer, hello) = around.stream().await;
    assert_eq!(hello.token, "proof");
    around.shutdown.cancel();
    drop(peer);
    let listener = within(async {
        loop {
            match TcpListener::bind(&around.address).await {
                Ok(listener) => return listener,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    });
    let listener = listener.await;
    around.control(listener);
    assert_eq!(around.stream().await.1.token, "proof");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_said_by_the_exit_code() {
    let around = surroundings().await;
    let mut pod = around.pod().without("WISP_CONTROL_CA").start();
    assert_eq!(code(&mut pod).await, Some(64));
    let mut pod = around.pod().without("WISP_INSTANCE").start();
    assert_eq!(code(&mut pod).await, Some(64));
    let mut pod = Command::new(program()).arg("instance").envs(around.pod().variables).spawn().unwrap();
    assert_eq!(code(&mut pod).await, Some(66));
}
