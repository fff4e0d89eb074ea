//! The commands, a file each. All but `up` and `host` are clients of a running `wisp up`, or need none.
//!
//! What they share: `lookup` finds a function or says what is near; `table`, `paint` and `time` write for people;
//! `reason` puts a decision into words.

pub(crate) mod build;
mod delete;
mod describe;
mod explain;
mod invoke;
mod logs;
mod lookup;
mod ls;
mod manual;
pub(crate) mod new;
mod paint;
mod reason;
mod simulate;
mod sparkline;
mod table;
mod time;

use std::io::{self, Write};
use std::process::ExitCode;

use crate::cli::{Cli, Command, Output};
use crate::client::Admin;

/// Does what the command line says.
pub(crate) fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let admin = Admin { address: cli.admin };
    let output = cli.output;
    match cli.command {
        Command::Up(args) => return crate::up::run(args, cli.admin),
        Command::Host(args) => {
            wisp_chassis::log::init(wisp_chassis::log::Format::default());
            return wisp_host::cli::run(*args);
        }
        Command::Invoke(_) if output == Output::Json => {
            anyhow::bail!("invoke writes the answer's body as it is; --output json is for the other commands")
        }
        Command::Invoke(args) => return wait_for(invoke::run(args, admin)),
        Command::Ls(args) => wait_for(ls::run(args, admin, output))?,
        Command::Describe(args) => wait_for(describe::run(args, admin, output))?,
        Command::Logs(args) => wait_for(logs::run(args, admin, output))?,
        Command::Explain(args) => wait_for(explain::run(args, admin, output))?,
        Command::Delete(args) => wait_for(delete::run(args, admin, output))?,
        Command::Simulate(args) => simulate::run(&args, output)?,
        Command::New(args) => new::run(args)?,
        Command::Build(args) => wait_for(build::run(args))?,
        Command::Completions { shell } => manual::completions(shell)?,
        Command::Man { folder } => manual::pages(&folder)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs a client on this thread. A read of standard input may still be open at the end; nobody waits for it.
fn wait_for<T>(client: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(client);
    runtime.shutdown_background();
    result
}

/// Writes JSON as the server said it, with an end of line.
fn write_json(json: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(json.trim_ascii_end())?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Writes text for people.
fn write_text(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
