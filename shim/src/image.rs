//! Components that are an image by themselves, as containerd stores them.

use std::io;
use std::path::PathBuf;

use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::UnixStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Streaming};

use crate::containerd::containers::GetContainerRequest;
use crate::containerd::containers::containers_client::ContainersClient;
use crate::containerd::content::content_client::ContentClient;
use crate::containerd::content::{ReadContentRequest, ReadContentResponse};
use crate::containerd::images::images_client::ImagesClient;
use crate::containerd::images::{Descriptor, GetImageRequest};

const WASM_LAYERS: [&str; 2] = ["application/wasm", "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm"];
const INDEXES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
/// Of an index or manifest. The largest in use are some ten thousand bytes.
const JSON_BYTES_MAX: i64 = 4 << 20;
/// Of a component; what compiles from more does not fit into a store either.
const COMPONENT_BYTES_MAX: i64 = 1 << 30;

/// Why an image cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageError {
    #[error("containerd at {address}: {message}")]
    Unreachable { address: PathBuf, message: String },
    #[error("containerd does not say what {what} is: {status}")]
    Refused { what: String, status: String },
    #[error("{digest} of the image is no JSON that can be understood: {message}")]
    Malformed { digest: String, message: String },
    #[error("the image has {0} components; a container runs one, so push them as an image each")]
    Several(usize),
    #[error("{digest} has {bytes} bytes, more than the {max} that are taken")]
    TooLarge { digest: String, bytes: i64, max: i64 },
    #[error("{digest} ended after {bytes} bytes")]
    Cut { digest: String, bytes: usize },
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A component in containerd's store.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Layer {
    media_type: String,
    /// `sha256:<hex>` of the component.
    pub(crate) digest: String,
    size: i64,
}

/// An image manifest, or an index of some.
#[derive(Debug, Default, Deserialize)]
struct Document {
    #[serde(default)]
    layers: Vec<Layer>,
    #[serde(default)]
    manifests: Vec<Variant>,
}

/// One manifest of an index.
#[derive(Debug, Deserialize)]
struct Variant {
    digest: String,
    size: i64,
    platform: Option<Platform>,
}

#[derive(Debug, Deserialize)]
struct Platform {
    architecture: String,
}

/// A connection to containerd's socket.
///
/// # Errors
/// When nobody answers there.
pub(crate) async fn channel(address: &str) -> Result<Channel, tonic::transport::Error> {
    let path = PathBuf::from(address.trim_start_matches("unix://"));
    let connector = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { Ok::<_, io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
    });
    // The URI is only there because the library wants one.
    Endpoint::from_static("http://containerd").connect_with_connector(connector).await
}

fn unreachable(address: &str, message: String) -> ImageError {
    ImageError::Unreachable { address: address.into(), message: message.trim().to_owned() }
}

/// containerd, in one of its namespaces.
pub(crate) struct Images {
    channel: Channel,
    namespace: MetadataValue<Ascii>,
}

impl Images {
    /// Connects to containerd's socket.
    ///
    /// # Errors
    /// When nobody answers there.
    pub(crate) async fn connect(address: &str, namespace: &str) -> Result<Self, ImageError> {
        let refused = || unreachable(address, format!("{namespace:?} is no namespace"));
        let namespace = namespace.parse().map_err(|_| refused())?;
        let channel = channel(address).await.map_err(|error| unreachable(address, chain(&error)))?;
        Ok(Self { channel, namespace })
    }

    /// The component that the image of the container `id` is; none when it is an ordinary image.
    ///
    /// # Errors
    /// When containerd does not tell, or the image has several components.
    pub(crate) async fn component_of(&self, id: &str) -> Result<Option<Layer>, ImageError> {
        let Some(target) = self.target_of(id).await? else { return Ok(None) };
        let mut document = self.document(&target.digest, target.size).await?;
        if INDEXES.contains(&target.media_type.as_str()) {
            let Some(variant) = wasm_variant(document.manifests) else { return Ok(None) };
            document = self.document(&variant.digest, variant.size).await?;
        }
        component(document.layers)
    }

    async fn target_of(&self, id: &str) -> Result<Option<Descriptor>, ImageError> {
        let mut containers = ContainersClient::new(self.channel.clone());
        let request = self.request(GetContainerRequest { id: id.to_owned() });
        let found = containers.get(request).await.map_err(|status| refused(format!("container {id}"), &status))?;
        let name = found.into_inner().container.map(|container| container.image).unwrap_or_default();
        if name.is_empty() {
            // A client may make a container from a folder, without an image.
            return Ok(None);
        }
        let mut images = ImagesClient::new(self.channel.clone());
        let request = self.request(GetImageRequest { name: name.clone() });
        let found = images.get(request).await.map_err(|status| refused(format!("image {name}"), &status))?;
        Ok(found.into_inner().image.and_then(|image| image.target))
    }

