//! A cluster with Wisp's objects, autoscalers as processes beside it, and what an operator would make.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use wisp_api::{WasmFunction, WasmRevision};
use wisp_chassis::control::{ClientTls, ControlEndpoint};
use wisp_cluster::{Lent, Settings, Shared, until};
use wisp_identity::{InstallationKey, KEY_BYTES};

/// Generous: the machine may be busy. A test that passes never waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Wisp's own namespace.
pub(crate) const SYSTEM: &str = "wisp-system";
/// The functions' namespace.
pub(crate) const SHOP: &str = "shop";

/// Where the pods of tests are. No kubelet runs it, so nothing becomes of them.
pub(crate) const NODE: &str = "elsewhere";

const IDENTITY_KEY: [u8; KEY_BYTES] = [7; KEY_BYTES];
const SERVER_NAME: &str = "wisp-autoscaler";
const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

static CLUSTER: Shared = Shared::new(Settings::default);
static PREPARED: OnceCell<()> = OnceCell::const_new();
// There is one lease: the tests take turns.
static TURN: Mutex<()> = Mutex::const_new(());

/// The cluster in the hands of one test.
pub(crate) struct Rig {
    pub(crate) cluster: Lent,
    pub(crate) client: Client,
    tls: TempDir,
    ca_pem: String,
    _turn: MutexGuard<'static, ()>,
}

/// An autoscaler, which is killed when this is dropped.
pub(crate) struct Autoscaler {
    pub(crate) child: Child,
}

impl Autoscaler {
    /// Sends it a signal, such as `-TERM`.
    pub(crate) async fn signal(&self, name: &str) {
        let pid = self.child.id().expect("it runs").to_string();
        assert!(Command::new("kill").args([name, &pid]).status().await.unwrap().success());
    }
}

/// None where no cluster can run.
pub(crate) async fn rig() -> Option<Rig> {
    let turn = TURN.lock().await;
    let cluster = CLUSTER.get().await?;
    let client = cluster.client().await.unwrap();
    PREPARED.get_or_init(|| prepare(&cluster, &client)).await;
    let (tls, ca_pem) = certificates();
    let rig = Rig { cluster, client, tls, ca_pem, _turn: turn };
    rig.clean().await;
    Some(rig)
}

async fn prepare(cluster: &Lent, client: &Client) {
    let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds");
    for file in ["wasmfunctions.yaml", "wasmrevisions.yaml", "warmpools.yaml"] {
        cluster.apply(&std::fs::read_to_string(crds.join(file)).unwrap()).await.unwrap();
    }
    cluster.definitions_are_served().await.unwrap();
    // Pods of a node that is not there are deleted after a while.
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}});
    cluster.apply(&node.to_string()).await.unwrap();
    for name in [SYSTEM, SHOP] {
        let namespace = serde_json::from_value::<Namespace>(json!({"metadata": {"name": name}})).unwrap();
        Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    }
    for (namespace, name) in [(SYSTEM, "wisp-activator"), (SYSTEM, "stranger"), (SHOP, "hosts")] {
        let account = serde_json::from_value::<ServiceAccount>(json!({"metadata": {"name": name}})).unwrap();
        Api::namespaced(client.clone(), namespace).create(&PostParams::default(), &account).await.unwrap();
    }
    let pool = json!({"apiVersion": "wisp.dev/v1alpha1", "kind": "WarmPool",
        "metadata": {"name": "default", "namespace": SHOP}, "spec": {}});
    cluster.apply(&pool.to_string()).await.unwrap();
}

