//! The commands of a host, as a library: `wisp` offers the same ones.

mod contained;
mod descriptor;
mod drain;
mod ensure;
mod environment;
mod instance;
mod serve;
mod warm;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::admin::AdminPort;
use crate::compile;
use crate::exit::Exit;
use crate::handler::Host;
use crate::inspect::World;
use crate::outbound::Network;

pub use self::contained::ContainedArgs;
pub use self::ensure::EnsureArgs;
pub use self::environment::EnvironmentArgs;
pub use self::instance::InstanceArgs;
pub use self::serve::ServeArgs;
pub use self::warm::WarmArgs;

/// More threads than this only pay when one instance alone has the machine.
const WORKERS_DEFAULT_MAX: usize = 2;
/// For files and name lookups; the default of 512 would let a guest take that many.
const BLOCKING_THREADS_MAX: usize = 16;
const BLOCKING_THREAD_IDLE: Duration = Duration::from_secs(2);

/// Arguments of a host.
#[derive(Debug, Args)]
pub struct HostArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: HostCommand,
}

/// What a host can be told to do.
#[derive(Debug, Subcommand)]
pub enum HostCommand {
    /// Serve one component until SIGTERM or ctrl-c.
    Serve(ServeArgs),
    /// Connect to the autoscaler, prepare, and wait to become a revision.
    Warm(WarmArgs),
    /// Be the first process of a container: serve or run the artifact at descriptor 3.
    Contained(ContainedArgs),
    /// Be the first process of a function's pod: as `warm`, with the folder of artifacts at descriptor 3.
    Instance(InstanceArgs),
    /// Compile a component into a store, unless it is there, and print where it is as JSON.
    Ensure(EnsureArgs),
    /// Compile the component on stdin to stdout; started by the other commands.
    #[command(hide = true)]
    Compile {
        /// p2 or p3.
        world: World,
    },
}

/// What every serving host takes.
#[derive(Debug, Args)]
pub struct CommonArgs {
    /// Threads that run guests; at most two by default.
    #[arg(long)]
    pub workers: Option<usize>,
    /// Where to answer /live, /ready, /metrics and /dump, such as 127.0.0.1:9090; nowhere by default.
    // Not `--admin`: as commands of `wisp`, these stand beside that program's own flag.
    #[arg(long, value_name = "ADDRESS")]
    pub admin_listen: Option<SocketAddr>,
    /// Addresses that no function may reach besides the machine's own, such as 10.0.0.0/8; may be repeated.
    #[arg(long = "deny-outbound", value_name = "NETWORK")]
    pub deny_outbound: Vec<String>,
    /// Exceptions for development: 127.0.0.1:8080, localhost:8080, 10.0.0.0/8; a function needs its own grant too.
    #[arg(long = "allow-private-outbound", value_name = "ADDRESS")]
    pub allow_private_outbound: Vec<String>,
}

impl CommonArgs {
    fn network(&self) -> anyhow::Result<Network> {
        let denied = self.deny_outbound.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        let allowed = self.allow_private_outbound.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        Ok(Network { denied, allowed })
    }

    /// The admin port, if it is asked for.
    async fn open_admin(&self, host: &Arc<Host>) -> Result<Option<AdminPort>, Exit> {
        let Some(address) = self.admin_listen else { return Ok(None) };
        match AdminPort::open(address, Arc::clone(host)).await {
            Ok(admin) => {
                tracing::info!(admin = %admin.address(), "admin port is open");
                Ok(Some(admin))
            }
            Err(error) => {
                tracing::error!(%error, %address, "cannot open the admin port; is another process there?");
                Err(Exit::Listen)
            }
        }
    }

    fn runtime(&self) -> std::io::Result<tokio::runtime::Runtime> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(self.workers.unwrap_or(cores.min(WORKERS_DEFAULT_MAX)).max(1))
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .thread_keep_alive(BLOCKING_THREAD_IDLE)
            .enable_all()
            .build()
    }
}

/// Does what `args` say, and says how it ended. Brings its own runtime: must not be called from within another.
///
/// # Errors
/// When it could not even begin.
pub fn run(args: HostArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        HostCommand::Serve(args) => serve::run(args).map(ExitCode::from),
        HostCommand::Warm(args) => warm::run(args).map(ExitCode::from),
        HostCommand::Contained(args) => Ok(contained::run(args)),
        HostCommand::Instance(args) => Ok(instance::run(args)),
        HostCommand::Ensure(args) => ensure::run(&args).map(ExitCode::from),
        HostCommand::Compile { world } => {
            compile::run_child(world)?;
            Ok(Exit::Drained.into())
        }
    }
}

/// This program's arguments up to the host's subcommand, with `compile` in its place: right for `wisp-host serve` and
/// for any program that offers these commands deeper down.
fn compile_args() -> Vec<OsString> {
    let mine = |arg: &OsString| ["serve", "warm", "ensure"].iter().any(|mine| arg == mine);
    let before = std::env::args_os().skip(1).take_while(|arg| !mine(arg));
    before.chain([OsString::from("compile")]).collect()
}
