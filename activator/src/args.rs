//! The command line.

#![allow(rustdoc::bare_urls, reason = "what is documented here is shown as help, which is no Markdown")]

use std::net::SocketAddr;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use wisp_activator::{Config, ForwardedTrust};
use wisp_api::route::FunctionRoute;
use wisp_chassis::control::{ClientTls, ControlEndpoint};
use wisp_chassis::log;

/// The data plane of Wisp: holds each request until an instance can take it, and forwards it.
#[derive(Parser)]
#[command(version)]
pub(crate) struct Args {
    /// Where clients connect.
    #[arg(long, default_value = "0.0.0.0:8080")]
    pub(crate) listen: SocketAddr,
    /// Where /live, /ready, /metrics and /dump are served.
    #[arg(long, default_value = "127.0.0.1:9090")]
    pub(crate) admin: SocketAddr,
    /// The autoscaler: unix:/path or https://host:port.
    #[arg(long)]
    control: ControlEndpoint,
    /// The installation's CA, PEM; needed for https.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// The certificate by which the autoscaler knows this activator, PEM.
    #[arg(long, requires = "key")]
    cert: Option<PathBuf>,
    /// The key of that certificate, PEM.
    #[arg(long, requires = "cert")]
    key: Option<PathBuf>,
    /// The token by which the autoscaler knows this activator, as a pod has it.
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// The certificate chain that clients see, PEM; without it they connect in plain text.
    #[arg(long, requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The key of that certificate, PEM.
    #[arg(long, requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// What functions' public hosts end in.
    #[arg(long, default_value = "example.com")]
    pub(crate) domain: String,
    /// What the cluster's names of Services end in.
    #[arg(long, default_value = "cluster.local")]
    pub(crate) cluster_domain: String,
    /// A JSON array of function routes, read again on SIGHUP; without it, routes come from the API server.
    #[arg(long)]
    pub(crate) routes: Option<PathBuf>,
    /// Believe the forwarded headers of clients, because an ingress stands before this.
    #[arg(long)]
    trust_forwarded: bool,
    /// Threads that take and forward requests; one for each core by default.
    #[arg(long)]
    workers: Option<NonZero<usize>>,
    /// This activator's name, unique among activators.
    #[arg(long, env = "HOSTNAME", default_value = "activator")]
    name: String,
    /// After SIGTERM, seconds in which clients may still come while they learn to go elsewhere.
    #[arg(long, default_value = "0")]
    pub(crate) drain_delay: Seconds,
    /// JSON log lines.
    #[arg(long)]
    log_json: bool,
}

/// Whole seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seconds(pub(crate) Duration);

impl FromStr for Seconds {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(|seconds| Self(Duration::from_secs(seconds)))
    }
}

impl Args {
    pub(crate) fn log_format(&self) -> log::Format {
        if self.log_json { log::Format::Json } else { log::Format::default() }
    }

    pub(crate) fn config(&self) -> Result<Config> {
        let mut config = Config::new(self.listen, self.name.clone());
        config.token_file.clone_from(&self.token_file);
        if let Some(workers) = self.workers {
            config.workers = workers;
        }
        if self.trust_forwarded {
            config.forwarded = ForwardedTrust::Extend;
        }
        if let (Some(cert), Some(key)) = (&self.tls_cert, &self.tls_key) {
            config.tls = Some(Arc::new(tls(cert, key)?));
        }
        Ok(config)
    }

    pub(crate) fn control(&self) -> Result<ControlEndpoint> {
        let Some(ca) = &self.ca else { return Ok(self.control.clone()) };
        let read =
            |path: &Path| std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
        let identity = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Some((read(cert)?, read(key)?)),
            _ => None,
        };
        Ok(self.control.clone().with_tls(ClientTls { ca_pem: read(ca)?, identity, server_name: None }))
    }
}

fn tls(cert: &Path, key: &Path) -> Result<rustls::ServerConfig> {
    let chain = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.with_context(|| format!("cannot read the certificates in {}", cert.display()))?;
    ensure!(!chain.is_empty(), "{} has no certificate; it must be a PEM file", cert.display());
    let key = PrivateKeyDer::from_pem_file(key).with_context(|| format!("cannot read the key in {}", key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    builder.with_no_client_auth().with_single_cert(chain, key).context("the certificate and the key do not fit")
}

pub(crate) fn read_routes(path: &Path) -> Result<Vec<FunctionRoute>> {
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is no array of function routes", path.display()))
}
