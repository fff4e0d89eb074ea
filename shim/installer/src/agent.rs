//! The node's agent: keeps in one folder the compiled code of all revisions, so that an instance finds it when it is told
//! what to serve, and beside it the key by which the node vouches for them.
//!
//! `Agent` is the shell around `ledger`, which decides. `revisions` watches the API, and `named` is the index of it;
//! `fetch` asks the operator, `shelf` is the folder, and `port` shows how it goes. Seals are the host's business: the agent
//! brings the key and the files, and trusts neither.

mod fetch;
mod ledger;
mod metrics;
mod name;
mod named;
mod port;
mod revisions;
mod shelf;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use http::Uri;
use kube::runtime::watcher::Event;
use prometheus_client::registry::Registry;
use tempfile::NamedTempFile;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use wisp_api::revision::architecture;
use wisp_identity::NodeKey;

use self::fetch::{FetchError, Source, fetch, fetch_node_key};
use self::ledger::Ledger;
use self::metrics::Metrics;
use self::name::ArtifactName;
use self::named::Named;
use self::port::Shown;
use self::revisions::{Revision, note};
use self::shelf::Shelf;

/// Between two looks at the mounted key and at the folder: the kubelet takes longer to renew a Secret.
const LOOK_PERIOD: Duration = Duration::from_secs(2);
const KEY_BYTES: usize = 32;
/// Between two askings for the node's key: until the operator has given it to this process, and then.
const NODE_KEY_RETRY: Duration = Duration::from_secs(2);
const NODE_KEY_PERIOD: Duration = Duration::from_secs(60);
/// Far ahead: something else happens before.
const IDLE: Duration = Duration::from_secs(3600);

/// Arguments of `agent`.
#[derive(Clone, Debug, clap::Args)]
pub struct AgentArgs {
    /// The node's store of compiled code, as seen from here; the shim's setting of that name.
    #[arg(long, default_value = "/var/lib/wisp/store", value_name = "DIR")]
    pub store: PathBuf,
    /// The operator, which has compiled it.
    #[arg(long, default_value = "https://wisp-operator.wisp-system.svc:8443", value_name = "URL")]
    pub operator: Uri,
    /// The name in the operator's certificate, where it is not the host of the URL.
    #[arg(long, value_name = "NAME")]
    pub operator_name: Option<String>,
    /// The installation's CA, PEM.
    #[arg(long, default_value = "/etc/wisp/ca/ca.crt", value_name = "FILE")]
    pub ca: PathBuf,
    /// The token that proves to the operator who asks.
    #[arg(long, default_value = "/var/run/secrets/wisp/token", value_name = "FILE")]
    pub token_file: PathBuf,
    /// The installation's seal key.
    #[arg(long, default_value = "/etc/wisp/seal/seal.key", value_name = "FILE")]
    pub seal_key: PathBuf,
    /// Where /live, /ready, /metrics and /dump are served.
    #[arg(long, default_value = "127.0.0.1:9090", value_name = "ADDRESS")]
    pub admin: SocketAddr,
}

/// Runs until `shutdown`.
///
/// # Errors
/// When it cannot begin, or the folder fails it.
pub(crate) async fn run(args: AgentArgs, shutdown: CancellationToken) -> Result<()> {
    let client = kube::Client::try_default().await.context("cannot find the cluster; the agent runs in a pod of it")?;
    let shelf = Shelf::open(&args.store).with_context(|| format!("cannot use {}", args.store.display()))?;
    let listener = TcpListener::bind(args.admin).await.with_context(|| format!("cannot listen on {}", args.admin))?;
    tracing::info!(admin = %listener.local_addr()?, store = %args.store.display(), "agent begins");
    let mut registry = Registry::default();
    let (metrics, shown) = (Metrics::register(&mut registry), Shown::default());
    let port = tokio::spawn(port::serve(listener, registry, shown.clone(), shutdown.clone()));
    let source = Source { url: args.operator, server_name: args.operator_name, ca: args.ca, token: args.token_file };
    let agent = Agent {
        source,
        seal_key: args.seal_key,
        node_key: NodeKeyState { is_there: shelf.node_key().is_some(), ..NodeKeyState::default() },
        shelf,
        metrics,
        shown,
        named: Named::new(architecture(std::env::consts::ARCH)),
        ledger: Ledger::default(),
        fetches: JoinSet::new(),
        has_key: false,
        has_complained: false,
    };
    let ended = agent.live(client, shutdown.clone()).await;
    shutdown.cancel();
    port.await.context("the admin port panicked")?;
    ended
}

struct Agent {
    source: Source,
    seal_key: PathBuf,
    shelf: Shelf,
    metrics: Metrics,
    shown: Shown,
    named: Named,
    ledger: Ledger,
    fetches: JoinSet<Fetched>,
    /// Without it nothing that could be fetched is of use.
    has_key: bool,
    has_complained: bool,
    node_key: NodeKeyState,
}

/// Whether the node can vouch for its pods.
#[derive(Debug, Default)]
struct NodeKeyState {
    /// The operator is being asked.
    asking: JoinSet<Result<NodeKey, FetchError>>,
    asked: Option<Instant>,
    /// On the node; perhaps of an earlier installation.
    is_there: bool,
    /// By the operator, since this process began.
    is_given: bool,
    has_complained: bool,
}

/// How a fetch ended.
struct Fetched {
    name: ArtifactName,
    bytes: u64,
    took: Duration,
    file: Result<NamedTempFile, FetchError>,
}

