//! The commands, a file each. All but `up` and `host` are clients of a running `wisp up` or of a cluster, or
//! need none.
//!
//! What they share: `lookup` finds a function or says what is near; `table`, `paint` and `time` write for people;
//! `reason` puts a decision into words.

pub(crate) mod build;
mod delete;
mod deploy;
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
mod rollback;
mod simulate;
mod sparkline;
mod table;
mod time;
mod traffic;

use std::io::{self, Write};
use std::process::ExitCode;

use crate::cli::{Cli, Command, Output, Program};
use crate::source::Source;

/// Does what the command line says.
pub(crate) fn run(program: Program, cli: Cli) -> anyhow::Result<ExitCode> {
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
        Command::Simulate(args) => simulate::run(&args, output)?,
        Command::New(args) => new::run(args)?,
        Command::Build(args) => wait_for(build::run(args))?,
        Command::Completions { shell } => manual::completions(shell)?,
        Command::Man { folder } => manual::pages(&folder)?,
        command => {
            return wait_for(async {
                let source = Source::connect(program, cli.admin, &cli.cluster).await?;
                ask(command, &source, output).await
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The commands that ask somebody.
async fn ask(command: Command, source: &Source, output: Output) -> anyhow::Result<ExitCode> {
    match command {
        Command::Invoke(args) => return invoke::run(args, source).await,
        Command::Ls(args) => ls::run(args, source, output).await?,
        Command::Describe(args) => describe::run(args, source, output).await?,
        Command::Logs(args) => logs::run(args, source, output).await?,
        Command::Explain(args) => explain::run(args, source, output).await?,
        Command::Delete(args) => delete::run(args, source, output).await?,
        Command::Deploy(args) => deploy::run(args, source, output).await?,
        Command::Rollback(args) => rollback::run(args, source, output).await?,
        Command::Traffic(args) => traffic::run(args, source, output).await?,
        other => anyhow::bail!("{other:?} asks nobody"),
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
