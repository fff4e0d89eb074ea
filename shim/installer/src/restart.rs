//! Restarts containerd on the node, and waits until it answers. Running pods do not notice: their shims go on.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

/// systemd gives a service 90 s to stop, and a node with many images takes a while to start.
const RESTART_TIMEOUT: Duration = Duration::from_secs(150);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const ANSWER_INTERVAL: Duration = Duration::from_millis(100);

/// Runs `command` with the node's root, then waits for `socket`.
pub(crate) async fn restart(root: &Path, command: &str, socket: &Path) -> Result<()> {
    let words: Vec<&str> = command.split_whitespace().collect();
    tracing::info!(command, "restarting containerd");
    let own = std::env::current_exe().context("cannot find the installer's own program")?;
    let child = Command::new(own)
        .arg("in-root")
        .arg(root)
        .arg("--")
        .args(&words)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(RESTART_TIMEOUT, child).await.context("restarting containerd took too long")??;
    ensure!(
        output.status.success(),
        "{command:?} failed ({}): {}; restart containerd by hand, or give another --restart",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    until_answering(socket).await
}

async fn until_answering(socket: &Path) -> Result<()> {
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    loop {
        let error = match UnixStream::connect(socket).await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        if Instant::now() >= deadline {
            bail!(
                "containerd does not answer at {} ({error}) {} s after its restart; see its log, or undo with \
                 `wisp-installer uninstall`",
                socket.display(),
                ANSWER_TIMEOUT.as_secs()
            );
        }
        sleep(ANSWER_INTERVAL).await;
    }
}
