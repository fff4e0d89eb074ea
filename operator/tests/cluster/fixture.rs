//! The shared cluster, and an operator beside it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use wisp_cluster::{Cluster, Lent, Settings, Shared, ask, until};

static CLUSTER: Shared = Shared::new(Settings::default);
static OPERATOR: OnceCell<Operator> = OnceCell::const_new();

/// What is asked for here takes a second on an idle machine; this one may be building next door.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
const SYSTEM: &str = "wisp-system";

/// What an operator shows at its admin port.
pub(crate) async fn shown(admin: SocketAddr, path: &str) -> Result<String> {
    ask(&format!("http://{admin}/{path}"), PATIENCE).await
}

/// Whether it says that it leads.
pub(crate) async fn leads(admin: SocketAddr) -> bool {
    shown(admin, "dump").await.is_ok_and(|dump| dump.contains("\"leads\":true"))
}

/// A running operator, and its cluster.
pub(crate) struct Operator {
    cluster: Lent,
    admin: SocketAddr,
    artifacts: SocketAddr,
    folder: tempfile::TempDir,
    _process: Process,
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ended = self.0.kill();
    }
}

/// The operator of all tests; none where no cluster can run, or the host was not built.
pub(crate) async fn operator() -> Option<&'static Operator> {
    let host = Path::new(env!("CARGO_BIN_EXE_wisp-operator")).with_file_name("wisp-host");
    if !host.exists() {
        eprintln!("left out: {} is not built", host.display());
        return None;
    }
    let cluster = CLUSTER.get().await?;
    Some(OPERATOR.get_or_init(async || Operator::start(cluster, &host).await).await)
}

/// The kind of the Gateway API with as much of its schema as is needed here. Nobody follows it.
fn http_routes() -> Value {
    let schema = json!({"type": "object", "properties": {"spec": {
        "type": "object", "x-kubernetes-preserve-unknown-fields": true}}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "httproutes.gateway.networking.k8s.io",
            "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"},
        },
        "spec": {
            "group": "gateway.networking.k8s.io", "scope": "Namespaced",
            "names": {"kind": "HTTPRoute", "plural": "httproutes", "singular": "httproute"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    })
}

/// As people bring it who have their own authority; here it is the certificate itself.
fn brought_certificate() -> Value {
    let names = ["wisp-operator", "wisp-autoscaler"].map(|server| format!("{server}.{SYSTEM}.svc"));
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "wisp-tls", "namespace": SYSTEM},
        "stringData": {"tls.crt": certificate, "tls.key": key, "ca.crt": certificate},
    })
}

/// Nobody else asks for it in the moment until it is taken.
pub(crate) fn free_port() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

