//! The shared cluster with Wisp installed, and what tests do with functions.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use wisp_cluster::{Cluster, Image, Lent, Settings, Shared, static_programs, until};

use crate::client::Client;

static CLUSTER: Shared = Shared::new(|| Settings { shim: programs(), ..Settings::default() });
static INSTALLED: OnceCell<()> = OnceCell::const_new();

/// What is asked for here takes seconds on an idle machine; this one may be building next door.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
pub(crate) const SYSTEM: &str = "wisp-system";
pub(crate) const DOMAIN: &str = "example.com";

const HELM: [&str; 2] = ["helm.sh/helm/v3/cmd/helm", "v3.19.4"];
const PROGRAMS: [&str; 6] =
    ["wisp-operator", "wisp-autoscaler", "wisp-activator", "wisp-host", "containerd-shim-wisp-v1", "wisp-installer"];
/// Components of the registry, by the names of their files.
const COMPONENTS: [(&str, &str); 2] =
    [("hello", "samples/prebuilt/hello.wasm"), ("guests", "tests/guests/prebuilt/guests.wasm")];

/// A cluster on which Wisp runs.
pub(crate) struct Platform(Lent);

impl std::ops::Deref for Platform {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.0
    }
}

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The static programs, if they were built.
fn programs() -> Option<PathBuf> {
    static_programs(env!("CARGO_TARGET_TMPDIR"), &PROGRAMS)
}

/// The cluster with Wisp on it; none where it cannot run.
pub(crate) async fn platform() -> Option<Platform> {
    programs()?;
    let cluster = CLUSTER.get().await?;
    INSTALLED
        .get_or_init(async || {
            if let Err(error) = install(&cluster).await {
                panic!("{error:#}\n{}", look(&cluster).await);
            }
        })
        .await;
    Some(Platform(cluster))
}

async fn install(cluster: &Cluster) -> Result<()> {
    let image = push_platform(cluster, "wisp:1").await?;
    for (name, file) in COMPONENTS {
        cluster.registry().push_component(&format!("{name}:1"), &repository().join(file)).await?;
    }
    let authority = cluster.registry().authority()?;
    let values = json!({
        "image": image,
        "domain": DOMAIN,
        "registry": {"ca": authority},
        // The cluster's containerd knows the shim already.
        "node": {"install": false},
    });
    helm(cluster, &["install", "wisp", "deploy/chart", "--namespace", SYSTEM, "--create-namespace"], &values).await
}

/// Makes the image of the platform's programs, and returns its reference.
pub(crate) async fn push_platform(cluster: &Cluster, name: &str) -> Result<String> {
    let folder = programs().context("the static programs are not built")?;
    let mut image = Image::from_scratch().user("65532:65532").variable("WISP_IMAGE", name);
    for program in PROGRAMS {
        image = image.file(program, folder.join(program));
    }
    // As deploy/Dockerfile does.
    image = image.file("etc/ssl/certs/ca-certificates.crt", folder.join("ca-certificates.crt"));
    cluster.registry().push(name, &image).await
}

/// Runs helm in the repository and waits until what it installed is ready.
pub(crate) async fn helm(cluster: &Cluster, arguments: &[&str], values: &Value) -> Result<()> {
    let folder = output(Command::new(repository().join(".ci/tool")).arg("go").args(HELM)).await?;
    let file = tempfile::NamedTempFile::new()?;
    serde_json::to_writer(&file, values)?;
    let mut helm = Command::new(Path::new(folder.trim()).join("helm"));
    helm.current_dir(repository()).env("KUBECONFIG", cluster.kubeconfig()).args(arguments);
    helm.arg("--values").arg(file.path()).args(["--wait", "--timeout", "180s"]);
    output(&mut helm).await.map(drop)
}

/// What a program writes, when it ends well.
async fn output(command: &mut Command) -> Result<String> {
    let mut command = tokio::process::Command::from(std::mem::replace(command, Command::new("")));
    let output = command.stdin(Stdio::null()).output().await.with_context(|| format!("{command:?}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}\n{stderr}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// Everything that tells why the platform does not come up.
pub(crate) async fn look(cluster: &Cluster) -> String {
    let mut seen = String::new();
    for arguments in [
        &["get", "pods", "-A", "-o", "wide"][..],
        &["get", "wf,wr,wp", "-A", "-o", "yaml"],
        &["-n", SYSTEM, "logs", "-l", "app.kubernetes.io/part-of=wisp", "--prefix", "--tail=40"],
        &["get", "events", "-A"],
    ] {
        seen += &cluster.kubectl(arguments).await.unwrap_or_else(|error| format!("{error:#}"));
    }
    seen
}

/// A function's manifest, as a sentence.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) spec: Value,
}

/// The smallest component, from the registry.
pub(crate) fn hello(platform: &Platform, name: &str) -> Function {
    function(platform, name, "hello")
}

pub(crate) fn function(platform: &Platform, name: &str, component: &str) -> Function {
    let image = format!("{}/{component}:1", platform.registry().address());
    Function { name: name.to_owned(), spec: json!({"component": {"image": image}}) }
}

impl Function {
    /// Sets a field of the spec, by a path such as `scaling.idle`.
    pub(crate) fn with(mut self, path: &str, value: impl Into<Value>) -> Self {
        let at = path.split('.').fold(&mut self.spec, |at, step| &mut at[step]);
        *at = value.into();
        self
    }

    /// Applies it, and waits until it is ready.
    pub(crate) async fn deploy(&self, platform: &Platform) {
        self.apply(platform).await;
        let object = format!("wf/{}", self.name);
        let what = format!("{object} is ready");
        let ready = until(&what, PATIENCE, async || {
            let path =
                "{.metadata.generation} {.status.observedGeneration} {.status.conditions[?(@.type=='Ready')].status}";
            let found = platform.field(&object, path).await?;
            let words: Vec<&str> = found.split(' ').collect();
            Ok((words.len() == 3 && words[0] == words[1] && words[2] == "True").then_some(()))
        });
        if let Err(error) = ready.await {
            panic!("{error:#}\n{}", look(platform).await);
        }
    }

    pub(crate) async fn apply(&self, platform: &Platform) {
        let metadata = json!({"name": self.name, "namespace": "default"});
        let object =
            json!({"apiVersion": "wisp.dev/v1alpha1", "kind": "WasmFunction", "metadata": metadata, "spec": self.spec});
        platform.apply(&object.to_string()).await.unwrap();
    }

    /// A client of the function from outside of the cluster.
    pub(crate) async fn client(&self, platform: &Platform) -> Client {
        let address = platform
            .kubectl(["-n", SYSTEM, "get", "service/wisp-activator", "-o", "jsonpath={.spec.clusterIP}"])
            .await
            .unwrap();
        Client::new(&address, &format!("{}.default.{DOMAIN}", self.name))
    }

    pub(crate) async fn until_replicas(&self, platform: &Platform, wanted: u32) {
        let object = format!("wf/{}", self.name);
        let what = format!("{object} has {wanted} replicas");
        let found = until(&what, PATIENCE, async || {
            let found = platform.field(&object, "{.status.replicas}").await?;
            Ok((found.parse() == Ok(wanted)).then_some(()))
        });
        if let Err(error) = found.await {
            panic!("{error:#}\n{}", look(platform).await);
        }
    }
}
