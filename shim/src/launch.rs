//! Runs this program anew to make a container or a process: see `create` and `exec`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitCode, Stdio};

use rustix::fs::OFlags;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::create::CreateError;
use crate::order::{Made, Outcome};
use crate::reaper::Reaper;

/// Of an answer, and of the last words of one that crashed.
const ANSWER_BYTES_MAX: u64 = 32 << 10;

/// Why nothing was made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    #[error("{0}")]
    Failed(String),
    #[error("the process that makes containers does not start: {0}")]
    Spawn(#[from] io::Error),
    #[error("the process that makes containers ended with {status}: {words}")]
    Crashed { status: u32, words: String },
}

/// Gives `order` to this program, run anew with `command`, and waits for what comes of it.
///
/// # Errors
/// When it was not made.
pub(crate) async fn launch(reaper: &Reaper, command: &str, order: &impl Serialize) -> Result<Made, LaunchError> {
    let order = serde_json::to_vec(order).map_err(io::Error::from)?;
    let mut child = spawn(command)?;
    let end = reaper.end_of(child.id().cast_signed());
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(&order)?;
    }
    let exit = end.await.map_err(io::Error::other)?;
    let answer = child.stdout.take().map(written).transpose()?.unwrap_or_default();
    match serde_json::from_str(&answer) {
        Ok(Outcome::Made(made)) => Ok(made),
        Ok(Outcome::Failed(message)) => Err(LaunchError::Failed(message)),
        Err(_) => {
            let words = child.stderr.take().map(written).transpose()?.unwrap_or_default();
            Err(LaunchError::Crashed { status: exit.status, words: words.trim().to_owned() })
        }
    }
}

fn spawn(command: &str) -> io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .arg(command)
        // The other end is read when the process has ended: what it writes fits into a pipe.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// What is in the pipe now. Its end need not come: a container's process may hold it for a moment longer.
fn written(pipe: impl AsFd + Into<std::os::fd::OwnedFd>) -> io::Result<String> {
    let file = File::from(pipe.into());
    rustix::fs::fcntl_setfl(&file, OFlags::NONBLOCK)?;
    let mut bytes = Vec::new();
    match file.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes) {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

/// The other side: takes the order, has it made by `make`, answers.
pub(crate) fn answer<O: DeserializeOwned>(make: impl FnOnce(&O) -> Result<Made, CreateError>) -> ExitCode {
    let outcome = match serde_json::from_reader(io::stdin().lock()) {
        Ok(order) => match make(&order) {
            Ok(made) => Outcome::Made(made),
            Err(error) => Outcome::Failed(error.to_string()),
        },
        Err(error) => Outcome::Failed(format!("the order cannot be read: {error}; this is for the shim itself")),
    };
    match serde_json::to_writer(io::stdout().lock(), &outcome) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the answer cannot be written: {error}");
            ExitCode::FAILURE
        }
    }
}
