//! The registries of a cluster, and filling them with a standard tool.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::call;
use crate::configuration;
use crate::image::{self, Image};
use crate::place::Place;
use crate::programs::Programs;

/// In `node/conf/htpasswd`, as a hash.
const USER: &str = "wisp";
const PASSWORD: &str = "no-secret-at-all";

/// Who may pull from a registry, and push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Public,
    /// Who has the credentials.
    Private,
}

impl Access {
    /// Host and port, as an image's name begins with them. `node/conf` knows the ports.
    pub(crate) fn address(self, place: Place) -> String {
        let port = match self {
            Self::Public => 5000,
            Self::Private => 5001,
        };
        format!("{}:{port}", place.node_ip())
    }
}

/// A registry that speaks TLS with a certificate that the node trusts. It answers to the node and to this machine.
#[derive(Debug, Clone)]
pub struct Registry {
    pub(crate) access: Access,
    pub(crate) place: Place,
    pub(crate) programs: Programs,
}

impl Registry {
    /// Host and port, as an image's name begins with them.
    #[must_use]
    pub fn address(&self) -> String {
        self.access.address(self.place)
    }

    /// The certificate of the authority that the registry's own is signed by, in PEM.
    ///
    /// # Errors
    /// When the cluster is down.
    pub fn authority(&self) -> Result<String> {
        let path = self.authority_file();
        std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))
    }

    /// User and password, where they are asked for.
    #[must_use]
    pub fn credentials(&self) -> Option<(&'static str, &'static str)> {
        (self.access == Access::Private).then_some((USER, PASSWORD))
    }

    /// Pushes an image as `name`, such as `hello:1`, and returns what to pull it by.
    ///
    /// # Errors
    /// What the image lacks, or what `oras` says.
    pub async fn push(&self, name: &str, image: &Image) -> Result<String> {
        let reference = format!("{}/{name}", self.address());
        let layout = image.layout(&reference)?;
        let tag = reference.rsplit(':').next().unwrap_or_default();
        let source = format!("{}:{tag}", layout.folder().display());
        let mut copy = self.oras("cp");
        copy.args(["--from-oci-layout", &source, "--to-ca-file"]).arg(self.authority_file());
        if let Some((user, password)) = self.credentials() {
            copy.args(["--to-username", user, "--to-password", password]);
        }
        copy.arg(&reference);
        call::output(copy).await?;
        Ok(reference)
    }

    /// Pushes a WebAssembly component as an OCI artifact of its own kind, and returns what to pull it by.
    ///
    /// # Errors
    /// What `oras` says.
    pub async fn push_component(&self, name: &str, component: &Path) -> Result<String> {
        let reference = format!("{}/{name}", self.address());
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("config.json");
        std::fs::write(&config, image::wasm_config(component)?.to_string())?;
        let mut push = self.oras("push");
        push.args(["--disable-path-validation", "--config"]);
        push.arg(format!("{}:application/vnd.wasm.config.v0+json", config.display()));
        push.arg("--ca-file").arg(self.authority_file());
        if let Some((user, password)) = self.credentials() {
            push.args(["--username", user, "--password", password]);
        }
        push.arg(&reference).arg(format!("{}:application/wasm", component.display()));
        call::output(push).await?;
        Ok(reference)
    }

    /// Lets the node ask here first for images whose name begins with `host`, such as `registry.k8s.io`, as a mirror is
    /// asked.
    ///
    /// # Errors
    /// When the cluster is down.
    pub fn stand_for(&self, host: &str) -> Result<()> {
        configuration::lead(self.place, host, &self.address())
    }

    /// The manifest of what was pushed.
    ///
    /// # Errors
    /// What `oras` says, when there is none too.
    pub async fn manifest(&self, reference: &str) -> Result<Value> {
        let mut fetch = self.oras("manifest");
        fetch.arg("fetch").arg("--ca-file").arg(self.authority_file());
        if let Some((user, password)) = self.credentials() {
            fetch.args(["--username", user, "--password", password]);
        }
        fetch.arg(reference);
        serde_json::from_str(&call::output(fetch).await?).context("a manifest is JSON")
    }

    /// What a pod names in `imagePullSecrets` to pull from this registry; it is not created yet.
    #[must_use]
    pub fn pull_secret(&self, name: &str) -> Secret {
        let credentials = STANDARD.encode(format!("{USER}:{PASSWORD}"));
        let settings = json!({"auths": {self.address(): {"auth": credentials}}});
        let data = ByteString(settings.to_string().into_bytes());
        Secret {
            metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
            type_: Some("kubernetes.io/dockerconfigjson".to_owned()),
            data: Some([(".dockerconfigjson".to_owned(), data)].into()),
            ..Secret::default()
        }
    }

    fn authority_file(&self) -> PathBuf {
        self.place.folder().join("pki/ca.crt")
    }

    /// Without the caller's surroundings: no proxy of theirs leads to the node, and no credentials of theirs belong here.
    fn oras(&self, command: &str) -> Command {
        let mut oras = Command::new(self.programs.bin().join("oras"));
        oras.arg(command).env_clear().env("HOME", self.place.folder());
        oras
    }
}
