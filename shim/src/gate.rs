//! Knows when a container's first process has become its program, and why not if it has not.
//!
//! The process holds the writing end of a pipe that closes on exec. So the end of the pipe means that the program runs;
//! words before the end are why it could not.

use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::{OpenOptions, Receiver};

use crate::state_dir::gone;

/// An exec takes a millisecond; a start hook may take longer.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Of the reason; it becomes an event of the pod.
const REASON_BYTES_MAX: u64 = 2048;

/// The reading end.
#[derive(Debug)]
pub(crate) struct Gate(Receiver);

impl Gate {
    /// Makes the pipe at `path`.
    ///
    /// # Errors
    /// When it cannot be made or opened.
    pub(crate) fn make(path: &Path) -> io::Result<Self> {
        gone(std::fs::remove_file(path))?;
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        Ok(Self(OpenOptions::new().open_receiver(path)?))
    }

    /// Waits until the program runs.
    ///
    /// # Errors
    /// With the reason why it does not.
    pub(crate) async fn passed(mut self) -> Result<(), String> {
        match tokio::time::timeout(WAIT_MAX, self.words()).await {
            Err(_) => Err(format!("the program did not begin within {} s", WAIT_MAX.as_secs())),
            Ok(Err(error)) => Err(error.to_string()),
            Ok(Ok(words)) if words.is_empty() => Ok(()),
            Ok(Ok(words)) => Err(words),
        }
    }

    async fn words(&mut self) -> io::Result<String> {
        let mut words = Vec::new();
        (&mut self.0).take(REASON_BYTES_MAX).read_to_end(&mut words).await?;
        Ok(String::from_utf8_lossy(&words).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn writer(path: &Path) -> std::fs::File {
        std::fs::OpenOptions::new().write(true).open(path).unwrap()
    }

    #[tokio::test]
    async fn the_end_of_the_pipe_is_the_beginning_of_the_program() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gate");
        let gate = Gate::make(&path).unwrap();
        let writer = writer(&path);
        let passed = tokio::spawn(gate.passed());
        tokio::task::yield_now().await;
        assert!(!passed.is_finished());
        drop(writer);
        assert_eq!(passed.await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn words_are_why_it_does_not_begin() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gate");
        let gate = Gate::make(&path).unwrap();
        let mut writer = writer(&path);
        writer.write_all(b"no such file").unwrap();
        drop(writer);
        assert_eq!(gate.passed().await, Err("no such file".to_owned()));
    }
}
