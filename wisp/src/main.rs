//! Wisp in one program: deploys functions, wakes them from zero, scales them and lets them go.

#![forbid(unsafe_code)]

mod cli;
mod client;
mod command;
mod fail;
mod page;
mod up;
mod view;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match command::run(cli) {
        Ok(code) => code,
        Err(error) => fail::report(&error),
    }
}
