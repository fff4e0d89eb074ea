//! What this program was started for: containerd's actions, the daemon, or one of the daemon's own errands.
//!
//! The errands and `start` are on the path of every container, so nothing is set up before it is known what is wanted.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::SystemTime;

use containerd_shim::protos::api::DeleteResponse;
use containerd_shim::protos::protobuf::{Message, MessageField};
use containerd_shim::protos::types::introspection::{RuntimeInfo, RuntimeVersion};
use containerd_shim::{Flags, parse};

use crate::respond::timestamp;
use crate::state_dir::StateDir;
use crate::{create, daemon, exec, launch, order, pause, start, undo};

/// How containerd names the runtime in its configuration.
const RUNTIME: &str = "io.containerd.wisp.v1";
/// Of a container whose end nobody saw, because its daemon was killed.
const STATUS_UNSEEN: u32 = 137;

/// Does what the command line asks for.
pub fn run() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match arguments.first().and_then(|first| first.to_str()) {
        Some(order::CREATE) => launch::answer(create::create),
        Some(order::EXEC) => launch::answer(exec::exec),
        Some(order::PAUSE) => pause::run(&arguments[1..]),
        _ => for_containerd(&arguments),
    }
}

fn for_containerd(arguments: &[OsString]) -> ExitCode {
    let done = match parse(arguments) {
        Err(error) => Err(error.to_string()),
        Ok(flags) if flags.version => print(format!("{RUNTIME} {}\n", env!("CARGO_PKG_VERSION")).as_bytes()),
        Ok(flags) if flags.info => info().and_then(|info| print(&info)),
        Ok(flags) => match flags.action.as_str() {
            "start" => start::start(&flags).and_then(|answer| print(&answer)),
            "delete" => delete(&flags).and_then(|answer| print(&answer)),
            "" if !flags.socket.is_empty() => daemon::run(&flags),
            "" => Err("this is containerd's runtime shim; containerd starts it, see docs/shim.md".to_owned()),
            other => Err(format!("no action {other:?}; containerd asks for start and delete")),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // containerd shows what it reads here.
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn info() -> Result<Vec<u8>, String> {
    let version = RuntimeVersion { version: env!("CARGO_PKG_VERSION").to_owned(), ..RuntimeVersion::default() };
    let info = RuntimeInfo { name: RUNTIME.to_owned(), version: MessageField::some(version), ..RuntimeInfo::default() };
    info.write_to_bytes().map_err(|error| error.to_string())
}

/// After the daemon is gone, however it went: takes away what it has left of the container.
fn delete(flags: &Flags) -> Result<Vec<u8>, String> {
    let state = StateDir::of(&flags.namespace).map_err(|error| error.to_string())?;
    let failed = |error| format!("{} is not all gone: {error}", flags.id);
    let daemon_is_dead = start::remove_dead_socket();
    undo::undo(&state, &flags.id).map_err(failed)?;
    if daemon_is_dead {
        // By task API 3 only the pod is told of, and nobody is left who would take its containers away.
        undo::undo_pod(&state, &flags.id).map_err(failed)?;
    }
    let response = DeleteResponse {
        exit_status: STATUS_UNSEEN,
        exited_at: MessageField::some(timestamp(SystemTime::now())),
        ..DeleteResponse::default()
    };
    response.write_to_bytes().map_err(|error| error.to_string())
}

fn print(bytes: &[u8]) -> Result<(), String> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| format!("standard output: {error}"))
}
