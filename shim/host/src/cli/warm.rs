//! `warm`: an instance that the autoscaler turns into a revision.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use rustix::process::{Pid, getppid, set_parent_process_death_signal};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use wisp_chassis::control::{ControlEndpoint, instance_link};

use super::CommonArgs;
use crate::artifacts::Artifacts;
use crate::engine::{Runtimes, WARM_POOL_SLOTS};
use crate::exit::Exit;
use crate::handler::Host;
use crate::inspect::World;
use crate::instance::{Identity, Instance, Means, Token};
use crate::seal::SealKey;
use crate::server::{self, Address, Listener, Stop};

/// After the last request has been answered, for the end of an answer that a client is slow to read.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

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
    /// Drain when this process ends, which is the parent.
    #[arg(long, value_name = "PID")]
    pub exit_with_parent: Option<i32>,
    /// What every host takes.
    #[command(flatten)]
    pub common: CommonArgs,
}

pub(super) fn run(args: WarmArgs) -> anyhow::Result<Exit> {
    if let Some(parent) = args.exit_with_parent {
        set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
        // The signal does not come when it ended before that.
        if Pid::as_raw(getppid()) != parent {
            return Ok(Exit::Drained);
        }
    }
    let beginning = Beginning {
        endpoint: args.control.clone(),
        token: token(&args)?,
        key: SealKey::load(&args.seal_key)?,
        artifacts: Artifacts::Anywhere,
        instance: args.instance,
        namespace: args.namespace,
        listen: args.listen,
        announced: args.advertise.map_or(Announced::WhereItListens, Announced::As),
    };
    begin(beginning, &args.common)
}

/// What an instance has to know before it is one.
pub(super) struct Beginning {
    pub(super) endpoint: ControlEndpoint,
    pub(super) instance: String,
    pub(super) namespace: String,
    pub(super) token: Token,
    pub(super) listen: Address,
    pub(super) announced: Announced,
    pub(super) artifacts: Artifacts,
    pub(super) key: SealKey,
}

/// Where activators reach it.
pub(super) enum Announced {
    /// At the address that it listens on.
    WhereItListens,
    /// At this one.
    As(String),
    /// At this address of the machine or pod, by the port that it listens on.
    At(IpAddr),
}

impl Announced {
    fn address(self, listens: &Address) -> String {
        match (self, listens) {
            (Self::As(address), _) => address,
            (Self::At(ip), Address::Tcp(listens)) => Address::Tcp(SocketAddr::new(ip, listens.port())).to_string(),
            (Self::WhereItListens | Self::At(_), listens) => listens.to_string(),
        }
    }
}

/// An instance from its first moment to its last.
pub(super) fn begin(beginning: Beginning, common: &CommonArgs) -> anyhow::Result<Exit> {
    let runtime = common.runtime()?;
    runtime.block_on(live(beginning, common))
}

async fn live(beginning: Beginning, common: &CommonArgs) -> anyhow::Result<Exit> {
    let Beginning { endpoint, instance, namespace, token, listen, announced, artifacts, key } = beginning;
    let term = signal(SignalKind::terminate())?;
    let shutdown = CancellationToken::new();
    // Connecting takes longest: it goes on while the engine is made.
    let link = instance_link(endpoint, shutdown.clone());
    let listener = match Listener::bind(&listen).await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, address = %listen, "cannot listen; is another process there?");
            return Ok(Exit::Listen);
        }
    };
    let runtimes = Runtimes::new(WARM_POOL_SLOTS);
    // Nearly all components are of this world; the other engine is made when one comes.
    runtimes.get(World::P2).map_err(|error| anyhow::anyhow!("cannot make the engine: {error:#}"))?;
    let means = Means { artifacts, key, runtimes, network: common.network()? };
    let identity = Identity { instance, namespace, token, address: announced.address(listener.address()) };
    let (host, stop) = (Arc::new(Host::default()), Stop::default());
    let admin = match common.open_admin(&host).await {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_announces_where_it_can_be_reached() {
        let (everywhere, socket) = ("tcp:0.0.0.0:8080".parse().unwrap(), "unix:/run/i.sock".parse().unwrap());
        let at = |ip: &str| Announced::At(ip.parse().unwrap());
        assert_eq!(at("10.1.2.3").address(&everywhere), "tcp:10.1.2.3:8080");
        assert_eq!(at("fd00::1").address(&everywhere), "tcp:[fd00::1]:8080");
        assert_eq!(Announced::WhereItListens.address(&socket), "unix:/run/i.sock");
        assert_eq!(Announced::As("tcp:a:1".to_owned()).address(&everywhere), "tcp:a:1");
    }
}
