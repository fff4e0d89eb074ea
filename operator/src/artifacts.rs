//! Hands the nodes' agents, over TLS, compiled code (`GET /artifacts/<file>`) and the key by which a node vouches for its
//! pods (`GET /node-key`).

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::TryStreamExt;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use ring::digest::{SHA256, digest};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;
use wisp_api::{WasmRevision, names};
use wisp_identity::InstallationKey;
use wisp_kubernetes::{ReviewError, review_token};

use crate::bootstrap::Secrets;
use crate::component::Components;

const AGENT: &str = "wisp-node";
/// Where an agent gets the key of its node.
const NODE_KEY: &str = "/node-key";
/// Each node has one agent, which fetches a few files at once.
const CONNECTIONS_MAX: usize = 512;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A token that was good is believed for this long.
const BELIEVED: Duration = Duration::from_secs(60);
const BELIEVED_MAX: usize = 4096;

type Body = BoxBody<Bytes, io::Error>;

/// Serves the store.
pub struct Artifacts {
    client: Client,
    components: Components,
    system: String,
    identity: InstallationKey,
    believed: Mutex<HashMap<Vec<u8>, Agent>>,
}

/// An agent whose token was good.
#[derive(Clone)]
struct Agent {
    since: Instant,
    /// The node that it runs on, by the API server's word.
    node: Option<String>,
}

/// Why somebody gets nothing.
enum Denied {
    NoToken,
    Refused(String),
    Unreachable(String),
}

impl Artifacts {
    /// The store of `components`, and the keys that are derived from `identity`, for the agents of the platform in `system`.
    #[must_use]
    pub fn new(client: Client, components: Components, system: String, identity: InstallationKey) -> Self {
        Self { client, components, system, identity, believed: Mutex::default() }
    }

    /// Serves on `listener` until `shutdown`.
    ///
    /// # Errors
    /// When the certificate or its key cannot be used.
    pub async fn serve(self, listener: TcpListener, secrets: &Secrets, shutdown: CancellationToken) -> io::Result<()> {
        let acceptor = acceptor(secrets).map_err(io::Error::other)?;
        let (artifacts, places) = (Arc::new(self), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
        while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
            let Ok((stream, _)) = accepted else { continue };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
            let (artifacts, acceptor, shutdown) = (Arc::clone(&artifacts), acceptor.clone(), shutdown.clone());
            // Ends with its client, or with the shutdown.
            tokio::spawn(async move {
                shutdown.run_until_cancelled(artifacts.connection(acceptor, stream)).await;
                drop(place);
            });
        }
        Ok(())
    }

    async fn connection(self: Arc<Self>, acceptor: TlsAcceptor, stream: TcpStream) {
        let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await else { return };
        let service = service_fn(move |request| {
            let artifacts = Arc::clone(&self);
            async move { Ok::<_, std::convert::Infallible>(artifacts.respond(request).await) }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HANDSHAKE_TIMEOUT);
        if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
            tracing::debug!(%error, "an agent's connection broke");
        }
    }

    async fn respond(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path();
        let file = path.strip_prefix("/artifacts/").filter(|file| is_name(file));
        if file.is_none() && path != NODE_KEY {
            return text(StatusCode::NOT_FOUND, "ask for /artifacts/<file> or /node-key");
        }
        let agent = match self.admit(&request).await {
            Ok(agent) => agent,
            Err(Denied::NoToken) => return text(StatusCode::UNAUTHORIZED, "show a token: authorization: Bearer …"),
            Err(Denied::Refused(why)) => return text(StatusCode::FORBIDDEN, &why),
            Err(Denied::Unreachable(why)) => return text(StatusCode::SERVICE_UNAVAILABLE, &why),
        };
        match file {
            Some(file) => self.artifact(file).await,
            None => self.node_key(&agent),
        }
    }

