//! What instances write: the last lines of each function, and all new ones for those who follow.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::sync::broadcast;
use wisp_api::key::FunctionKey;

use crate::view::{LogLine, Stream};

/// Lines that are kept of each function.
const LINES_MAX: usize = 1000;
/// Bytes of text that are kept of each function, so that long lines do not add up.
const BYTES_MAX: usize = 256 << 10;
/// A longer line is cut; the host cuts its guests' lines earlier.
const LINE_BYTES_MAX: usize = 16 << 10;
/// Lines that a slow follower may be behind before it misses some.
const FOLLOW_LINES_MAX: usize = 4096;

/// The logs of all functions. Functions that never wrote cost nothing.
#[derive(Debug)]
pub(crate) struct Logs {
    functions: DashMap<FunctionKey, Mutex<Kept>>,
    new: broadcast::Sender<Arc<NewLine>>,
}

/// A line that was just written.
#[derive(Debug)]
pub(crate) struct NewLine {
    pub(crate) function: FunctionKey,
    pub(crate) line: LogLine,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<LogLine>,
    bytes: usize,
}

impl Logs {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { functions: DashMap::new(), new: broadcast::Sender::new(FOLLOW_LINES_MAX) })
    }

    pub(crate) fn add(&self, function: &FunctionKey, line: LogLine) {
        // Nobody follows when this fails, which is as good.
        let _unread = self.new.send(Arc::new(NewLine { function: function.clone(), line: line.clone() }));
        let kept = self.functions.entry(function.clone()).or_default();
        kept.lock().unwrap_or_else(PoisonError::into_inner).add(line);
    }

    /// The last `count` lines of a function, oldest first.
    pub(crate) fn tail(&self, function: &FunctionKey, count: usize) -> Vec<LogLine> {
        let Some(kept) = self.functions.get(function) else { return Vec::new() };
        let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let skipped = kept.lines.len().saturating_sub(count);
        kept.lines.iter().skip(skipped).cloned().collect()
    }

    /// All lines from now on, of all functions.
    pub(crate) fn follow(&self) -> broadcast::Receiver<Arc<NewLine>> {
        self.new.subscribe()
    }

    pub(crate) fn forget(&self, function: &FunctionKey) {
        self.functions.remove(function);
    }
}

impl Kept {
    fn add(&mut self, line: LogLine) {
        self.bytes += line.text.len();
        self.lines.push_back(line);
        while self.lines.len() > LINES_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.lines.pop_front() else { return };
            self.bytes -= oldest.text.len();
        }
    }
}

/// Calls `each` for every line of `pipe` until it closes.
pub(crate) async fn read_lines(pipe: impl AsyncRead + Unpin, stream: Stream, mut each: impl FnMut(Stream, String)) {
    let mut reader = BufReader::with_capacity(4096, pipe);
    let mut line = Vec::new();
    loop {
        let available = match reader.fill_buf().await {
            Ok([]) | Err(_) => break,
            Ok(available) => available,
        };
        let end = available.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(available.len(), |end| end + 1);
        line.extend_from_slice(&available[..end.unwrap_or(taken)]);
        reader.consume(taken);
        if end.is_some() || line.len() >= LINE_BYTES_MAX {
            each(stream, String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned());
            line.clear();
        }
    }
    if !line.is_empty() {
        each(stream, String::from_utf8_lossy(&line).into_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> LogLine {
        LogLine {
            unix_millis: 0,
            instance: "i".to_owned(),
            revision: "r".to_owned(),
            stream: Stream::Stdout,
            text: text.to_owned(),
        }
    }

    #[test]
    fn old_lines_make_room_for_new_ones() {
        let (logs, hello) = (Logs::new(), FunctionKey::new("default", "hello"));
        for number in 0..LINES_MAX + 5 {
            logs.add(&hello, line(&number.to_string()));
        }
        assert_eq!(logs.tail(&hello, 1)[0].text, (LINES_MAX + 4).to_string());
        assert_eq!(logs.tail(&hello, usize::MAX)[0].text, "5");
        logs.add(&hello, line(&"x".repeat(BYTES_MAX)));
        assert_eq!(logs.tail(&hello, usize::MAX).len(), 1);
    }

    #[tokio::test]
    async fn lines_are_split_and_endless_ones_are_cut() {
        let mut seen = Vec::new();
        let input = format!("one\r\ntwo\n{}\nlast", "x".repeat(LINE_BYTES_MAX + 10));
        read_lines(input.as_bytes(), Stream::Stdout, |_, line| seen.push(line)).await;
        assert_eq!((seen[0].as_str(), seen[1].as_str()), ("one", "two"));
        assert!(seen.iter().all(|line| line.len() <= LINE_BYTES_MAX + 4096));
        assert_eq!(seen.last().unwrap(), "last");
    }
}
