//! `warm`: an instance that the autoscaler turns into a revision.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use wisp_chassis::control::{ControlEndpoint, instance_link};

use super::CommonArgs;
use crate::engine::{Runtimes, WARM_POOL_SLOTS};
use crate::exit::Exit;
use crate::handler::Host;
use crate::inspect::World;
use crate::instance::{Identity, Instance, Means, Token};
use crate::seal::SealKey;
use crate::server::{self, Address, Listener, Stop};

/// For connections that are idle but open, after the last request has been answered.
const CLOSE_WITHIN: Duration = Duration::from_millis(500);

/// Arguments of `warm`.
#[derive(Debug, Args)]
pub struct WarmArgs {
    /// The autoscaler's control address: unix:/path or https://host:port.
    #[arg(long)]
    pub control: ControlEndpoint,
    /// This instance's name: the pod's UID, or what the fleet chose.
    #[arg(long)]
    pub instance: String,
    /// The namespace whose functions it may serve.
    #[arg(long, default_value = "default")]
    pub namespace: String,
    /// A file with the token that proves the name; read anew for each stream.
    #[arg(long, conflicts_with = "token_fd", required_unless_present = "token_fd")]
    pub token_file: Option<PathBuf>,
    /// An inherited descriptor with the token; read once.
    #[arg(long)]
    pub token_fd: Option<u32>,
    /// Where to listen: unix:/path or tcp:address:port.
    #[arg(long)]
    pub listen: Address,
    /// Where activators reach it, when that is not where it listens.
    #[arg(long)]
    pub advertise: Option<String>,
    /// The installation's key, which seals the artifacts that it may load.
    #[arg(long)]
    pub seal_key: PathBuf,
    /// Drain when the parent process ends.
    #[arg(long)]
    pub exit_with_parent: bool,
    /// What every host takes.
    #[command(flatten)]
    pub common: CommonArgs,
}

pub(super) fn run(args: WarmArgs) -> anyhow::Result<Exit> {
    if args.exit_with_parent {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
    }
    let runtime = args.common.runtime()?;
    runtime.block_on(warm(args))
}

async fn warm(args: WarmArgs) -> anyhow::Result<Exit> {
    let term = signal(SignalKind::terminate())?;
    let shutdown = CancellationToken::new();
    // Connecting takes longest: it goes on while the engine is made.
    let link = instance_link(args.control.clone(), shutdown.clone());
    let token = token(&args)?;
    let listener = match Listener::bind(&args.listen).await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, address = %args.listen, "cannot listen; is another process there?");
            return Ok(Exit::Listen);
        }
    };
    let runtimes = Runtimes::new(WARM_POOL_SLOTS);
    // Nearly all components are of this world; the other engine is made when one comes.
    runtimes.get(World::P2).map_err(|error| anyhow::anyhow!("cannot make the engine: {error:#}"))?;
    let means = Means { key: SealKey::load(&args.seal_key)?, runtimes, network: args.common.network()? };
    let identity = Identity {
        instance: args.instance,
        namespace: args.namespace,
        token,
        address: args.advertise.unwrap_or_else(|| listener.address().to_string()),
    };
    let (host, stop) = (Arc::new(Host::default()), Stop::default());
    let admin = match args.common.open_admin(&host).await {
        Ok(admin) => admin,
        Err(exit) => return Ok(exit),
    };
    let mut serving = tokio::spawn(server::serve(listener, Arc::clone(&host), stop.clone()));
    let exit = Instance::new(identity, means, host, stop.clone()).run(link, term).await;
    stop.drain.cancel();
    if timeout(CLOSE_WITHIN, &mut serving).await.is_err() {
        stop.cut.cancel();
        serving.await?;
    }
    if let Some(admin) = admin {
        admin.close().await;
    }
    // The link flushes what was said last.
    shutdown.cancel();
    Ok(exit)
}

fn token(args: &WarmArgs) -> anyhow::Result<Token> {
    match (&args.token_file, args.token_fd) {
        (Some(path), _) => Ok(Token::File(path.clone())),
        (None, Some(descriptor)) => {
            let token = std::fs::read_to_string(format!("/proc/self/fd/{descriptor}"));
            let token = token.with_context(|| format!("cannot read the token from descriptor {descriptor}"))?;
            Ok(Token::Fixed(token.trim().to_owned()))
        }
        (None, None) => anyhow::bail!("no token; give --token-file or --token-fd"),
    }
}
