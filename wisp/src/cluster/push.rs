//! Makes an OCI artifact of a component, as the Wasm working group of the CNCF defines it, and pushes it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::{Client, Reference};
use serde_json::json;
use sha2::{Digest, Sha256};
use wisp_host::engine::hex;

use super::login::login;
use super::manifests::ComponentFile;

const CONFIG_TYPE: &str = "application/vnd.wasm.config.v0+json";
const LAYER_TYPE: &str = "application/wasm";
/// What every module and component begins with; the operator says what is wrong behind it.
const MAGIC: &[u8] = b"\0asm";
/// The operator takes none that is larger.
const COMPONENT_BYTES_MAX: u64 = 128 << 20;
/// Digits of a digest that make a tag.
const TAG_DIGITS: usize = 12;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// Where components are pushed to.
#[derive(Clone, Debug)]
pub(crate) struct Repository {
    /// `registry.example/team/functions`.
    pub(crate) name: String,
    /// Certificates that its registry is trusted by, PEM.
    pub(crate) ca: Option<PathBuf>,
    /// How to speak to it.
    pub(crate) scheme: Scheme,
}

/// How to speak to a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Https,
    Http,
}

impl Repository {
    /// Pushes the component of a function and returns what to run it by. Equal content has an equal name.
    ///
    /// # Errors
    /// When the file is no component, or the registry does not take it.
    pub(crate) async fn push(&self, function: &str, component: &ComponentFile) -> anyhow::Result<String> {
        let bytes = read(&component.path)?;
        let sha256 = hex(&Sha256::digest(&bytes));
        if let Some(wanted) = &component.sha256 {
            ensure!(*wanted == sha256, "{} has the SHA-256 {sha256}, not {wanted}", component.path.display());
        }
        let reference = reference(&self.name, function, &sha256)?;
        let auth = login(reference.resolve_registry()).await?;
        let config = Config::new(config(&sha256).into_bytes(), CONFIG_TYPE.to_owned(), None);
        let layer = ImageLayer::new(bytes, LAYER_TYPE.to_owned(), None);
        let pushed = self.client()?.push(&reference, &[layer], config, &auth, None).await;
        let pushed = pushed.with_context(|| format!("{reference} cannot be pushed"))?;
        // The registry names it by its digest, which nobody can give to something else.
        let digest = pushed.manifest_url.rsplit('/').next().filter(|last| last.starts_with("sha256:"));
        Ok(digest.map_or_else(|| reference.to_string(), |digest| format!("{reference}@{digest}")))
    }

    fn client(&self) -> anyhow::Result<Client> {
        let authority = match &self.ca {
            None => Vec::new(),
            Some(file) => {
                let data = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
                vec![Certificate { encoding: CertificateEncoding::Pem, data }]
            }
        };
        let protocol = match self.scheme {
            Scheme::Https => ClientProtocol::Https,
            Scheme::Http => ClientProtocol::Http,
        };
        let config = ClientConfig {
            protocol,
            extra_root_certificates: authority,
            connect_timeout: Some(CONNECT_TIMEOUT),
            read_timeout: Some(READ_TIMEOUT),
            user_agent: concat!("wisp/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        Client::try_from(config).context("the registry's certificates cannot be used")
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let cannot = || format!("cannot read {}; build it with `wisp build`", path.display());
    let mut file = File::open(path).with_context(cannot)?;
    ensure!(file.metadata().with_context(cannot)?.is_file(), "{} is no file", path.display());
    let mut bytes = Vec::new();
    file.by_ref().take(COMPONENT_BYTES_MAX + 1).read_to_end(&mut bytes).with_context(cannot)?;
    ensure!(
        bytes.len() as u64 <= COMPONENT_BYTES_MAX,
        "{} has more than {COMPONENT_BYTES_MAX} bytes, which are the most that is taken",
        path.display()
    );
    ensure!(bytes.starts_with(MAGIC), "{} is no WebAssembly", path.display());
    Ok(bytes)
}

/// All functions share a repository, which many registries want to be made before: the tag tells them apart.
fn reference(repository: &str, function: &str, sha256: &str) -> anyhow::Result<Reference> {
    let parsed: Reference =
        repository.parse().with_context(|| format!("{repository:?} is no repository such as registry.example/team"))?;
    let named = parsed.digest().is_some() || parsed.tag().is_some_and(|tag| repository.ends_with(&format!(":{tag}")));
    ensure!(!named, "give --push a repository without a tag; each component gets one of its own");
    // A first part that is no host would be taken for a folder of the registry that everybody shares.
    let host = repository.split_once('/').map(|(host, _)| host).unwrap_or_default();
    let names_host = host == "localhost" || host.contains(['.', ':']);
    ensure!(names_host, "{repository:?} names no registry; give registry.example/team/functions");
    let tag = format!("{function}-{}", &sha256[..TAG_DIGITS]);
    Ok(Reference::with_tag(parsed.registry().to_owned(), parsed.repository().to_owned(), tag))
}

/// Without a time, so that equal components make equal artifacts.
fn config(sha256: &str) -> String {
    let created = "1970-01-01T00:00:00Z";
    let layers = [format!("sha256:{sha256}")];
    json!({"created": created, "architecture": "wasm", "os": "wasip2", "layerDigests": layers}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_named_by_its_function_and_its_content() {
        let sha256 = hex(&Sha256::digest(b""));
        let table = [
            ("r.example/team/functions", "r.example/team/functions:hello-e3b0c44298fc"),
            ("10.0.0.1:5000/x", "10.0.0.1:5000/x:hello-e3b0c44298fc"),
        ];
        for (repository, wanted) in table {
            assert_eq!(reference(repository, "hello", &sha256).unwrap().to_string(), wanted);
        }
        for bad in ["r.example/x:1", "r.example/X", "functions", "team/functions", "r.example/x@sha256:", ""] {
            assert!(reference(bad, "hello", &sha256).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_no_component_is_not_pushed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.wasm");
        assert!(read(&file).unwrap_err().to_string().contains("build it with `wisp build`"));
        std::fs::write(&file, "<html>").unwrap();
        assert!(read(&file).unwrap_err().to_string().ends_with("is no WebAssembly"));
        std::fs::write(&file, b"\0asm\x0d\0\x01\0").unwrap();
        assert_eq!(read(&file).unwrap().len(), 8);
    }
}