    fn node_key(&self, agent: &Agent) -> Response<Body> {
        match &agent.node {
            Some(node) => text(StatusCode::OK, &json!(self.identity.of_node(node)).to_string()),
            None => text(StatusCode::FORBIDDEN, "the API server does not say which node this token is of"),
        }
    }

    async fn artifact(&self, file: &str) -> Response<Body> {
        match self.find(file).await {
            Ok(Some((file, bytes))) => {
                let stream = ReaderStream::new(file).map_ok(Frame::data);
                let mut response = Response::new(StreamBody::new(stream).boxed());
                response.headers_mut().insert(header::CONTENT_LENGTH, bytes.into());
                response
            }
            Ok(None) => text(StatusCode::NOT_FOUND, "no revision has this file"),
            Err(error) => text(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
        }
    }

    async fn find(&self, file: &str) -> io::Result<Option<(tokio::fs::File, u64)>> {
        if let Some(found) = self.components.open(file).await? {
            return Ok(Some(found));
        }
        // An operator whose store is new makes it again.
        let revisions: Api<WasmRevision> = Api::all(self.client.clone());
        let listed = revisions.list(&ListParams::default()).await.map_err(io::Error::other)?;
        let has = |revision: &&WasmRevision| {
            revision.status.iter().flat_map(|status| &status.artifacts).any(|artifact| artifact.file == file)
        };
        let Some(revision) = listed.items.iter().find(has) else { return Ok(None) };
        let namespace = revision.namespace().unwrap_or_default();
        self.components.compile(&namespace, &revision.spec.template).await.map_err(io::Error::other)?;
        self.components.open(file).await
    }

    async fn admit(&self, request: &Request<Incoming>) -> Result<Agent, Denied> {
        let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = shown.and_then(|value| value.strip_prefix("Bearer ")).ok_or(Denied::NoToken)?;
        let hash = digest(&SHA256, token.as_bytes()).as_ref().to_vec();
        if let Some(agent) = self.believed(&hash) {
            return Ok(agent);
        }
        let found =
            review_token(&self.client, token, names::ARTIFACTS_AUDIENCE).await.map_err(|error| match error {
                ReviewError::Refused(_) => Denied::Refused(error.to_string()),
                ReviewError::Unreachable(_) => Denied::Unreachable(error.to_string()),
            })?;
        if found.namespace != self.system || found.service_account != AGENT {
            return Err(Denied::Refused("compiled code is for the agents of nodes alone".to_owned()));
        }
        let mut believed = self.believed.lock().unwrap_or_else(PoisonError::into_inner);
        if believed.len() >= BELIEVED_MAX {
            believed.clear();
        }
        let agent = Agent { since: Instant::now(), node: found.node };
        believed.insert(hash, agent.clone());
        Ok(agent)
    }

    fn believed(&self, hash: &[u8]) -> Option<Agent> {
        let believed = self.believed.lock().unwrap_or_else(PoisonError::into_inner);
        believed.get(hash).filter(|agent| agent.since.elapsed() < BELIEVED).cloned()
    }
}

fn acceptor(secrets: &Secrets) -> anyhow::Result<TlsAcceptor> {
    let chain = CertificateDer::pem_slice_iter(secrets.certificate_pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(secrets.key_pem.as_bytes())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(TlsAcceptor::from(Arc::new(builder.with_no_client_auth().with_single_cert(chain, key)?)))
}

/// One path component, and no hidden file: the key is not for agents to fetch.
fn is_name(file: &str) -> bool {
    let sane = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !file.is_empty() && !file.starts_with('.') && file.ends_with(".wisp") && file.chars().all(sane)
}

fn text(status: StatusCode, message: &str) -> Response<Body> {
    let mut response =
        Response::new(Full::new(Bytes::from(format!("{message}\n"))).map_err(|never| match never {}).boxed());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_artifacts_can_be_asked_for() {
        assert!(is_name("0123abcd-ef.wisp"));
        for bad in ["", "seal.key", ".x.wisp", "../x.wisp", "a/b.wisp", "known", "x%2e.wisp"] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
