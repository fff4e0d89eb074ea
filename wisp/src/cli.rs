//! The command line.

#![allow(rustdoc::bare_urls, reason = "what is documented here is shown as help, which is no Markdown")]

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::command::{build, new};

/// Serverless for WebAssembly: the first HTTP request starts a function in milliseconds, load scales it out,
/// idleness takes it back to zero.
#[derive(Debug, Parser)]
#[command(name = "wisp", version, propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// The admin address of the `wisp up` to talk to, where no cluster is named.
    #[arg(long, global = true, env = "WISP_ADMIN", default_value = "127.0.0.1:8081", value_name = "ADDRESS")]
    pub(crate) admin: SocketAddr,
    /// Which cluster, if any.
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// How results are written.
    #[arg(long, short, global = true, value_enum, default_value_t)]
    pub(crate) output: Output,
}

/// Which cluster to talk to, as kubectl has it.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ClusterArgs {
    /// Talk to the cluster of this context of the kubeconfig, and not to a `wisp up`.
    #[arg(long, global = true, env = "WISP_CONTEXT", value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Talk to the cluster of this kubeconfig, and not to a `wisp up`. With --context alone, and for `kubectl wisp`, it
    /// is the one that kubectl takes.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The namespace of the cluster that Wisp itself is installed in.
    #[arg(
        long,
        global = true,
        env = "WISP_SYSTEM_NAMESPACE",
        default_value = "wisp-system",
        value_name = "NAMESPACE",
        hide_short_help = true
    )]
    pub(crate) system_namespace: String,
}

/// The name that this program was called by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// `wisp`.
    Wisp,
    /// `kubectl-wisp`, which is what kubectl looks for when it is asked for `kubectl wisp`.
    Plugin,
}

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run functions on this machine, without a cluster.
    Up(UpArgs),
    /// List functions.
    Ls(LsArgs),
    /// Show one function with its revisions, instances and events.
    Describe(FunctionArgs),
    /// Print what a function's instances wrote.
    Logs(LogsArgs),
    /// Send a request to a function and print the answer's body.
    ///
    /// Ends with the exit code 22 when the function answers with a status of 400 or more, and with 1 when it could not
    /// be asked.
    Invoke(InvokeArgs),
    /// Say why a function has as many instances as it has.
    Explain(ExplainArgs),
    /// Delete a function.
    Delete(FunctionArgs),
    /// Put functions on a cluster: push what runs, apply the manifests, and wait until they are ready.
    ///
    /// Applies the functions, ConfigMaps and Secrets of the manifests, as `wisp up` reads them. A function whose
    /// component is a file needs --push: the file becomes an image of that repository, and the function gets the image.
    Deploy(DeployArgs),
    /// Send all requests to an earlier revision of a function.
    ///
    /// They stay there, whatever is deployed, until `--latest` sends them to the newest revision again.
    Rollback(RollbackArgs),
    /// Show or change how a function's requests are shared among its revisions.
    Traffic(TrafficArgs),
    /// Run the scaling rules of a function on a recorded or generated trace.
    Simulate(SimulateArgs),
    /// Make a new function from a template.
    New(new::NewArgs),
    /// Build a function with its language's own tool.
    Build(build::BuildArgs),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Write the manual pages into a folder.
    Man {
        /// The folder; made when it is not there.
        folder: PathBuf,
    },
    /// Run one instance; `wisp up` starts these.
    #[command(hide = true)]
    Host(Box<wisp_host::cli::HostArgs>),
}

