//! Wisp on a cluster: its image in the cluster's registry, its chart installed by Helm.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::call;
use crate::cluster::Cluster;
use crate::deadline::until;
use crate::image::Image;

/// Of what `make static` builds, what the image has.
pub const WISP_PROGRAMS: [&str; 6] =
    ["wisp-operator", "wisp-autoscaler", "wisp-activator", "wisp-host", "containerd-shim-wisp-v1", "wisp-installer"];
/// Where Wisp is installed.
pub const WISP_NAMESPACE: &str = "wisp-system";
/// Functions answer to names below it.
pub const WISP_DOMAIN: &str = "example.com";

const SERVED_MAX: Duration = Duration::from_secs(120);
const HELM: [&str; 2] = ["helm.sh/helm/v3/cmd/helm", "v3.19.4"];

impl Cluster {
    /// Installs Wisp from its chart, with the programs of `folder`, and returns when it is ready.
    ///
    /// # Errors
    /// What is not built, or what Helm says.
    pub async fn install_wisp(&self, folder: &Path) -> Result<()> {
        let mut values = self.wisp_values()?;
        values["image"] = self.push_wisp(folder, "wisp:1").await?.into();
        let install = ["install", "wisp", "deploy/chart", "--namespace", WISP_NAMESPACE, "--create-namespace"];
        self.helm(&install, &values).await.map(drop)
    }

    /// What of the chart's values is particular about this cluster: all but the image.
    ///
    /// # Errors
    /// When the cluster is down.
    pub fn wisp_values(&self) -> Result<Value> {
        Ok(json!({
            "domain": WISP_DOMAIN,
            "registry": {"ca": self.registry().authority()?},
            // The cluster's containerd knows the shim already.
            "node": {"install": false},
        }))
    }

    /// Waits until the API server serves every CustomResourceDefinition that it was given.
    ///
    /// # Errors
    /// When it does not come to that.
    pub async fn definitions_are_served(&self) -> Result<()> {
        // kubectl stumbles over an object that has no conditions yet.
        let wait = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"];
        until("the definitions are established", SERVED_MAX, async || Ok(self.kubectl(wait).await.ok())).await.map(drop)
    }

    /// Makes the image of Wisp's programs, and returns what to pull it by.
    ///
    /// # Errors
    /// What is not built, or what `oras` says.
    pub async fn push_wisp(&self, folder: &Path, name: &str) -> Result<String> {
        let mut image = Image::from_scratch().user("65532:65532").variable("WISP_IMAGE", name);
        for program in WISP_PROGRAMS {
            image = image.file(program, folder.join(program));
        }
        // As deploy/Dockerfile does.
        image = image.file("etc/ssl/certs/ca-certificates.crt", folder.join("ca-certificates.crt"));
        self.registry().push(name, &image).await
    }

    /// Runs Helm in the repository with `values`, waits until what it installs is ready, and returns what it prints.
    ///
    /// # Errors
    /// What Helm says.
    pub async fn helm(&self, arguments: &[&str], values: &Value) -> Result<String> {
        let mut helm = self.helm_command().await?;
        helm.args(arguments).args(["--values", "-", "--wait", "--timeout", "180s"]);
        call::output_with(helm, values.to_string().as_bytes()).await
    }

    /// What to call to run Helm in the repository, for what takes no values.
    ///
    /// # Errors
    /// When there is no Helm, and it cannot be built.
    pub async fn helm_command(&self) -> Result<Command> {
        let mut tool = Command::new(repository().join(".ci/tool"));
        tool.arg("go").args(HELM);
        let folder = call::output(tool).await.context("Helm cannot be had")?;
        let mut helm = Command::new(Path::new(folder.trim()).join("helm"));
        helm.current_dir(repository()).env("KUBECONFIG", self.kubeconfig());
        Ok(helm)
    }
}

/// The root of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
