//! Where a guest's stdout and stderr go when the spec lets them: line by line to ours, written by a thread of its own,
//! so that nobody who does not read our pipes can stop a request. What is too much, in lines that wait or in bytes a second,
//! is dropped and counted.

use std::io::{self, Write};
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use tokio::time::Instant;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::metrics::Metrics;

mod allowance;

use self::allowance::{Allowance, BYTES_PER_PERIOD_MAX, Dropped, PERIOD, Said};

/// A longer line is cut into pieces of this size.
const LINE_BYTES_MAX: usize = 8 << 10;
/// Lines that wait to be written; with more, the reader of our pipe is too slow and lines are dropped.
const LINES_WAITING_MAX: usize = 256;
/// What a guest may write in one call.
const WRITE_BYTES_MAX: usize = 64 << 10;

/// The output of all instances of a revision.
pub struct GuestOutput {
    writer: Arc<OnceLock<SyncSender<Line>>>,
    metrics: Arc<Metrics>,
}

#[derive(Clone, Copy)]
enum Target {
    Stdout,
    Stderr,
}

struct Line {
    target: Target,
    bytes: Vec<u8>,
}

/// One of the two standard streams of one guest.
#[derive(Clone)]
pub struct GuestStream {
    target: Target,
    writer: Arc<OnceLock<SyncSender<Line>>>,
    metrics: Arc<Metrics>,
    /// The line so far. All handles of one guest's stream write to the same line.
    line: Arc<Mutex<Vec<u8>>>,
}

impl GuestOutput {
    /// Output whose losses are counted in `metrics`.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { writer: Arc::default(), metrics }
    }

    /// A new guest's stdout.
    #[must_use]
    pub fn stdout(&self) -> GuestStream {
        self.stream(Target::Stdout)
    }

    /// A new guest's stderr.
    #[must_use]
    pub fn stderr(&self) -> GuestStream {
        self.stream(Target::Stderr)
    }

    fn stream(&self, target: Target) -> GuestStream {
        GuestStream {
            target,
            writer: Arc::clone(&self.writer),
            metrics: Arc::clone(&self.metrics),
            line: Arc::default(),
        }
    }
}

impl GuestStream {
    fn take(&self, mut bytes: &[u8]) {
        let mut line = self.line.lock().expect("no panic while held");
        while !bytes.is_empty() {
            let room = LINE_BYTES_MAX - line.len();
            let piece = bytes.iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |end| end + 1).min(room);
            line.extend_from_slice(&bytes[..piece]);
            bytes = &bytes[piece..];
            if line.ends_with(b"\n") || line.len() == LINE_BYTES_MAX {
                self.send(std::mem::take(&mut line));
            }
        }
    }

    fn send(&self, bytes: Vec<u8>) {
        let writer = self.writer.get_or_init(|| start_writer(Arc::clone(&self.metrics)));
        let length = bytes.len();
        if writer.try_send(Line { target: self.target, bytes }).is_err() {
            count_dropped(&self.metrics, length);
        }
    }
}

impl Drop for GuestStream {
    fn drop(&mut self) {
        // The last handle: what the guest wrote without a newline is its last line.
        if Arc::strong_count(&self.line) == 1 {
            let mut line = std::mem::take(&mut *self.line.lock().expect("no panic while held"));
            if !line.is_empty() {
                line.push(b'\n');
                self.send(line);
            }
        }
    }
}

/// The thread ends when the last stream of the revision is gone.
fn start_writer(metrics: Arc<Metrics>) -> SyncSender<Line> {
    let (sender, lines) = sync_channel(LINES_WAITING_MAX);
    let started = std::thread::Builder::new()
        .name("guest-output".to_owned())
        .stack_size(128 << 10)
        .spawn(move || write_lines(&lines, &metrics));
    if let Err(error) = started {
        tracing::error!(%error, "no thread for the guest's output; it is dropped");
    }
    sender
}

fn write_lines(lines: &Receiver<Line>, metrics: &Metrics) {
    let (mut allowance, mut said) = (Allowance::new(Instant::now()), Said::default());
    loop {
        // Whoever has something to say does not wait for the next line.
        let next = if said.lacks(dropped(metrics)) {
            lines.recv_timeout(PERIOD)
        } else {
            lines.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        let now = Instant::now();
        match next {
            Ok(line) if allowance.admits(line.bytes.len() as u64, now) => line.write(),
            Ok(line) => count_dropped(metrics, line.bytes.len()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if let Some(Dropped { lines, bytes }) = said.due(dropped(metrics), now) {
            let allowed = BYTES_PER_PERIOD_MAX;
            tracing::warn!(lines, bytes, allowed, "guest output dropped: too much in a second, or nobody reads it");
        }
    }
}

fn count_dropped(metrics: &Metrics, bytes: usize) {
    metrics.output_dropped_lines.fetch_add(1, Relaxed);
    metrics.output_dropped_bytes.fetch_add(bytes as u64, Relaxed);
}

fn dropped(metrics: &Metrics) -> Dropped {
    Dropped { lines: metrics.output_dropped_lines.load(Relaxed), bytes: metrics.output_dropped_bytes.load(Relaxed) }
}

impl Line {
    fn write(&self) {
        // A closed pipe is no reason to fail requests.
        let _ = match self.target {
            Target::Stdout => io::stdout().lock().write_all(&self.bytes),
            Target::Stderr => io::stderr().lock().write_all(&self.bytes),
        };
    }
}

impl IsTerminal for GuestStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for GuestStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for GuestStream {
    async fn ready(&mut self) {}
}

impl AsyncWrite for GuestStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.take(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> (GuestStream, Receiver<Line>) {
        let output = GuestOutput::new(Arc::default());
        let (sender, lines) = sync_channel(LINES_WAITING_MAX);
        assert!(output.writer.set(sender).is_ok());
        (output.stdout(), lines)
    }

    #[test]
    fn lines_leave_whole_and_the_last_needs_no_newline() {
        let (stream, lines) = stream();
        stream.take(b"on");
        stream.take(b"e\ntwo\nthr");
        drop(stream);
        let all: Vec<Vec<u8>> = lines.iter().map(|line| line.bytes).collect();
        assert_eq!(all, [&b"one\n"[..], b"two\n", b"thr\n"]);
    }

    #[test]
    fn an_endless_line_is_cut_and_too_many_lines_are_dropped() {
        let (stream, lines) = stream();
        stream.take(&vec![b'x'; LINE_BYTES_MAX * 2]);
        assert_eq!(lines.iter().take(2).map(|line| line.bytes.len()).sum::<usize>(), LINE_BYTES_MAX * 2);
        stream.take(&b"\n".repeat(LINES_WAITING_MAX + 5));
        assert_eq!(dropped(&stream.metrics), Dropped { lines: 5, bytes: 5 });
    }
}
