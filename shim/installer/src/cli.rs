//! The command line.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use wisp_chassis::log::Format;

use crate::agent::{self, AgentArgs};
use crate::check::{CheckArgs, check};
use crate::installer::Node;
use crate::label::{self, State};

/// Puts Wisp's shim on this node and tells containerd of it; or takes both away.
#[derive(Debug, Parser)]
#[command(name = "wisp-installer", version)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Action,
    /// How log lines are written.
    #[arg(long, global = true, value_enum, default_value = "text")]
    pub log: LogFormat,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object each.
    Json,
}

impl From<LogFormat> for Format {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Text => Self::Text,
            LogFormat::Json => Self::Json,
        }
    }
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Copy the programs, register the runtime, restart containerd if its configuration changed.
    Install(Options),
    /// Undo `install`. Pods that run keep running; new ones with the runtime class cannot start.
    Uninstall(Options),
    /// `install`, and stay until SIGTERM: for clusters that want the shim alone.
    Run(Options),
    /// Keep the compiled code of all functions on this node until SIGTERM.
    Agent(AgentArgs),
    /// Ask the parts of an installation whether they answer, from a pod of its cluster.
    Check(CheckArgs),
    /// Run a command with another root folder; started by the others.
    #[command(hide = true)]
    InRoot {
        /// The root folder.
        root: PathBuf,
        /// The command.
        #[arg(trailing_var_arg = true, required = true)]
        command: Vec<String>,
    },
}

/// Where things are on the node.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The node's root folder as seen from here; in a privileged pod with hostPID it is /proc/1/root.
    #[arg(long, default_value = "/")]
    pub root: PathBuf,
    /// Folder of the programs to install: containerd-shim-wisp-v1 and wisp-host. By default, the installer's own.
    #[arg(long)]
    pub from: Option<PathBuf>,
    /// Where they go, on the node.
    #[arg(long, default_value = "/opt/wisp/bin")]
    pub to: PathBuf,
    /// containerd's configuration, on the node. For k3s this is the template that k3s makes it from.
    #[arg(long, default_value = "/etc/containerd/config.toml")]
    pub config: PathBuf,
    /// containerd's socket, on the node: it must answer again after a restart.
    #[arg(long, default_value = "/run/containerd/containerd.sock")]
    pub socket: PathBuf,
    /// How to restart containerd, on the node; empty leaves the restart to you.
    #[arg(long, default_value = "systemctl restart containerd")]
    pub restart: String,
    /// Name of this node in Kubernetes: with it, the node gets the label that the runtime class asks for.
    #[arg(long, env = "NODE_NAME")]
    pub node: Option<String>,
}

/// Does what `args` say.
///
/// # Errors
/// When a step fails; what was done before it stays done, and doing it again goes on from there.
pub fn run(args: Args) -> Result<()> {
    match args.command {
        Action::Install(options) => block_on(install(&options)),
        Action::Uninstall(options) => block_on(uninstall(&options)),
        Action::Run(options) => block_on(stay(&options)),
        Action::Agent(args) => block_on(keep(args)),
        Action::Check(args) => block_on(async { check(&args).await }),
        Action::InRoot { root, command } => in_root(&root, &command),
    }
}

fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start")?.block_on(work)
}

async fn install(options: &Options) -> Result<()> {
    node(options)?.install().await?;
    set_label(options, State::Installed).await
}

async fn uninstall(options: &Options) -> Result<()> {
    // First, so that no new pod is sent here meanwhile.
    set_label(options, State::Absent).await?;
    node(options)?.uninstall().await
}

async fn stay(options: &Options) -> Result<()> {
    let ended = ended()?;
    tokio::select! {
        installed = install(options) => installed?,
        () = ended.cancelled() => return Ok(()),
    }
    tracing::info!("installed; waiting to be ended");
    ended.cancelled().await;
    Ok(())
}

async fn keep(args: AgentArgs) -> Result<()> {
    agent::run(args, ended()?).await
}

/// Cancelled by SIGTERM or ctrl-c, which are caught from here on.
fn ended() -> Result<CancellationToken> {
    let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let ended = CancellationToken::new();
    let cancel = ended.clone();
    // Ends with the process.
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        cancel.cancel();
    });
    Ok(ended)
}

async fn set_label(options: &Options, state: State) -> Result<()> {
    match &options.node {
        Some(node) => label::set(node, state).await,
        None => Ok(()),
    }
}

fn node(options: &Options) -> Result<Node> {
    for path in [&options.to, &options.config, &options.socket] {
        ensure!(path.is_absolute(), "{} is not absolute; name paths as the node sees them", path.display());
    }
    let from = match &options.from {
        Some(folder) => folder.clone(),
        None => own_folder()?,
    };
    Ok(Node { options: options.clone(), from })
}

fn own_folder() -> Result<PathBuf> {
    let program = std::env::current_exe().context("cannot find the installer's own folder; give --from")?;
    program.parent().map(Path::to_owned).context("the installer's program has no folder; give --from")
}

fn in_root(root: &Path, command: &[String]) -> Result<()> {
    rustix::process::chroot(root).with_context(|| format!("cannot enter {}", root.display()))?;
    rustix::process::chdir("/")?;
    let [program, args @ ..] = command else { bail!("there is no command") };
    Err(Command::new(program).args(args).exec()).with_context(|| format!("cannot run {program}"))
}