/// Arguments of `wisp up`.
#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// Files or folders of manifests. They are watched: an edit makes a new revision, a removal deletes the function.
    /// Functions of an earlier run that came from elsewhere run again too.
    pub(crate) paths: Vec<PathBuf>,
    /// Where requests arrive.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,
    /// What the hosts of functions end in: http://NAME.NAMESPACE.DOMAIN.
    #[arg(long, default_value = "localhost")]
    pub(crate) domain: String,
    /// Where deployed functions, compiled code and sockets are kept.
    #[arg(long, env = "WISP_STATE", value_name = "FOLDER", default_value_os_t = default_state())]
    pub(crate) state: PathBuf,
    /// Warm instances that wait for the next function to wake.
    #[arg(long, default_value_t = 2, value_name = "COUNT")]
    pub(crate) warm: u32,
    /// Addresses of this machine and of private networks that functions may call when their manifest names them, such
    /// as 127.0.0.1:5432 or 10.0.0.0/8; may be repeated.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) allow_private_outbound: Vec<String>,
    /// Threads that take and forward requests; half of the cores by default. Instances have their own.
    #[arg(long, value_name = "COUNT")]
    pub(crate) threads: Option<NonZero<usize>>,
    /// Write logs as JSON.
    #[arg(long)]
    pub(crate) log_json: bool,
}

/// Arguments of `wisp ls`.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Only functions of this namespace; on a cluster it is that of the context by default.
    #[arg(long, short)]
    pub(crate) namespace: Option<String>,
    /// Functions of all namespaces.
    #[arg(long, short = 'A', conflicts_with = "namespace")]
    pub(crate) all_namespaces: bool,
}

/// One function.
#[derive(Debug, Args)]
pub(crate) struct FunctionArgs {
    /// The function's name.
    pub(crate) name: String,
    /// Its namespace; by default that of the cluster's context, or `default`.
    #[arg(long, short)]
    pub(crate) namespace: Option<String>,
}

/// Arguments of `wisp deploy`.
#[derive(Debug, Args)]
pub(crate) struct DeployArgs {
    /// Files or folders of manifests.
    #[arg(required = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// The namespace of what names none.
    #[arg(long, short)]
    pub(crate) namespace: Option<String>,
    /// Where components that are files are pushed to: `registry.example/team/functions`. Credentials are those of
    /// `docker login`.
    #[arg(long, value_name = "REPOSITORY")]
    pub(crate) push: Option<String>,
    /// Run this file, whatever the manifest says; for a single function.
    #[arg(long, value_name = "FILE", requires = "push")]
    pub(crate) component: Option<PathBuf>,
    /// Certificates that the registry is trusted by, beside the system's; PEM.
    #[arg(long, value_name = "FILE", requires = "push")]
    pub(crate) registry_ca: Option<PathBuf>,
    /// The registry speaks plain HTTP.
    #[arg(long, requires = "push")]
    pub(crate) plain_http: bool,
    /// Seconds to wait until the functions are ready; 0 does not wait.
    #[arg(long, default_value_t = 120, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(..=86_400))]
    pub(crate) timeout: u64,
}

/// Arguments of `wisp rollback`.
#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// The function.
    #[command(flatten)]
    pub(crate) function: FunctionArgs,
    /// The revision, by its name or its number; by default the one before that which has most of the traffic.
    #[arg(long, value_name = "REVISION", conflicts_with = "latest")]
    pub(crate) to: Option<String>,
    /// Back to the newest revision, and to each that follows.
    #[arg(long)]
    pub(crate) latest: bool,
}

/// Arguments of `wisp traffic`.
#[derive(Debug, Args)]
pub(crate) struct TrafficArgs {
    /// The function.
    #[command(flatten)]
    pub(crate) function: FunctionArgs,
    /// Shares that replace those before and sum to 100: a revision by its name or its number, or `latest`.
    #[arg(value_name = "REVISION=PERCENT")]
    pub(crate) shares: Vec<String>,
    /// Gives a revision a host of its own, `TAG-FUNCTION.NAMESPACE.DOMAIN`; may be repeated.
    #[arg(long, value_name = "TAG=REVISION")]
    pub(crate) tag: Vec<String>,
    /// Takes a tag away; may be repeated.
    #[arg(long, value_name = "TAG")]
    pub(crate) untag: Vec<String>,
}

/// Arguments of `wisp logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// The function.
    #[command(flatten)]
    pub(crate) function: FunctionArgs,
    /// Go on printing what is written from now on.
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// How many of the last lines to begin with.
    #[arg(long, default_value_t = 100, value_name = "LINES")]
    pub(crate) tail: usize,
}

