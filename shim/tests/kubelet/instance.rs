//! Pods of functions: warm hosts that find compiled code on the node, and whom an autoscaler tells what to serve.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{OnceCell, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use wisp_api::wire::{self, InstanceState, instance_down, instance_up};
use wisp_chassis::control::{Incoming, Peer, ServerTls, serve_tcp};
use wisp_cluster::{Cluster, Image, until};
use wisp_identity::{InstallationKey, KEY_BYTES};

use crate::fixture::{PATIENCE, cluster, get, get_json, prebuilt, programs};

const NAMESPACE: &str = "tenant";
/// Of the node's store: what the agent fills.
const ARTIFACTS: &str = "/var/lib/wisp/store/artifacts";
/// By what name the node vouches for its pods here.
const NODE: &str = "node-a";
/// In the certificate; pods reach the server by its address.
const NAME: &str = "wisp-autoscaler.wisp-system.svc";

static ARTIFACT: OnceCell<wire::Artifact> = OnceCell::const_new();

type InstancePeer = Peer<wire::InstanceUp, wire::InstanceDown>;

/// What the node's key is derived from.
fn installation() -> InstallationKey {
    InstallationKey::new(&[7; KEY_BYTES]).unwrap()
}

/// The guest in the node's folder of artifacts, as its agent would have put it there, and a namespace for instances
/// that lets in nothing less than restricted pods.
async fn prepared(cluster: &Cluster) -> wire::Artifact {
    let prepare = async || {
        let restricted = "pod-security.kubernetes.io/enforce: restricted";
        let namespace =
            format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {NAMESPACE}, labels: {{{restricted}}}}}}}");
        cluster.apply(&namespace).await.unwrap();
        cluster.registry().push("instance:1", &Image::from_scratch()).await.unwrap();
        let script =
            "install -d -m 700 ${1%/*} && install -d -m 755 $1 && echo $3 >${1%/*}/node.key && $0 ensure --store $1 $2";
        let host = programs().unwrap().join("wisp-host").display().to_string();
        let guests = prebuilt("guests").display().to_string();
        let node_key = serde_json::to_string(&installation().of_node(NODE)).unwrap();
        let answer = cluster.exec(["bash", "-c", script, &host, ARTIFACTS, &guests, &node_key]).await.unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let text = |name: &str| answer[name].as_str().unwrap().to_owned();
        wire::Artifact { digest: text("digest"), path: text("path").rsplit('/').next().unwrap().to_owned() }
    };
    ARTIFACT.get_or_init(prepare).await.clone()
}

/// The autoscaler's end, on this machine.
struct Autoscaler {
    ca: String,
    address: String,
    streams: mpsc::Receiver<Incoming>,
    shutdown: CancellationToken,
}

impl Drop for Autoscaler {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

async fn autoscaler(cluster: &Cluster) -> Autoscaler {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![NAME.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let tls = ServerTls { certificate_pem: certificate.pem(), key_pem: key.serialize_pem(), client_ca_pem: None };
    let listener = TcpListener::bind((cluster.outside_ip(), 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, streams) = mpsc::channel(8);
    let shutdown = CancellationToken::new();
    tokio::spawn(serve_tcp(listener, tls, sender, shutdown.clone()));
    Autoscaler { ca: authority.pem(), address, streams, shutdown }
}

impl Autoscaler {
    /// The next instance that connects, and what it says first.
    async fn instance(&mut self, cluster: &Cluster, pod: &str) -> (InstancePeer, wire::InstanceHello) {
        match timeout(PATIENCE, self.streams.recv()).await {
            Ok(Some(Incoming::Instance(mut peer))) => match next(&mut peer).await {
                instance_up::Message::Hello(hello) => (peer, hello),
                other => panic!("{other:?} before the hello"),
            },
            Ok(other) => panic!("{other:?} is no instance"),
            Err(_) => panic!("nobody connected\n{}\n{:?}", describe(cluster, pod).await, log(cluster, pod).await),
        }
    }

    /// An instance as the operator makes it.
    async fn start(&self, cluster: &Cluster, name: &str) {
        let image = format!("{}/instance:1", cluster.registry().address());
        let of_the_pod = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "restartPolicy": "Never",
                "runtimeClassName": "wisp",
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "terminationGracePeriodSeconds": 40,
                "securityContext": {
                    "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [{
                    "name": "instance", "image": image, "command": ["wisp-instance"],
                    "ports": [{"containerPort": 8080}],
                    "env": [
                        {"name": "WISP_CONTROL", "value": format!("https://{}", self.address)},
                        {"name": "WISP_CONTROL_NAME", "value": NAME},
                        {"name": "WISP_CONTROL_CA", "value": self.ca},
                        of_the_pod("WISP_INSTANCE", "metadata.uid"),
                        of_the_pod("WISP_NAMESPACE", "metadata.namespace"),
                        of_the_pod("WISP_POD_IP", "status.podIP"),
                    ],
                    "securityContext": {
                        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [{"name": "scratch", "mountPath": "/mnt/scratch"}],
                }],
                "volumes": [{"name": "scratch", "emptyDir": {}}],
            },
        });
        // A namespace takes no pods before it has its service account.
        until("the pod is taken", PATIENCE, async || Ok(cluster.apply(&pod.to_string()).await.ok())).await.unwrap();
    }
}

