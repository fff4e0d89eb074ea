//! The ingress controllers in front of Wisp: real ones, as pods, each with its IngressClass, and a Gateway.

use std::path::{Path, PathBuf};

use anyhow::Result;
use tokio::sync::OnceCell;
use wisp_cluster::{Cluster, Image, ingress_programs};
use wisp_platform::{Client, Platform, SharedPlatform, installable, look, repository, static_programs};

use crate::certificate::Certificate;

static PLATFORM: SharedPlatform = SharedPlatform::new(programs, || installable(programs()));
static INSTALLED: OnceCell<Installed> = OnceCell::const_new();

/// Of the API, with which functions name it: in the namespace of its controller.
pub(crate) const GATEWAY: &str = "traefik/main";

/// A controller, by the name of its IngressClass.
#[derive(Clone, Debug)]
pub(crate) struct Controller {
    pub(crate) class: &'static str,
    /// Where clients reach it: HTTP on port 80, HTTPS on 443.
    pub(crate) address: String,
}

/// All of them, and the cluster that they are on.
pub(crate) struct Controllers {
    pub(crate) platform: Platform,
    pub(crate) traefik: Controller,
    pub(crate) skipper: Controller,
    /// Of the Gateway.
    pub(crate) certificate: Certificate,
}

struct Installed {
    traefik: Controller,
    skipper: Controller,
    certificate: Certificate,
}

impl Controllers {
    pub(crate) fn each(&self) -> [&Controller; 2] {
        [&self.traefik, &self.skipper]
    }
}

impl Controller {
    pub(crate) fn client(&self, host: &str) -> Client {
        Client::new(&self.address, host)
    }
}

fn programs() -> Option<PathBuf> {
    static_programs(env!("CARGO_TARGET_TMPDIR"))
}

/// The controllers in front of Wisp; none where they cannot run.
pub(crate) async fn controllers() -> Option<Controllers> {
    let programs = ingress_programs()?;
    let platform = PLATFORM.get().await?;
    let installed = INSTALLED.get_or_init(async || match install(&platform, &programs).await {
        Ok(installed) => installed,
        Err(error) => panic!("{error:#}\n{}", look(&platform).await),
    });
    let Installed { traefik, skipper, certificate } = installed.await;
    let (traefik, skipper, certificate) = (traefik.clone(), skipper.clone(), certificate.clone());
    Some(Controllers { platform, traefik, skipper, certificate })
}

async fn install(cluster: &Cluster, programs: &Path) -> Result<Installed> {
    let kinds = programs.join("gateway-api").display().to_string();
    cluster.kubectl(["apply", "--server-side", "--filename", &kinds]).await?;
    cluster.kubectl(["wait", "--for=condition=Established", "--filename", &kinds, "--timeout=60s"]).await?;
    let traefik = install_one(cluster, programs, "traefik").await?;
    let skipper = install_one(cluster, programs, "skipper").await?;
    let certificate = Certificate::of("*.example.org");
    cluster.apply(&certificate.secret("traefik", "gateway").to_string()).await?;
    for controller in [&traefik, &skipper] {
        let deployment = format!("deployment/{}", controller.class);
        cluster.kubectl(["-n", controller.class, "rollout", "status", &deployment, "--timeout=120s"]).await?;
    }
    Ok(Installed { traefik, skipper, certificate })
}

/// Its namespace, Deployment and Service have its name.
async fn install_one(cluster: &Cluster, programs: &Path, class: &'static str) -> Result<Controller> {
    let image = Image::from_scratch().file(class, programs.join(class)).entrypoint(&[&format!("/{class}")]);
    let image = cluster.registry().push(&format!("{class}:1"), &image).await?;
    let manifest = repository().join("tests/platform/manifests").join(class).with_extension("yaml");
    cluster.apply(&std::fs::read_to_string(manifest)?.replace("@IMAGE@", &image)).await?;
    let service = format!("service/{class}");
    let address = cluster.kubectl(["-n", class, "get", &service, "-o", "jsonpath={.spec.clusterIP}"]).await?;
    Ok(Controller { class, address })
}
