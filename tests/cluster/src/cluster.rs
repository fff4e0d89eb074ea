//! The cluster as a test sees it.

use std::ffi::OsStr;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Node as NodeObject, ServiceAccount};
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use tokio::process::Command;

use crate::call;
use crate::component::Component;
use crate::configuration::PAUSE_IMAGE;
use crate::deadline::until;
use crate::image::Image;
use crate::machine;
use crate::node::{self, Node, Signal};
use crate::place::{self, Place};
use crate::programs::Programs;
use crate::registry::{Access, Registry};
use crate::settings::{Lifetime, Settings};

/// Each step takes at most three seconds on an idle machine; this one may be building Kubernetes next door.
const START_PATIENCE: Duration = Duration::from_secs(120);

/// A Kubernetes of one node. It goes when this is dropped, or when the process ends.
#[derive(Debug)]
pub struct Cluster {
    node: Node,
    programs: Programs,
}

impl Cluster {
    /// Starts one beside all that are up, and returns when its node is ready for pods.
    ///
    /// # Errors
    /// What this machine lacks, or what did not start, with the folder of the logs.
    pub async fn start(settings: Settings) -> Result<Self> {
        if let Some(lacks) = machine::lacks() {
            bail!(lacks);
        }
        let programs = Programs::find()?;
        let node = Node::start(&settings, &programs).await?;
        let cluster = Self { node, programs };
        let Err(error) = cluster.start_components().await else { return Ok(cluster) };
        let logs = cluster.keep_logs();
        if settings.lifetime == Lifetime::UntilTakenDown {
            node::take_down(cluster.node.place).await?;
        }
        Err(error.context(format!("the cluster did not start; its logs are in {}", logs.display())))
    }

    /// One that another process has started, by its number.
    ///
    /// # Errors
    /// When it is not up.
    pub fn find(number: u8) -> Result<Self> {
        Ok(Self { node: Node::find(Place { number })?, programs: Programs::find()? })
    }

