//! A host as a program of its own.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use wisp_host::cli::{HostArgs, run};
use wisp_host::exit::Exit;

/// Serves one WebAssembly component over HTTP.
#[derive(Parser)]
#[command(name = "wisp-host", version)]
struct Program {
    #[command(flatten)]
    host: HostArgs,
}

fn main() -> ExitCode {
    let program = Program::parse();
    wisp_chassis::log::init(wisp_chassis::log::Format::Text);
    match run(program.host) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("wisp-host: {error:#}");
            Exit::Internal.into()
        }
    }
}