/// Arguments of `wisp invoke`.
#[derive(Debug, Args)]
pub(crate) struct InvokeArgs {
    /// The function.
    #[command(flatten)]
    pub(crate) function: FunctionArgs,
    /// The path with its query; by default the one of the function's URL.
    #[arg(long, short)]
    pub(crate) path: Option<String>,
    /// The method; POST when there is a body.
    #[arg(long, short = 'X')]
    pub(crate) method: Option<String>,
    /// The body; `@FILE` reads a file, `@-` standard input.
    #[arg(long, short)]
    pub(crate) data: Option<String>,
    /// A header, `name: value`; may be repeated.
    #[arg(long, short = 'H', value_name = "HEADER")]
    pub(crate) header: Vec<String>,
    /// Print status, headers and where the time went too, to standard error.
    #[arg(long, short)]
    pub(crate) include: bool,
}

/// Arguments of `wisp explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The function.
    #[command(flatten)]
    pub(crate) function: FunctionArgs,
    /// A revision instead of those with traffic.
    #[arg(long, short)]
    pub(crate) revision: Option<String>,
}

/// Arguments of `wisp simulate`.
#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// A trace: a file with CSV lines of `seconds,requests`, `-` for standard input, or phases of requests per second
    /// such as `5x60s,0x2m,200x10s`.
    pub(crate) trace: PathBuf,
    /// The function's manifest.
    pub(crate) manifest: PathBuf,
    /// Milliseconds that one request takes.
    #[arg(long, default_value_t = 50, value_name = "MILLIS")]
    pub(crate) service: u64,
    /// Milliseconds that a start takes.
    #[arg(long, default_value_t = 3, value_name = "MILLIS")]
    pub(crate) start: u64,
    /// The seed of everything random.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

/// Reads the command line of this process.
pub(crate) fn parse() -> (Program, Cli) {
    let mut arguments = std::env::args_os().peekable();
    let program = arguments.peek().map_or(Program::Wisp, |called| Program::of(called));
    let command = match program {
        Program::Wisp => Cli::command(),
        Program::Plugin => Cli::command().bin_name("kubectl wisp"),
    };
    let matches = command.get_matches_from(arguments);
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    (program, cli)
}

impl Program {
    fn of(called: &OsStr) -> Self {
        let name = Path::new(called).file_name().and_then(OsStr::to_str).unwrap_or_default();
        if name == "kubectl-wisp" { Self::Plugin } else { Self::Wisp }
    }
}

impl ClusterArgs {
    /// Whether a cluster is meant; an empty variable names none.
    pub(crate) fn name_one(&self) -> bool {
        self.context.as_ref().is_some_and(|context| !context.is_empty()) || self.kubeconfig.is_some()
    }
}

fn default_state() -> PathBuf {
    let home = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    home("XDG_STATE_HOME")
        .or_else(|| home("HOME").map(|home| home.join(".local/state")))
        .unwrap_or_else(|| PathBuf::from("."))
        .join("wisp")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_program_says_whether_it_is_a_plugin() {
        let table = [
            ("wisp", Program::Wisp),
            ("kubectl-wisp", Program::Plugin),
            ("/usr/local/bin/kubectl-wisp", Program::Plugin),
            ("/opt/kubectl-wisp/wisp", Program::Wisp),
        ];
        for (called, program) in table {
            assert_eq!(Program::of(OsStr::new(called)), program, "{called}");
        }
    }

    #[test]
    fn a_context_or_a_kubeconfig_means_a_cluster() {
        let cluster = |arguments: &[&str]| {
            let all = ["wisp", "ls"].iter().chain(arguments);
            Cli::try_parse_from(all).unwrap().cluster.name_one()
        };
        assert!(cluster(&["--context", "dev"]) && cluster(&["--kubeconfig", "k"]));
        assert!(!cluster(&["--context", ""]));
    }
}
