//! `containerd-shim-wisp-v1`: see the library.

#![forbid(unsafe_code)]

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    wisp_shim::run()
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("containerd-shim-wisp-v1 runs on Linux only: containers are a matter of its kernel");
    ExitCode::FAILURE
}