pub(crate) fn guest(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

impl Operator {
    async fn start(cluster: Lent, host: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, file) in [
            ("hello:1", "samples/prebuilt/hello.wasm"),
            ("core:1", "tests/guests/prebuilt/core.wasm"),
            ("nohttp:1", "tests/guests/prebuilt/nohttp.wasm"),
        ] {
            cluster.registry().push_component(name, &guest(file)).await.unwrap();
        }
        cluster.kubectl(["create", "namespace", SYSTEM]).await.unwrap();
        cluster.apply(&brought_certificate().to_string()).await.unwrap();
        cluster.apply(&http_routes().to_string()).await.unwrap();
        cluster.definitions_are_served().await.unwrap();
        let (admin, artifacts) = (free_port(), free_port());
        let authority = folder.path().join("registry.crt");
        std::fs::write(&authority, cluster.registry().authority().unwrap()).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_wisp-operator"))
            .args([
                "--namespace",
                SYSTEM,
                "--instance-image",
                "wisp.test/nothing:1",
                "--control",
                "https://10.0.0.1:8443",
            ])
            .args(["--listen", &artifacts.to_string(), "--admin", &admin.to_string()])
            .arg("--store")
            .arg(folder.path().join("store"))
            .arg("--host")
            .arg(host)
            .arg("--registry-ca")
            .arg(&authority)
            .env("KUBECONFIG", cluster.kubeconfig())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let operator = Self { cluster, admin, artifacts, folder, _process: Process(process) };
        until("it leads", PATIENCE, async || Ok(leads(admin).await.then_some(()))).await.unwrap();
        operator
    }

    pub(crate) fn registry(&self) -> String {
        self.cluster.registry().address()
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Where it shows what it sees.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Where it hands out compiled code.
    pub(crate) fn artifacts(&self) -> SocketAddr {
        self.artifacts
    }

    /// Compiled code, as a new operator would not have it.
    pub(crate) fn remove_compiled(&self, file: &str) {
        std::fs::remove_file(self.folder.path().join("store").join(file)).unwrap();
    }

    pub(crate) async fn apply(&self, object: &impl serde::Serialize) {
        self.cluster.apply(&serde_json::to_string(object).unwrap()).await.unwrap();
    }

    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> String {
        self.cluster.kubectl(arguments).await.unwrap()
    }

    pub(crate) async fn field(&self, object: &str, path: &str) -> String {
        self.cluster.field(object, path).await.unwrap()
    }

    pub(crate) async fn until(&self, object: &str, path: &str, wanted: &str) {
        self.until_kubectl(&["get", object, "-o", &format!("jsonpath={path}")], |found| found == wanted).await;
    }

    pub(crate) async fn until_other(&self, object: &str, path: &str, not: &str) {
        let other = |found: &str| !found.is_empty() && found != not;
        self.until_kubectl(&["get", object, "-o", &format!("jsonpath={path}")], other).await;
    }

    pub(crate) async fn until_gone(&self, object: &str) {
        self.until_kubectl(&["get", object, "--ignore-not-found", "-o", "name"], str::is_empty).await;
    }

    pub(crate) async fn until_kubectl(&self, arguments: &[&str], wanted: impl Fn(&str) -> bool) -> String {
        let last = std::sync::Mutex::new(String::new());
        let what = arguments.join(" ");
        let found = until(&what, PATIENCE, async || {
            let cluster: &Cluster = &self.cluster;
            let found = cluster.kubectl(arguments).await.unwrap_or_else(|error| format!("{error:#}"));
            last.lock().unwrap().clone_from(&found);
            Ok(wanted(&found).then_some(found))
        });
        found.await.unwrap_or_else(|error| panic!("{error:#}; the last was {:?}", last.lock().unwrap()))
    }
}

/// A function's manifest, as a sentence.
#[derive(Clone)]
pub(crate) struct Function {
    operator: &'static Operator,
    namespace: String,
    name: String,
    spec: Value,
}

impl Function {
    pub(crate) fn hello(operator: &'static Operator, name: &str) -> Self {
        let spec = json!({"component": {"image": format!("{}/hello:1", operator.registry())}});
        Self { operator, namespace: "default".to_owned(), name: name.to_owned(), spec }
    }

    pub(crate) fn within(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.namespace);
        self
    }

    /// The same, by another name.
    pub(crate) fn renamed(&self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self.clone() }
    }

    pub(crate) fn with(mut self, field: &str, value: Value) -> Self {
        self.spec[field] = value;
        self
    }

    pub(crate) async fn apply(&self) {
        let object = json!({
            "apiVersion": "wisp.dev/v1alpha1", "kind": "WasmFunction",
            "metadata": {"name": self.name, "namespace": self.namespace}, "spec": self.spec,
        });
        self.operator.cluster.apply(&object.to_string()).await.unwrap();
    }

    pub(crate) async fn until_ready(&self) {
        self.until("{.status.conditions[?(@.type=='Ready')].status}", "True").await;
    }

    pub(crate) async fn until_reason(&self, reason: &str) {
        self.until("{.status.conditions[?(@.type=='Ready')].reason}", reason).await;
    }

    pub(crate) async fn message(&self) -> String {
        let path = "jsonpath={.status.conditions[?(@.type=='Ready')].message}";
        let object = format!("wf/{}", self.name);
        self.operator.kubectl(&["-n", &self.namespace, "get", &object, "-o", path]).await
    }

    pub(crate) async fn until(&self, path: &str, wanted: &str) {
        let (object, path) = (format!("wf/{}", self.name), format!("jsonpath={path}"));
        self.operator
            .until_kubectl(&["-n", &self.namespace, "get", &object, "-o", &path], |found| found == wanted)
            .await;
    }
}
