//! The activator as a program of its own: parse, build, run.

#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use prometheus_client::registry::Registry;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use wisp_activator::{Activator, Config, ForwardedTrust, Index};
use wisp_api::route::FunctionRoute;
use wisp_chassis::admin::{self, Admin};
use wisp_chassis::control::{ClientTls, ControlEndpoint, demand_link};
use wisp_chassis::log;

/// The data plane of Wisp: holds each request until an instance can take it, and forwards it.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Where clients connect.
    #[arg(long, default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Where /live, /ready, /metrics and /dump are served.
    #[arg(long, default_value = "127.0.0.1:9090")]
    admin: SocketAddr,
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
    /// The certificate chain that clients see, PEM; without it they connect in plain text.
    #[arg(long, requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The key of that certificate, PEM.
    #[arg(long, requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// A JSON array of function routes; read again on SIGHUP.
    #[arg(long)]
    routes: PathBuf,
    /// Believe the forwarded headers of clients, because an ingress stands before this.
    #[arg(long)]
    trust_forwarded: bool,
    /// Threads that take and forward requests; one for each core by default.
    #[arg(long)]
    workers: Option<NonZero<usize>>,
    /// This activator's name, unique among activators.
    #[arg(long, env = "HOSTNAME", default_value = "activator")]
    name: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    log::init(log::Format::default());
    let shutdown = CancellationToken::new();
    let mut registry = Registry::default();
    let activator = Activator::build(config(&args)?, &mut registry)?;
    let index = activator.index();
    index.reset(read_routes(&args.routes)?);
    tracing::info!(listen = %activator.local_addr(), admin = %args.admin, "activator is ready");

    let listener = TcpListener::bind(args.admin).await.with_context(|| format!("cannot listen on {}", args.admin))?;
    let admin = tokio::spawn(serve_admin(listener, registry, Arc::clone(&index), shutdown.clone()));
    let reload = tokio::spawn(reload(index, args.routes.clone(), signal(SignalKind::hangup())?));
    let stop = tokio::spawn(stop(signal(SignalKind::terminate())?, shutdown.clone()));
    let link = demand_link(control(&args)?, CancellationToken::new());
    activator.run(link, shutdown.clone()).await;
    reload.abort();
    stop.abort();
    admin.await.context("the admin port failed")
}

fn config(args: &Args) -> Result<Config> {
    let mut config = Config::new(args.listen, args.name.clone());
    if let Some(workers) = args.workers {
        config.workers = workers;
    }
    if args.trust_forwarded {
        config.forwarded = ForwardedTrust::Extend;
    }
    if let (Some(cert), Some(key)) = (&args.tls_cert, &args.tls_key) {
        config.tls = Some(Arc::new(tls(cert, key)?));
    }
    Ok(config)
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

fn control(args: &Args) -> Result<ControlEndpoint> {
    let Some(ca) = &args.ca else { return Ok(args.control.clone()) };
    let read = |path: &Path| std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let identity = match (&args.cert, &args.key) {
        (Some(cert), Some(key)) => Some((read(cert)?, read(key)?)),
        _ => None,
    };
    Ok(args.control.clone().with_tls(ClientTls { ca_pem: read(ca)?, identity, server_name: None }))
}

fn read_routes(path: &Path) -> Result<Vec<FunctionRoute>> {
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is no array of function routes", path.display()))
}

async fn serve_admin(listener: TcpListener, registry: Registry, index: Arc<Index>, shutdown: CancellationToken) {
    let draining = shutdown.clone();
    let admin = Arc::new(Admin {
        registry,
        ready: Box::new(move || !draining.is_cancelled()),
        dump: Box::new(move || serde_json::to_value(index.snapshot()).unwrap_or_default()),
    });
    let handler = move |request| {
        let admin = Arc::clone(&admin);
        async move {
            let nothing = || admin::text(http::StatusCode::NOT_FOUND, "try /live, /ready, /metrics or /dump\n");
            admin.respond(&request).unwrap_or_else(nothing)
        }
    };
    admin::serve(listener, handler, shutdown).await;
}

/// Reads the routes again at each SIGHUP. A file that cannot be read changes nothing.
async fn reload(index: Arc<Index>, path: PathBuf, mut hangups: Signal) {
    while hangups.recv().await.is_some() {
        match read_routes(&path) {
            Ok(routes) => {
                tracing::info!(functions = routes.len(), "routes were read again");
                index.reset(routes);
            }
            Err(error) => tracing::warn!("routes stay as they are: {error:#}"),
        }
    }
}

/// Orders the shutdown at SIGTERM or Ctrl-C.
async fn stop(mut terminate: Signal, shutdown: CancellationToken) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    shutdown.cancel();
}
