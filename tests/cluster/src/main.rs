//! `cluster`: a real Kubernetes for a person.

#![forbid(unsafe_code)]

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use clap::{Parser, Subcommand};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use wisp_cluster::{Cluster, Containerd, Lifetime, Settings, WISP_DOMAIN, WISP_NAMESPACE};

/// Brings up a real Kubernetes of one node in namespaces of its own, and takes it down without a trace.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Say whether this machine can run a cluster.
    Check,
    /// Start a cluster that stays until it is taken down.
    Up(Choices),
    /// Take a cluster down.
    Down(Number),
    /// Install Wisp on a cluster, by Helm.
    Wisp(Installed),
    /// Push the image of a small Linux HTTP server to the cluster's registry, and print its name.
    Hello(Number),
    /// Say which clusters are up.
    Status,
    /// Run a program in the namespaces of the node, such as `ctr`.
    Exec(Call),
    /// Run kubectl.
    Kubectl(Call),
}

#[derive(clap::Args)]
struct Choices {
    /// A folder with `containerd-shim-wisp-v1`, for pods of the runtime class `wisp`.
    #[arg(long)]
    shim: Option<PathBuf>,
    /// Run the pods by containerd 1.7.
    #[arg(long)]
    containerd_1_7: bool,
    /// Stay, and take the cluster down at the end of this program, however that ends.
    #[arg(long)]
    foreground: bool,
}

#[derive(clap::Args)]
struct Number {
    /// Which cluster, where several are up.
    #[arg(long)]
    number: Option<u8>,
}

#[derive(clap::Args)]
struct Installed {
    #[command(flatten)]
    number: Number,
    /// The folder of what `make static` builds.
    #[arg(long, default_value = "target/static")]
    programs: PathBuf,
}

#[derive(clap::Args)]
struct Call {
    #[command(flatten)]
    number: Number,
    /// The program and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    arguments: Vec<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cluster: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(action: Action) -> Result<()> {
    match action {
        Action::Check => {
            wisp_cluster::can_run().map_err(|_| anyhow!("no cluster can run here, for what is said above"))
        }
        Action::Up(choices) => up(choices).await,
        Action::Down(number) => Cluster::take_down(number.one()?).await,
        Action::Wisp(installed) => wisp(installed).await,
        Action::Hello(number) => hello(number).await,
        Action::Status => status(),
        Action::Exec(call) => become_it(Cluster::find(call.number.one()?)?.exec_command(&call.arguments)?),
        Action::Kubectl(call) => become_it(Cluster::find(call.number.one()?)?.kubectl_command(&call.arguments)),
    }
}

/// So that a terminal's signals and the exit code are those of the program.
fn become_it(mut command: Command) -> Result<()> {
    Err(command.as_std_mut().exec().into())
}

async fn up(choices: Choices) -> Result<()> {
    let cluster = Cluster::start(choices.settings()?).await?;
    let number = cluster.number();
    // Caught from now on: who reads the lines below may act on them at once.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    println!("cluster {number} is up: export KUBECONFIG={}", cluster.kubeconfig().display());
    println!("registry: {}, logs: {}", cluster.registry().address(), cluster.logs().display());
    if choices.foreground {
        println!("leave with Ctrl-C");
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        return Ok(());
    }
    println!("leave with: cluster down --number {number}");
    Ok(())
}

async fn wisp(installed: Installed) -> Result<()> {
    let cluster = Cluster::find(installed.number.one()?)?;
    println!("installing Wisp; it is ready in about ten seconds");
    cluster.install_wisp(&installed.programs).await?;
    let path = "jsonpath={.spec.clusterIP}";
    let service = ["--namespace", WISP_NAMESPACE, "get", "service/wisp-activator", "-o", path];
    println!("activator: http://{}, functions answer to NAME.NAMESPACE.{WISP_DOMAIN}", cluster.kubectl(service).await?);
    Ok(())
}

async fn hello(number: Number) -> Result<()> {
    let cluster = Cluster::find(number.one()?)?;
    println!("{}", cluster.registry().push("linux:1", &cluster.hello()).await?);
    Ok(())
}

fn status() -> Result<()> {
    for number in Cluster::all()? {
        let cluster = Cluster::find(number)?;
        println!("cluster {number}: {}, KUBECONFIG={}", cluster.node_ip(), cluster.kubeconfig().display());
    }
    Ok(())
}

impl Choices {
    fn settings(&self) -> Result<Settings> {
        let whole = |folder: &PathBuf| folder.canonicalize().with_context(|| format!("--shim {}", folder.display()));
        Ok(Settings {
            shim: self.shim.as_ref().map(whole).transpose()?,
            containerd: if self.containerd_1_7 { Containerd::OneSeven } else { Containerd::Two },
            lifetime: if self.foreground { Lifetime::OfItsOwner } else { Lifetime::UntilTakenDown },
        })
    }
}

impl Number {
    /// The one that is meant: the only one, when none is named.
    fn one(&self) -> Result<u8> {
        if let Some(number) = self.number {
            return Ok(number);
        }
        match Cluster::all()?[..] {
            [number] => Ok(number),
            [] => Err(anyhow!("no cluster is up: start one with `cluster up`")),
            [..] => Err(anyhow!("several clusters are up: say which with --number, before all else")),
        }
    }
}
