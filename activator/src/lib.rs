//! The data plane of Wisp: holds each request until an instance can take it, and forwards it.
//!
//! It decides nothing about instances, watches no Kubernetes API and writes nothing anywhere: routes are applied to its
//! [`Index`] by whoever embeds it, endpoints come from the autoscaler by the control stream, demand goes back the same
//! way. Any number of activators may run side by side.
//!
//! One request, file by file:
//!
//! - `server` accepts a client for one of the `workers`; `connection` finds out the protocol and keeps the client within its limits, by what
//!   `client` notes below HTTP; `leaving` ends it when this activator will go.
//! - `proxy` is the path of the request, and `passage` what it carries along: `route`, `hosts` and `index` find the revision;
//! - `revision` gives it a slot, or a place in line, by the rules of `admission` and `balance`;
//! - `forward` sends it to the `endpoint`, over `http1` or `http2` on a `socket`, with its body from `upload`;
//! - `answer` carries the body back, and gives back the slot; `headers` is what both ways add and take away.
//! - `respond` is what the client gets when something went wrong.
//!
//! Beside it, `link` speaks with the autoscaler: `report` and `wake` say when about what. `metrics`, `traces` and
//! `snapshot` are for those who look inside.

#![forbid(unsafe_code)]

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wisp_api::wire::{DemandDown, DemandUp};
use wisp_chassis::control::Link;

mod admission;
mod answer;
mod balance;
mod client;
mod config;
mod connection;
mod demand;
mod endpoint;
mod forward;
mod headers;
mod hosts;
mod http1;
mod http2;
mod index;
mod leaving;
mod link;
mod metrics;
mod passage;
mod proxy;
mod report;
mod respond;
mod revision;
mod route;
mod server;
mod shards;
mod snapshot;
mod socket;
mod traces;
mod upload;
mod wake;
mod workers;

pub use config::{Config, ConnectionLimits};
pub use headers::ForwardedTrust;
pub use index::Index;
pub use leaving::Leaving;
pub use snapshot::{Conflict, EndpointSnapshot, EndpointTrust, FunctionSnapshot, RevisionSnapshot, Snapshot};
pub use traces::{Traces, TracesError};

use crate::answer::Deadlines;
use crate::connection::Shared;
use crate::metrics::Metrics;
use crate::proxy::Proxy;
use crate::revision::Signal;
use crate::server::Server;
use crate::workers::{WorkerId, Workers};

/// How late an answer may be cut that has passed its deadline.
const DEADLINE_LOOK: Duration = Duration::from_millis(100);

/// Why an activator cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The data port cannot be bound.
    #[error("cannot listen on {listen}: {error}; is another program using the port?")]
    Listen {
        /// Where.
        listen: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// A worker cannot be started.
    #[error("cannot start a thread that serves clients: {0}; is the limit of threads or of open files too low?")]
    Worker(io::Error),
}

/// An activator whose port is bound, and which has not begun.
#[derive(Debug)]
pub struct Activator {
    server: Server,
    local_addr: SocketAddr,
    identity: link::Identity,
    index: Arc<Index>,
    deadlines: Arc<Deadlines>,
    traces: Option<Traces>,
    signals: mpsc::UnboundedReceiver<Signal>,
}

impl Activator {
    /// Binds the data port. Its metrics are registered in `registry`. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`BuildError::Listen`] when the port is taken or not allowed, [`BuildError::Worker`] when threads are not to be had.
    pub fn build(config: Config, registry: &mut Registry) -> Result<Self, BuildError> {
        let failed = |error| BuildError::Listen { listen: config.listen, error };
        let listener = server::bind(config.listen).map_err(failed)?;
        let local_addr = listener.local_addr().map_err(failed)?;
        let (sender, signals) = mpsc::unbounded_channel();
        let index = Arc::new(Index::new(sender, config.workers.get()));
        let metrics = Arc::new(Metrics::new(registry));
        let (deadlines, drain) = (Arc::new(Deadlines::default()), CancellationToken::new());
        let tls = config.tls.map(with_alpn);
        let shared = |worker| Shared {
            proxy: Proxy {
                worker: WorkerId(worker),
                index: Arc::clone(&index),
                metrics: Arc::clone(&metrics),
                deadlines: Arc::clone(&deadlines),
                traces: config.traces.clone(),
            },
            tls: tls.clone(),
            forwarded: config.forwarded,
            limits: config.limits,
            leaving: config.leaving.clone(),
            drain: drain.clone(),
            tasks: TaskTracker::new(),
        };
        let workers = Workers::start((0..config.workers.get()).map(shared).collect()).map_err(BuildError::Worker)?;
        let server = Server { listener, workers, limits: config.limits, metrics, drain };
        let identity = link::Identity { name: config.name, token_file: config.token_file };
        Ok(Self { server, local_addr, identity, index, deadlines, traces: config.traces, signals })
    }

    /// Where clients connect.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// What it routes by; to be applied to, and to be looked at.
    #[must_use]
    pub fn index(&self) -> Arc<Index> {
        Arc::clone(&self.index)
    }

    /// Serves until `shutdown`, then finishes what is in flight. Dropping it cuts everything off.
    pub async fn run(self, link: Link<DemandUp, DemandDown>, shutdown: CancellationToken) {
        let mut background = JoinSet::new();
        let control = link::Control::new(self.identity, self.index, Arc::clone(&self.server.metrics), link);
        background.spawn(control.run(self.signals));
        background.spawn(keep_deadlines(self.deadlines));
        self.server.run(shutdown).await;
        background.shutdown().await;
        if let Some(traces) = self.traces {
            traces.flush().await;
        }
    }
}

fn with_alpn(tls: Arc<rustls::ServerConfig>) -> Arc<rustls::ServerConfig> {
    let mut tls = Arc::unwrap_or_clone(tls);
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(tls)
}

async fn keep_deadlines(deadlines: Arc<Deadlines>) {
    let mut look = interval(DEADLINE_LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        deadlines.expire(Instant::now());
    }
}