    /// The numbers of all that are up on this machine. What dead ones left is removed first.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn all() -> Result<Vec<u8>> {
        node::sweep()?;
        Ok(place::used().into_iter().map(|place| place.number).collect())
    }

    /// Takes down one that another process has started, and returns when nothing of it is left.
    ///
    /// # Errors
    /// When it is not up, or does not end in time.
    pub async fn take_down(number: u8) -> Result<()> {
        node::take_down(Place { number }).await
    }

    async fn start_components(&self) -> Result<()> {
        let (late, early): (Vec<_>, Vec<_>) = Component::ALL.into_iter().partition(|part| part.needs_apiserver());
        for component in early {
            self.start_component(component).await?;
        }
        let import = until("containerd takes an image", START_PATIENCE, async || Ok(self.import_pause().await.ok()));
        import.await.context("the pause image is not imported")?;
        let client = self.client().await?;
        until("the API server is ready", START_PATIENCE, async || {
            let request = http::Request::get("/readyz").body(Vec::new())?;
            Ok(client.request_text(request).await.ok())
        })
        .await?;
        for component in late {
            self.start_component(component).await?;
        }
        self.add_runtime_class(&client).await?;
        self.takes_pods(&client).await
    }

    async fn import_pause(&self) -> Result<()> {
        let pause = Image::from_scratch().file("/pause", self.programs.image_program("pause"));
        let pause = pause.entrypoint(&["/pause"]).user("65535:65535");
        self.import(PAUSE_IMAGE, &pause).await
    }

    async fn add_runtime_class(&self, client: &Client) -> Result<()> {
        let class = RuntimeClass {
            handler: "wisp".to_owned(),
            metadata: ObjectMeta { name: Some("wisp".to_owned()), ..ObjectMeta::default() },
            ..RuntimeClass::default()
        };
        Api::all(client.clone()).create(&PostParams::default(), &class).await?;
        Ok(())
    }

    /// The node is ready, and so is the account without which no pod is let in.
    async fn takes_pods(&self, client: &Client) -> Result<()> {
        let nodes: Api<NodeObject> = Api::all(client.clone());
        let name = self.node_name();
        until("the node is ready", START_PATIENCE, async || Ok(nodes.get_opt(&name).await?.filter(is_ready).map(drop)))
            .await?;
        let accounts: Api<ServiceAccount> = Api::default_namespaced(client.clone());
        until("there is a default service account", START_PATIENCE, async || Ok(accounts.get_opt("default").await?))
            .await
            .map(drop)
    }

    /// A client with all rights, for the runtime that this is called on.
    ///
    /// # Errors
    /// When the cluster is down.
    pub async fn client(&self) -> Result<Client> {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig()).context("the cluster is down")?;
        let options = KubeConfigOptions::default();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
        // A proxy of the caller's does not lead to the node.
        config.proxy_url = None;
        Ok(Client::try_from(config)?)
    }

    /// The file for `kubectl`.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.node.place.folder().join("pki/admin.kubeconfig")
    }

    /// Runs `kubectl` on this machine, and returns what it prints.
    ///
    /// # Errors
    /// What it says when it fails.
    pub async fn kubectl(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<String> {
        call::output(self.kubectl_command(arguments)).await
    }

    /// One field of an object, by a path such as `{.status.podIP}`.
    ///
    /// # Errors
    /// When there is no such object.
    pub async fn field(&self, object: &str, path: &str) -> Result<String> {
        self.kubectl(["get", object, "-o", &format!("jsonpath={path}")]).await
    }

    /// Waits until Kubernetes calls a pod ready.
    ///
    /// # Errors
    /// When it is not within `patience`, with what Kubernetes knows of it.
    pub async fn wait_ready(&self, pod: &str, patience: Duration) -> Result<()> {
        let timeout = format!("--timeout={}s", patience.as_secs());
        let waited = self.kubectl(["wait", "--for=condition=Ready", &format!("pod/{pod}"), &timeout]).await;
        let Err(error) = waited else { return Ok(()) };
        let state = self.kubectl(["describe", "pod", pod]).await.unwrap_or_default();
        Err(error.context(state))
    }

    /// Applies manifests, as `kubectl apply` does.
    ///
    /// # Errors
    /// What `kubectl` says when it fails.
    pub async fn apply(&self, manifests: &str) -> Result<String> {
        call::output_with(self.kubectl_command(["apply", "--filename", "-"]), manifests.as_bytes()).await
    }

    /// What to call to run `kubectl`, for who wants its output as it comes.
    pub fn kubectl_command(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut kubectl = Command::new(self.programs.bin().join("kubectl"));
        // A proxy of the caller's does not lead to the node; its cache would be left behind.
        kubectl.env_clear().env("KUBECONFIG", self.kubeconfig()).env("HOME", self.node.place.folder());
        kubectl.args(arguments);
        kubectl
    }

    /// Runs a program in the namespaces of the node, such as `ctr`, and returns what it prints.
    ///
    /// # Errors
    /// What it says when it fails.
    pub async fn exec(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<String> {
        call::output(self.node.inside(arguments)?).await
    }

    /// What to call to run a program in the node, for who wants its output as it comes.
    ///
    /// # Errors
    /// When the cluster is down.
    pub fn exec_command(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Command> {
        self.node.inside(arguments)
    }

    /// The registry that everybody may pull from.
    #[must_use]
    pub fn registry(&self) -> Registry {
        self.registry_with(Access::Public)
    }

    /// The registry that asks for credentials.
    #[must_use]
    pub fn private_registry(&self) -> Registry {
        self.registry_with(Access::Private)
    }

    fn registry_with(&self, access: Access) -> Registry {
        Registry { access, place: self.node.place, programs: self.programs.clone() }
    }

    /// Gives containerd an image by `name` without a registry.
    ///
    /// # Errors
    /// What the image lacks, or what `ctr` says.
    pub async fn import(&self, name: &str, image: &Image) -> Result<()> {
        let archive = image.layout(name)?.archive()?;
        let import = self.node.inside(["ctr", "images", "import", "--local", "-"])?;
        call::output_with(import, &archive).await.map(drop)
    }

    /// An image of a small HTTP server on port 8080; see `go/images/hello`.
    #[must_use]
    pub fn hello(&self) -> Image {
        Image::from_scratch().file("/hello", self.image_program("hello")).entrypoint(&["/hello"])
    }

    /// A program that was built to be put into images: one of `go/images`, or `busybox`.
    #[must_use]
    pub fn image_program(&self, name: &str) -> PathBuf {
        self.programs.image_program(name)
    }

    /// Where the node, its pods and its services are answered from.
    #[must_use]
    pub fn node_ip(&self) -> Ipv4Addr {
        self.node.place.node_ip()
    }

    /// Where the node, and each pod on it, finds this machine.
    #[must_use]
    pub fn outside_ip(&self) -> Ipv4Addr {
        self.node.place.outside_ip()
    }

    /// As Kubernetes knows it.
    #[must_use]
    pub fn node_name(&self) -> String {
        self.node.place.node_name()
    }

    /// Tells this cluster from others on the machine.
    #[must_use]
    pub fn number(&self) -> u8 {
        self.node.place.number
    }

    /// A folder of this machine with a log of each component, until the cluster goes.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.node.logs()
    }

    /// Starts a component that has ended.
    ///
    /// # Errors
    /// When the node is gone.
    pub async fn start_component(&self, component: Component) -> Result<()> {
        self.node.start_component(component).await
    }

    /// Tells a component to end, and waits until it has.
    ///
    /// # Errors
    /// When it does not run, or does not end.
    pub async fn stop(&self, component: Component) -> Result<()> {
        self.end(component, Signal::Term).await
    }

    /// Ends a component without warning.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill(&self, component: Component) -> Result<()> {
        self.end(component, Signal::Kill).await
    }

    async fn end(&self, component: Component, signal: Signal) -> Result<()> {
        self.node.signal(component, signal).await?;
        self.node.ended(component).await
    }

    /// Stops a component and starts it again.
    ///
    /// # Errors
    /// When it does not run, or does not end.
    pub async fn restart(&self, component: Component) -> Result<()> {
        self.stop(component).await?;
        self.start_component(component).await
    }

    /// Ends the node without warning and starts it again, as a loss of power does: no process and no mount of a pod is
    /// left, and no file in memory; what lies on its disk is. The control plane and the registries, which would be on
    /// other machines, go on.
    ///
    /// # Errors
    /// When one of its components does not run, or something of a pod stays.
    pub async fn restart_node(&self) -> Result<()> {
        for component in Component::OF_EVERY_NODE {
            self.kill(component).await?;
        }
        self.node.lose_power().await?;
        let boots = self.boots()?;
        for component in Component::OF_EVERY_NODE {
            self.start_component(component).await?;
            if component == Component::Containerd {
                // A kubelet that asks sooner ends, and nobody here starts it again.
                let booted = async || Ok((self.boots()? > boots).then_some(()));
                until("containerd is up", START_PATIENCE, booted).await?;
            }
        }
        Ok(())
    }

    /// How often containerd was up, with all of its services, by its log.
    fn boots(&self) -> Result<usize> {
        let log = fs::read_to_string(self.logs().join("containerd.log")).context("containerd has no log")?;
        Ok(log.matches("containerd successfully booted").count())
    }

    /// Lets a component stand still, so that it answers nobody and keeps its connections.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn pause(&self, component: Component) -> Result<()> {
        self.node.signal(component, Signal::Stop).await
    }

    /// Lets a paused component go on.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn resume(&self, component: Component) -> Result<()> {
        self.node.signal(component, Signal::Continue).await
    }

    /// Copies the logs to where they outlive the cluster, and says where.
    pub fn keep_logs(&self) -> PathBuf {
        let kept = std::env::temp_dir().join(format!("wisp-cluster-logs-{}-{}", std::process::id(), self.number()));
        match copy_folder(&self.logs(), &kept) {
            Ok(()) => eprintln!("the logs of the cluster are in {}", kept.display()),
            Err(error) => eprintln!("the logs of the cluster are lost: {error}"),
        }
        kept
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep_logs();
        }
    }
}

fn is_ready(node: &NodeObject) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
