//! A host as a program of its own.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use wisp_host::cli::{HostArgs, run};
use wisp_host::exit::Exit;

/// Serves or runs one WebAssembly component.
#[derive(Parser)]
#[command(name = "wisp-host", version)]
struct Program {
    #[command(flatten)]
    host: HostArgs,
}

fn main() -> ExitCode {
    let program = match Program::try_parse() {
        Ok(program) => program,
        Err(error) if error.use_stderr() => {
            let _ = error.print();
            return Exit::Spec.into();
        }
        Err(help) => help.exit(),
    };
    wisp_chassis::log::init(wisp_chassis::log::Format::Text);
    match run(program.host) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("wisp-host: {error:#}");
            Exit::Internal.into()
        }
    }
}
