//! Wisp in one program: deploys functions, wakes them from zero, scales them and lets them go.

#![forbid(unsafe_code)]

mod cli;
mod client;
mod cluster;
mod command;
mod fail;
mod page;
mod source;
mod up;
mod view;

use std::process::ExitCode;

fn main() -> ExitCode {
    let (program, cli) = cli::parse();
    match command::run(program, cli) {
        Ok(code) => code,
        Err(error) => fail::report(&error),
    }
}