    async fn document(&self, digest: &str, bytes: i64) -> Result<Document, ImageError> {
        let json = self.read(digest, bytes, JSON_BYTES_MAX).await?;
        let malformed =
            |error: serde_json::Error| ImageError::Malformed { digest: digest.to_owned(), message: error.to_string() };
        serde_json::from_slice(&json).map_err(malformed)
    }

    /// The component's bytes.
    ///
    /// # Errors
    /// When containerd does not have all of them.
    pub(crate) async fn bytes(&self, layer: &Layer) -> Result<Vec<u8>, ImageError> {
        self.read(&layer.digest, layer.size, COMPONENT_BYTES_MAX).await
    }

    async fn read(&self, digest: &str, bytes: i64, max: i64) -> Result<Vec<u8>, ImageError> {
        if bytes > max {
            return Err(ImageError::TooLarge { digest: digest.to_owned(), bytes, max });
        }
        let request = self.request(ReadContentRequest { digest: digest.to_owned(), offset: 0, size: 0 });
        let mut content = ContentClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX);
        let reply = content.read(request).await.map_err(|status| refused(digest.to_owned(), &status))?;
        let read = collect(reply.into_inner(), digest).await?;
        if i64::try_from(read.len()) != Ok(bytes) {
            return Err(ImageError::Cut { digest: digest.to_owned(), bytes: read.len() });
        }
        Ok(read)
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("containerd-namespace", self.namespace.clone());
        request
    }
}

async fn collect(mut stream: Streaming<ReadContentResponse>, digest: &str) -> Result<Vec<u8>, ImageError> {
    let mut bytes = Vec::new();
    while let Some(part) = stream.message().await.map_err(|status| refused(digest.to_owned(), &status))? {
        bytes.extend(part.data);
    }
    Ok(bytes)
}

fn wasm_variant(variants: Vec<Variant>) -> Option<Variant> {
    let is_wasm = |variant: &Variant| variant.platform.as_ref().is_some_and(|of| of.architecture == "wasm");
    variants.into_iter().find(is_wasm)
}

fn component(layers: Vec<Layer>) -> Result<Option<Layer>, ImageError> {
    let is_component = |layer: &Layer| WASM_LAYERS.contains(&layer.media_type.as_str());
    let mut components: Vec<Layer> = layers.into_iter().filter(is_component).collect();
    if components.len() > 1 {
        return Err(ImageError::Several(components.len()));
    }
    Ok(components.pop())
}

fn refused(what: String, status: &tonic::Status) -> ImageError {
    ImageError::Refused { what, status: status.message().to_owned() }
}

/// The error with its causes: the outermost says only that there was one.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(json: &str) -> Document {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_wasm_artifact_is_known_by_its_layer() {
        let manifest = document(
            r#"{"schemaVersion": 2, "config": {"mediaType": "application/vnd.wasm.config.v0+json", "digest": "sha256:c"},
                "layers": [{"mediaType": "application/wasm", "digest": "sha256:a", "size": 8}]}"#,
        );
        assert_eq!(component(manifest.layers).unwrap().unwrap().digest, "sha256:a");
    }

    #[test]
    fn an_ordinary_image_is_no_component() {
        let manifest = document(
            r#"{"layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": "sha256:a", "size": 8}]}"#,
        );
        assert_eq!(component(manifest.layers).unwrap(), None);
    }

    #[test]
    fn several_components_are_refused() {
        let layer = r#"{"mediaType": "application/wasm", "digest": "sha256:a", "size": 8}"#;
        let error = component(document(&format!(r#"{{"layers": [{layer}, {layer}]}}"#)).layers).unwrap_err();
        assert!(matches!(error, ImageError::Several(2)));
    }

    #[test]
    fn an_index_is_followed_to_its_wasm_variant_only() {
        let index = |architecture: &str| {
            let variant = format!(
                r#"{{"digest": "sha256:m", "size": 1, "platform": {{"architecture": "{architecture}", "os": "wasip2"}}}}"#
            );
            wasm_variant(document(&format!(r#"{{"manifests": [{variant}]}}"#)).manifests)
        };
        assert_eq!(index("wasm").unwrap().digest, "sha256:m");
        assert!(index("amd64").is_none());
    }
}
