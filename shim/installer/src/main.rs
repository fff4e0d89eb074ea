//! The node installer as a program: parse, run, say how it went.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use wisp_chassis::log;
use wisp_installer::cli::{Args, run};

fn main() -> ExitCode {
    let args = Args::parse();
    log::init(args.log.into());
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wisp-installer: {error:#}");
            ExitCode::FAILURE
        }
    }
}