impl Agent {
    async fn live(mut self, client: kube::Client, shutdown: CancellationToken) -> Result<()> {
        let mut revisions = pin!(revisions::watch(client));
        let mut look = interval(LOOK_PERIOD);
        loop {
            let next = self.step()?;
            tokio::select! {
                event = revisions.next() => match event {
                    Some(Ok(event)) => self.on_revision(event),
                    Some(Err(error)) => {
                        self.metrics.watch_failed();
                        tracing::warn!(%error, "cannot watch revisions; what is here stays, trying again");
                    }
                    None => anyhow::bail!("the watch of revisions ended, which it never does"),
                },
                Some(fetched) = self.fetches.join_next() => {
                    self.on_fetched(fetched.context("a fetch panicked")?)?;
                }
                Some(key) = self.node_key.asking.join_next() => self.on_node_key(key.context("a fetch panicked")?)?,
                _ = look.tick() => self.look().await?,
                () = sleep_until(next) => {}
                () = shutdown.cancelled() => break,
            }
        }
        // Half of a file is nothing: each goes with its task.
        self.fetches.shutdown().await;
        self.node_key.asking.shutdown().await;
        tracing::info!("agent ends");
        Ok(())
    }

    /// Does what is to be done now, and says when to come again.
    fn step(&mut self) -> Result<Instant> {
        let now = Instant::now();
        let mut next = now + IDLE;
        if self.has_key {
            let step = self.ledger.step(now);
            for (name, bytes) in step.fetch {
                self.begin_fetch(name, bytes);
            }
            for name in &step.remove {
                self.shelf.remove(name).with_context(|| format!("cannot remove {name}"))?;
                self.metrics.removed();
                tracing::info!(%name, "removed; no revision names it");
            }
            next = step.next.unwrap_or(next);
        }
        self.metrics.show(&self.ledger);
        self.shown.publish(&self.ledger, self.has_key, self.node_key.is_there);
        Ok(next)
    }

    fn begin_fetch(&mut self, name: ArtifactName, bytes: u64) {
        let (source, shelf) = (self.source.clone(), self.shelf.clone());
        self.fetches.spawn(async move {
            let began = Instant::now();
            let file = fetch(&source, &shelf, &name, bytes).await;
            Fetched { name, bytes, took: began.elapsed(), file }
        });
    }

    fn on_revision(&mut self, event: Event<Revision>) {
        if note(&mut self.named, event) {
            self.ledger.name(self.named.files());
        }
    }

    fn on_fetched(&mut self, fetched: Fetched) -> Result<()> {
        let Fetched { name, bytes, took, file } = fetched;
        match file {
            Ok(file) => {
                self.shelf.put(file, &name).with_context(|| format!("cannot name {name}"))?;
                self.metrics.fetched(took);
                tracing::info!(%name, bytes, ?took, "fetched");
                self.ledger.fetched(name, bytes);
            }
            Err(error) => {
                self.metrics.failed();
                tracing::warn!(%name, %error, "not fetched; trying again");
                self.ledger.failed(&name, Instant::now());
            }
        }
        Ok(())
    }

    fn ask_for_node_key(&mut self) {
        let state = &mut self.node_key;
        let period = if state.is_given { NODE_KEY_PERIOD } else { NODE_KEY_RETRY };
        if !state.asking.is_empty() || state.asked.is_some_and(|asked| asked.elapsed() < period) {
            return;
        }
        state.asked = Some(Instant::now());
        let source = self.source.clone();
        state.asking.spawn(async move { fetch_node_key(&source).await });
    }

    fn on_node_key(&mut self, key: Result<NodeKey, FetchError>) -> Result<()> {
        match key {
            Ok(key) => {
                if self.shelf.node_key().as_ref() != Some(&key) {
                    self.shelf.install_node_key(&key).context("cannot install the node's key")?;
                    tracing::info!(node = key.node(), "there is another key of this node");
                }
                let state = &mut self.node_key;
                (state.is_there, state.is_given, state.has_complained) = (true, true, false);
            }
            // What is installed stays in force.
            Err(error) if !std::mem::replace(&mut self.node_key.has_complained, true) => {
                tracing::warn!(%error, "the node's key is not fetched; trying again");
            }
            Err(error) => tracing::debug!(%error, "the node's key is not fetched"),
        }
        Ok(())
    }

    /// Sees to it that the key is the installation's, and that the folder has what we think it has.
    async fn look(&mut self) -> Result<()> {
        match self.mounted_key() {
            Some(key) if !self.shelf.has_key(&key) => {
                // What is being fetched may be sealed with the old one: none of it may land after the change.
                self.fetches.shutdown().await;
                self.shelf.install_key(&key).context("cannot install the seal key")?;
                self.ledger.emptied();
                self.has_key = true;
                tracing::info!("there is another seal key; what the old one sealed is removed");
            }
            Some(_) => self.has_key = true,
            None => {}
        }
        self.ledger.find(self.shelf.list().context("cannot list the artifacts")?);
        self.ask_for_node_key();
        Ok(())
    }

    /// None while there is none that could be one. What is installed stays in force then.
    fn mounted_key(&mut self) -> Option<Vec<u8>> {
        let found = match std::fs::read(&self.seal_key) {
            Ok(key) if key.len() == KEY_BYTES => {
                self.has_complained = false;
                return Some(key);
            }
            Ok(key) => format!("{} bytes", key.len()),
            Err(error) => error.to_string(),
        };
        // Once, and not at each look.
        if !std::mem::replace(&mut self.has_complained, true) {
            let path = self.seal_key.display();
            tracing::warn!(%path, found, "no seal key of {KEY_BYTES} bytes; the operator keeps it in the Secret wisp-seal");
        }
        None
    }
}
