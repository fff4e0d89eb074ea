//! Images of registries: which one a name means now, and its component.

use std::io;
use std::pin::Pin;
use std::task::{self, Poll};
use std::time::Duration;

use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::manifest::{OciDescriptor, OciImageManifest};
use oci_client::{Client, Reference};
use tokio::io::AsyncWrite;
use wisp_api::status::Reason;

use super::credentials::Credentials;
use super::layers::{self, Place};
use super::name::reference;
use super::{COMPONENT_BYTES_MAX, Refusal};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// A layer with a little more than the component in it.
const LAYER_BYTES_MAX: u64 = 2 * COMPONENT_BYTES_MAX;

/// Registries, and how they are trusted.
pub(super) struct Registries {
    authority: Option<String>,
    insecure: Vec<String>,
}

/// An image as it is now.
pub(super) struct Resolved {
    // It knows the credentials already.
    client: Client,
    reference: Reference,
    /// `sha256:<hex>` of its manifest.
    pub(super) digest: String,
    manifest: OciImageManifest,
}

impl Registries {
    pub(super) fn new(authority: Option<String>, insecure: Vec<String>) -> Self {
        Self { authority, insecure }
    }

    /// What `image` names at the moment.
    pub(super) async fn resolve(&self, image: &str, credentials: &Credentials) -> Result<Resolved, Refusal> {
        let reference = reference(image).map_err(|error| {
            Refusal::new(Reason::InvalidSpec, format!("component.image {image:?} is no image name: {error}"))
        })?;
        let auth = credentials.for_registry(reference.resolve_registry());
        let client = self.client();
        let pulled = client.pull_image_manifest(&reference, &auth).await;
        let (manifest, digest) = pulled.map_err(|error| refusal(image, &error))?;
        Ok(Resolved { client, reference, digest, manifest })
    }

    fn client(&self) -> Client {
        let authority = self
            .authority
            .iter()
            .map(|pem| Certificate { encoding: CertificateEncoding::Pem, data: pem.clone().into_bytes() });
        Client::new(ClientConfig {
            protocol: ClientProtocol::HttpsExcept(self.insecure.clone()),
            extra_root_certificates: authority.collect(),
            connect_timeout: Some(CONNECT_TIMEOUT),
            read_timeout: Some(READ_TIMEOUT),
            user_agent: concat!("wisp/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        })
    }
}

impl Resolved {
    /// Its name with the digest in place of the tag.
    pub(super) fn pinned(&self) -> String {
        self.reference.clone_with_digest(self.digest.clone()).to_string()
    }

    /// The component in the image.
    pub(super) async fn component(&self) -> Result<Vec<u8>, Refusal> {
        match layers::place(&self.manifest.layers)? {
            Place::Layer(layer) => blob(&self.client, &self.reference, layer).await,
            Place::File(order) => {
                let (mut files, mut removed): (Vec<(String, Vec<u8>)>, Vec<String>) = Default::default();
                for layer in order {
                    check_layer(layer)?;
                    let bytes = blob(&self.client, &self.reference, layer).await?;
                    let searched = tokio::task::spawn_blocking(move || layers::search(&bytes)).await;
                    let found = searched.expect("searching a layer does not panic")?;
                    // What an upper layer has or takes away hides what is below.
                    let hidden = |path: &String| removed.contains(path) || files.iter().any(|(known, _)| known == path);
                    let new: Vec<_> = found.files.into_iter().filter(|(path, _)| !hidden(path)).collect();
                    files.extend(new);
                    removed.extend(found.removed);
                }
                layers::only(files)
            }
        }
    }
}

fn check_layer(layer: &OciDescriptor) -> Result<(), Refusal> {
    let bytes = u64::try_from(layer.size).unwrap_or(u64::MAX);
    if bytes <= LAYER_BYTES_MAX {
        return Ok(());
    }
    let message = format!("a layer of the image has {bytes} bytes; push the component as an artifact instead");
    Err(Refusal::new(Reason::NotAComponent, message))
}

async fn blob(client: &Client, reference: &Reference, layer: &OciDescriptor) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Bounded::default();
    client.pull_blob(reference, layer, &mut bytes).await.map_err(|error| refusal(&reference.to_string(), &error))?;
    Ok(bytes.0)
}

/// Takes no more than a layer may have, whatever the registry sends.
#[derive(Default)]
struct Bounded(Vec<u8>);

impl AsyncWrite for Bounded {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut task::Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if (self.0.len() + bytes.len()) as u64 > LAYER_BYTES_MAX {
            return Poll::Ready(Err(io::Error::other("the registry sends more than an image may have")));
        }
        self.0.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn refusal(image: &str, error: &OciDistributionError) -> Refusal {
    let unauthorized = || {
        let message =
            format!("the registry does not show {image} to this namespace; check the name and imagePullSecrets");
        // A secret may be mended without a change of the function.
        Refusal::for_now(Reason::ImageUnauthorized, message)
    };
    let missing = || {
        Refusal::for_now(
            Reason::ImageNotFound,
            format!("{image} is not in its registry; push it, or correct component.image"),
        )
    };
    match error {
        OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_) => {
            unauthorized()
        }
        OciDistributionError::ServerError { code: 401 | 403, .. } => unauthorized(),
        OciDistributionError::ServerError { code: 404, .. } | OciDistributionError::ImageManifestNotFoundError(_) => {
            missing()
        }
        OciDistributionError::RegistryError { envelope, .. } => {
            match envelope.errors.first().map(|error| &error.code) {
                Some(OciErrorCode::ManifestUnknown | OciErrorCode::NameUnknown | OciErrorCode::NotFound) => missing(),
                Some(OciErrorCode::Unauthorized | OciErrorCode::Denied) => unauthorized(),
                _ => Refusal::for_now(Reason::ImageNotFound, format!("{image}: {error}")),
            }
        }
        error => Refusal::for_now(Reason::ImageNotFound, format!("{image} cannot be pulled: {error}")),
    }
}