/// The next message that is not one of the regular reports.
async fn next(peer: &mut InstancePeer) -> instance_up::Message {
    loop {
        let message = timeout(PATIENCE, peer.up.recv()).await.unwrap().expect("the stream is open").message.unwrap();
        if !matches!(message, instance_up::Message::Report(_)) {
            return message;
        }
    }
}

async fn order(peer: &InstancePeer, message: instance_down::Message) {
    peer.down.send(wire::InstanceDown { message: Some(message) }).await.unwrap();
}

fn specialize(artifact: wire::Artifact) -> instance_down::Message {
    let preopen =
        wire::Preopen { host_path: "/mnt/scratch".to_owned(), guest_path: "/data".to_owned(), writable: true };
    let spec = wire::HostSpec {
        namespace: NAMESPACE.to_owned(),
        function: "guests".to_owned(),
        revision: "guests-00001".to_owned(),
        artifact: Some(artifact),
        env: [("GREETING".to_owned(), "hi".to_owned())].into(),
        preopens: vec![preopen],
        ..wire::HostSpec::default()
    };
    instance_down::Message::Specialize(wire::Specialize { spec: Some(spec) })
}

fn drain() -> instance_down::Message {
    instance_down::Message::Drain(wire::Drain { deadline_millis: 0 })
}

async fn field(cluster: &Cluster, pod: &str, path: &str) -> String {
    let path = format!("jsonpath={path}");
    cluster.kubectl(["-n", NAMESPACE, "get", "pod", pod, "-o", &path]).await.unwrap()
}

async fn describe(cluster: &Cluster, pod: &str) -> String {
    cluster.kubectl(["-n", NAMESPACE, "describe", "pod", pod]).await.unwrap_or_default()
}

async fn log(cluster: &Cluster, pod: &str) -> anyhow::Result<String> {
    cluster.kubectl(["-n", NAMESPACE, "logs", pod]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_becomes_its_revision_serves_on_the_pods_address_and_succeeds() {
    let Some(cluster) = cluster().await else { return };
    let artifact = prepared(&cluster).await;
    let mut autoscaler = autoscaler(&cluster).await;
    autoscaler.start(&cluster, "becomes").await;
    let (mut peer, hello) = autoscaler.instance(&cluster, "becomes").await;
    assert_eq!((hello.state(), hello.namespace.as_str()), (InstanceState::Warm, NAMESPACE));
    assert_eq!(hello.instance, field(&cluster, "becomes", "{.metadata.uid}").await);
    let claim = installation().verify(&hello.token).unwrap();
    assert_eq!((claim.node.as_str(), claim.namespace.as_str(), claim.pod.as_str()), (NODE, NAMESPACE, "becomes"));
    assert_eq!(claim.uid, hello.instance);
    let ip = until("the pod has an address", PATIENCE, async || {
        let ip = field(&cluster, "becomes", "{.status.podIP}").await;
        Ok((!ip.is_empty()).then_some(ip))
    });
    let ip = ip.await.unwrap();
    assert_eq!(hello.address, format!("tcp:{ip}:8080"));

    order(&peer, instance_down::Message::Prepare(wire::Prepare { artifact: Some(artifact.clone()) })).await;
    let prepared = wire::Prepared { digest: artifact.digest.clone(), error: String::new() };
    assert_eq!(next(&mut peer).await, instance_up::Message::Prepared(prepared));
    order(&peer, specialize(artifact)).await;
    assert!(matches!(next(&mut peer).await, instance_up::Message::Ready(_)));
    let url = format!("http://{ip}:8080");
    assert_eq!(get(&format!("{url}/hello")).await, "hello\n");
    let seen = get_json(&format!("{url}/env-attack")).await;
    assert_eq!(seen["env"], json!({"GREETING": "hi"}), "{seen}");
    let seen = get_json(&format!("{url}/fs-attack")).await;
    assert_eq!((&seen["preopens"], &seen["wrote"]), (&json!(["/data"]), &json!(["/data"])), "{seen}");

    order(&peer, drain()).await;
    let phase = until("the pod has ended", PATIENCE, async || {
        let phase = field(&cluster, "becomes", "{.status.phase}").await;
        Ok((phase != "Running").then_some(phase))
    });
    assert_eq!(phase.await.unwrap(), "Succeeded", "{}", describe(&cluster, "becomes").await);
    let said = log(&cluster, "becomes").await.unwrap();
    assert!(said.contains("revision=\"tenant/guests-00001\""), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_instance_leaves_only_when_traffic_is_withdrawn() {
    let Some(cluster) = cluster().await else { return };
    let artifact = prepared(&cluster).await;
    let mut autoscaler = autoscaler(&cluster).await;
    autoscaler.start(&cluster, "leaves").await;
    let (mut peer, hello) = autoscaler.instance(&cluster, "leaves").await;
    order(&peer, specialize(artifact)).await;
    assert!(matches!(next(&mut peer).await, instance_up::Message::Ready(_)));
    let url = format!("http://{}", hello.address.trim_start_matches("tcp:"));
    assert_eq!(get(&format!("{url}/hello")).await, "hello\n");

    cluster.kubectl(["-n", NAMESPACE, "delete", "pod", "leaves", "--wait=false"]).await.unwrap();
    assert!(matches!(next(&mut peer).await, instance_up::Message::Draining(_)));
    assert_eq!(get(&format!("{url}/hello")).await, "hello\n");
    order(&peer, drain()).await;
    let gone = async || Ok(cluster.kubectl(["-n", NAMESPACE, "get", "pod", "leaves"]).await.err());
    until("the pod is gone", PATIENCE, gone).await.unwrap();
}
