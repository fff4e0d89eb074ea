//! The activator as a program of its own: parse, build, run.

#![forbid(unsafe_code)]

mod args;
mod kubernetes;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wisp_activator::{Activator, Index, Leaving, Traces};
use wisp_chassis::admin::{self, Admin};
use wisp_chassis::control::demand_link;
use wisp_chassis::log;

use crate::args::{Args, read_routes};
use crate::kubernetes::Domains;

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    log::init(args.log_format());
    // Told to stop, then told to drain: in between, whoever sends requests here learns to send them elsewhere.
    let (stopping, shutdown) = (CancellationToken::new(), CancellationToken::new());
    let mut registry = Registry::default();
    let mut config = args.config()?;
    config.traces = Traces::from_environment()?;
    let leaving = config.leaving.clone();
    let activator = Activator::build(config, &mut registry)?;
    let index = activator.index();
    let (synced, is_synced) = watch::channel(false);
    let routes = follow_routes(&args, &index, synced).await?;
    tracing::info!(listen = %activator.local_addr(), admin = %args.admin, "activator is listening");

    let listener = TcpListener::bind(args.admin).await.with_context(|| format!("cannot listen on {}", args.admin))?;
    let port = Port { registry, index, is_synced, stopping: stopping.clone() };
    let admin = tokio::spawn(port.serve(listener, shutdown.clone()));
    let going = Going { stopping, leaving, delay: args.drain_delay.0, shutdown: shutdown.clone() };
    let stop = tokio::spawn(going.stop(signal(SignalKind::terminate())?));
    let link = demand_link(args.control()?, CancellationToken::new());
    activator.run(link, shutdown.clone()).await;
    routes.abort();
    stop.abort();
    admin.await.context("the admin port failed")
}

/// Keeps the routes true, by the API server or by a file.
async fn follow_routes(args: &Args, index: &Arc<Index>, synced: watch::Sender<bool>) -> Result<JoinHandle<()>> {
    let index = Arc::clone(index);
    let Some(path) = args.routes.clone() else {
        let client = wisp_kubernetes::client().await?;
        let domains = Domains { public: args.domain.clone(), cluster: args.cluster_domain.clone() };
        return Ok(tokio::spawn(kubernetes::follow(client, domains, index, synced)));
    };
    index.reset(read_routes(&path)?);
    synced.send_replace(true);
    Ok(tokio::spawn(reload(index, path, signal(SignalKind::hangup())?)))
}

/// What the admin port shows.
struct Port {
    registry: Registry,
    index: Arc<Index>,
    is_synced: watch::Receiver<bool>,
    stopping: CancellationToken,
}

impl Port {
    async fn serve(self, listener: TcpListener, shutdown: CancellationToken) {
        let Self { registry, index, is_synced, stopping } = self;
        let admin = Arc::new(Admin {
            registry,
            ready: Box::new(move || *is_synced.borrow() && !stopping.is_cancelled()),
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

/// How this program ends.
struct Going {
    /// It is no longer ready.
    stopping: CancellationToken,
    leaving: Leaving,
    delay: Duration,
    shutdown: CancellationToken,
}

impl Going {
    /// Orders the shutdown at SIGTERM, a while after it is no longer ready; at Ctrl-C at once.
    async fn stop(self, mut terminate: Signal) {
        let wait = async {
            terminate.recv().await;
            self.stopping.cancel();
            self.leaving.begin();
            tokio::time::sleep(self.delay).await;
        };
        tokio::select! {
            () = wait => {}
            _ = tokio::signal::ctrl_c() => self.stopping.cancel(),
        }
        self.shutdown.cancel();
    }
}
