//! The command line.

#![allow(rustdoc::bare_urls, reason = "what is documented here is shown as help, which is no Markdown")]

use std::net::SocketAddr;
use std::num::NonZero;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
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
    /// The admin address of the `wisp up` to talk to.
    #[arg(long, global = true, env = "WISP_ADMIN", default_value = "127.0.0.1:8081", value_name = "ADDRESS")]
    pub(crate) admin: SocketAddr,
    /// How results are written.
    #[arg(long, short, global = true, value_enum, default_value_t)]
    pub(crate) output: Output,
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
    /// Delete a function that `wisp up` runs.
    Delete(FunctionArgs),
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
    /// Only functions of this namespace.
    #[arg(long, short)]
    pub(crate) namespace: Option<String>,
}

/// One function.
#[derive(Debug, Args)]
pub(crate) struct FunctionArgs {
    /// The function's name.
    pub(crate) name: String,
    /// Its namespace.
    #[arg(long, short, default_value = "default")]
    pub(crate) namespace: String,
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

fn default_state() -> PathBuf {
    let home = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    home("XDG_STATE_HOME")
        .or_else(|| home("HOME").map(|home| home.join(".local/state")))
        .unwrap_or_else(|| PathBuf::from("."))
        .join("wisp")
}
