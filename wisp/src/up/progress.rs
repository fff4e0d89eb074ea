//! What `wisp up` prints: progress while functions are compiled, their URLs, and what they write.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use wisp_api::route;

use super::board::Board;
use super::logs::NewLine;
use super::port_suffix;
use crate::view::Ready;

/// More functions than this are counted, not listed.
const LISTED_MAX: usize = 30;
const LOOK: Duration = Duration::from_millis(100);
/// Where nothing can be drawn, a line is written when it takes longer than this.
const SLOW_AFTER_LOOKS: u32 = 20;

/// Waits for `work` and shows meanwhile how many functions are ready.
pub(super) async fn show<T>(work: impl Future<Output = T>, board: &Board) -> T {
    let target =
        if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(None, target);
    bar.set_style(ProgressStyle::with_template("{spinner} {msg}").expect("the template is right"));
    let mut work = std::pin::pin!(work);
    let mut looks = 0_u32;
    loop {
        tokio::select! {
            done = &mut work => {
                bar.finish_and_clear();
                return done;
            }
            () = tokio::time::sleep(LOOK) => {
                let all = board.all();
                let done = all.iter().filter(|(_, entry)| entry.condition.ready != Ready::Unknown).count();
                looks += 1;
                if looks == SLOW_AFTER_LOOKS && bar.is_hidden() {
                    eprintln!("compiling {} functions; the first time this takes a while", all.len() - done);
                }
                bar.set_message(format!("compiling functions: {done} of {} are done", all.len()));
                bar.tick();
            }
        }
    }
}

/// Prints the functions with their URLs.
pub(super) fn banner(board: &Board, domain: &str, listen: SocketAddr, admin: SocketAddr) {
    let (all, suffix) = (board.all(), port_suffix(listen));
    let width = all.iter().map(|(key, _)| key.name.len()).max().unwrap_or(0);
    let mut out = std::io::stdout().lock();
    let mut lines = Vec::new();
    for (key, entry) in all.iter().take(LISTED_MAX) {
        let url = format!("http://{}{suffix}", route::host(key, domain));
        match entry.condition.ready {
            Ready::True => lines.push(format!("  {:width$}  {url}", key.name)),
            _ => {
                lines.push(format!("  {:width$}  {:?}: {}", key.name, entry.condition.reason, entry.condition.message))
            }
        }
    }
    if all.len() > LISTED_MAX {
        lines.push(format!("  … and {} more; see `wisp ls`", all.len() - LISTED_MAX));
    }
    if all.is_empty() {
        lines.push("  no functions yet; give files or folders of manifests, or make one with `wisp new`".to_owned());
    }
    lines.push(format!("requests   http://{listen}"));
    lines.push(format!("status     http://{admin}"));
    // A closed standard output is no reason to stop serving.
    let _closed = writeln!(out, "{}", lines.join("\n")).and_then(|()| out.flush());
}

/// Prints what functions write, until the logs close.
pub(super) async fn echo_logs(mut lines: broadcast::Receiver<Arc<NewLine>>) {
    loop {
        match lines.recv().await {
            // Standard error may be closed; the log is kept all the same.
            Ok(new) => drop(writeln!(std::io::stderr(), "[{}] {}", new.function.name, new.line.text)),
            Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "functions write faster than this can be shown"),
            Err(RecvError::Closed) => return,
        }
    }
}