fn certificates() -> (TempDir, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let ca_pem = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![SERVER_NAME.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tls.crt"), certificate.pem()).unwrap();
    std::fs::write(folder.path().join("tls.key"), key.serialize_pem()).unwrap();
    std::fs::write(folder.path().join("identity.key"), IDENTITY_KEY).unwrap();
    (folder, ca_pem)
}

impl Rig {
    /// What an earlier test left.
    async fn clean(&self) {
        for kind in ["wasmfunctions", "wasmrevisions", "pods", "secrets"] {
            let delete = ["delete", kind, "--all", "--namespace", SHOP, "--grace-period=0", "--force"];
            self.cluster.kubectl(delete).await.unwrap();
        }
        let delete = ["delete", "lease,endpointslice", "wisp-autoscaler", "--namespace", SYSTEM, "--ignore-not-found"];
        self.cluster.kubectl(delete).await.unwrap();
    }

    /// Starts an autoscaler by the name of its pod.
    pub(crate) fn autoscaler(&self, pod: &str) -> Autoscaler {
        let (certificate, key) = (self.tls.path().join("tls.crt"), self.tls.path().join("tls.key"));
        let log = std::fs::File::create(self.cluster.logs().join(format!("{pod}.log"))).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_wisp-autoscaler"))
            .args(["--kubernetes", "--listen", "0.0.0.0:0", "--admin", "127.0.0.1:0", "--settle", "1"])
            .arg("--control-cert")
            .arg(certificate)
            .arg("--control-key")
            .arg(key)
            .arg("--identity-key")
            .arg(self.tls.path().join("identity.key"))
            .env("KUBECONFIG", self.cluster.kubeconfig())
            .env("POD_NAMESPACE", SYSTEM)
            .env("POD_NAME", pod)
            .env("POD_IP", self.cluster.outside_ip().to_string())
            .env("WISP_LOG", "info,wisp_autoscaler=debug")
            .env_remove("HTTPS_PROXY")
            .env_remove("https_proxy")
            .stderr(Stdio::from(log))
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Autoscaler { child }
    }

    pub(crate) async fn until_logged(&self, pod: &str, text: &str) {
        let log = self.cluster.logs().join(format!("{pod}.log"));
        let logged = until(text, PATIENCE, async || Ok(std::fs::read_to_string(&log)?.contains(text).then_some(())));
        logged.await.unwrap();
    }

    /// Where the Service leads, when it leads elsewhere than to `before`.
    pub(crate) async fn leader_besides(&self, before: Option<SocketAddr>) -> SocketAddr {
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), SYSTEM);
        let leader = until("there is a leader", PATIENCE, async || {
            let Some(slice) = slices.get_opt("wisp-autoscaler").await? else { return Ok(None) };
            assert_eq!(slice.labels()["kubernetes.io/service-name"], "wisp-autoscaler");
            let port = slice.ports.as_ref().unwrap()[0].port.unwrap();
            let address = format!("{}:{port}", slice.endpoints[0].addresses[0]);
            Ok(Some(address.parse().unwrap()).filter(|address| Some(*address) != before))
        });
        leader.await.unwrap()
    }

    pub(crate) fn endpoint(&self, leader: SocketAddr) -> ControlEndpoint {
        let tls = ClientTls { ca_pem: self.ca_pem.clone(), identity: None, server_name: Some(SERVER_NAME.to_owned()) };
        format!("https://{leader}").parse::<ControlEndpoint>().unwrap().with_tls(tls)
    }

    /// A function with one revision that is compiled and gets all traffic.
    pub(crate) async fn function(&self, name: &str, scaling: Value) {
        self.function_with_environment(name, scaling, json!([])).await;
    }

    /// The same, with `spec.env`.
    pub(crate) async fn function_with_environment(&self, name: &str, scaling: Value, env: Value) {
        let (revision, template) =
            (format!("{name}-00001"), json!({"component": {"image": "a/b:1"}, "scaling": scaling, "env": env}));
        let object = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "wisp.dev/v1alpha1", "kind": kind, "metadata": {"name": name, "namespace": SHOP}, "spec": spec});
        self.cluster.apply(&object("WasmFunction", name, template.clone()).to_string()).await.unwrap();
        let spec = json!({"function": name, "digest": format!("sha256:{name}"), "template": template});
        self.cluster.apply(&object("WasmRevision", &revision, spec).to_string()).await.unwrap();
        let status = json!({"status": {"replicas": 0, "selector": "",
            "artifacts": [{"architecture": ARCHITECTURE, "file": "f1", "bytes": 7}]}});
        let (parameters, revisions) = (PatchParams::default(), self.revisions());
        revisions.patch_status(&revision, &parameters, &Patch::Merge(status)).await.unwrap();
        let status = json!({"status": {"replicas": 0, "traffic": [{"revision": revision, "percent": 100}]}});
        let functions: Api<WasmFunction> = Api::namespaced(self.client.clone(), SHOP);
        functions.patch_status(name, &parameters, &Patch::Merge(status)).await.unwrap();
    }

    /// A pod as the operator makes it, but no kubelet runs it.
    pub(crate) async fn pod(&self, name: &str, label: (&str, &str)) -> Pod {
        let pod = json!({
            "metadata": {"name": name, "labels": {"wisp.dev/instance": "true", label.0: label.1}},
            "spec": {
                "serviceAccountName": "hosts",
                "restartPolicy": "Never",
                "nodeName": NODE,
                "tolerations": [{"operator": "Exists"}],
                "containers": [{"name": "instance", "image": "none:1"}],
            },
        });
        self.pods().create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap()
    }

    /// The proof that `node` gives to a pod.
    pub(crate) fn proof(&self, node: &str, pod: &Pod) -> String {
        let key = InstallationKey::new(&IDENTITY_KEY).unwrap().of_node(node);
        let uid = pod.metadata.uid.as_deref().unwrap();
        key.sign(&pod.namespace().unwrap(), &pod.name_any(), uid).unwrap()
    }

    /// A token of an account.
    pub(crate) async fn token(&self, account: (&str, &str), audience: &str) -> String {
        let spec = TokenRequestSpec {
            audiences: vec![audience.to_owned()],
            expiration_seconds: Some(3600),
            ..TokenRequestSpec::default()
        };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), account.0);
        let answer = accounts.create_token_request(account.1, &PostParams::default(), &request).await.unwrap();
        answer.status.unwrap().token
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), SHOP)
    }

    pub(crate) fn revisions(&self) -> Api<WasmRevision> {
        Api::namespaced(self.client.clone(), SHOP)
    }

    pub(crate) async fn until_replicas(&self, revision: &str, wanted: u32) {
        let what = format!("{revision} is scaled to {wanted}");
        let scaled = until(&what, PATIENCE, async || {
            Ok((self.revisions().get(revision).await?.spec.replicas == wanted).then_some(()))
        });
        scaled.await.unwrap();
    }
}
