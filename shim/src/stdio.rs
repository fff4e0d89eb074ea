//! The ends of a container's input and output.
//!
//! containerd names FIFOs; the container's process gets them as they are, and nothing is copied on the way. What could go
//! wrong with a bare FIFO is met by how it is opened:
//! - Nobody reads for a while, because containerd restarts: a writer that is also a reader is never told that the pipe is
//!   broken, so the container writes on, and waits when the pipe is full.
//! - The container ends before containerd is back: the shim keeps a reading end until the container is deleted, so what
//!   was written last is still there. A reading end does not keep containerd from seeing the end.
//! - Nobody writes to its input yet: the shim keeps a writing end until it is told that the input is closed.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

/// Where input comes from and output goes to, as containerd names it: a FIFO, `file://`, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Names {
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// What the container's process is given.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) stdin: File,
    pub(crate) stdout: File,
    pub(crate) stderr: File,
}

/// What the shim keeps open while the container is there.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    input: Option<File>,
    #[expect(dead_code, reason = "is kept for being open")]
    outputs: Vec<File>,
}

/// Why there is no input or output.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StdioError {
    #[error("{name}: {source}")]
    Io { name: String, source: io::Error },
    #[error("output to {0} is not supported: containerd's own FIFOs and file:// are")]
    Scheme(String),
}

/// Somewhere to write to.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Nowhere,
    Fifo(PathBuf),
    File(PathBuf),
}

impl Names {
    /// Opens what the container gets.
    ///
    /// # Errors
    /// When it is not there, or nothing that can be written to directly.
    pub(crate) fn give(&self) -> Result<Given, StdioError> {
        let stdin = match self.stdin.as_str() {
            "" => open(OpenOptions::new().read(true), Path::new("/dev/null")),
            // Without waiting for a writer: the shim holds one. Reads wait all the same, see `blocking`.
            name => open(OpenOptions::new().read(true).custom_flags(nonblocking()), Path::new(name)),
        }?;
        let stdout = output(&self.stdout)?;
        // containerd gives the same name twice where one file is to have both.
        let stderr = output(&self.stderr)?;
        blocking(&stdin).map_err(|source| StdioError::Io { name: self.stdin.clone(), source })?;
        Ok(Given { stdin, stdout, stderr })
    }

    /// Opens what the shim keeps.
    ///
    /// # Errors
    /// When a FIFO is not there.
    pub(crate) fn keep(&self) -> Result<Kept, StdioError> {
        let input = match self.stdin.as_str() {
            "" => None,
            name => Some(open(OpenOptions::new().read(true).write(true), Path::new(name))?),
        };
        let mut outputs = Vec::new();
        for name in [&self.stdout, &self.stderr] {
            if let Target::Fifo(path) = target(name)? {
                outputs.push(open(OpenOptions::new().read(true).custom_flags(nonblocking()), &path)?);
            }
        }
        Ok(Kept { input, outputs })
    }
}

impl Given {
    /// Makes them the property of the container's user: programs open `/dev/stdout` anew.
    pub(crate) fn own(&self, user: u32) -> io::Result<()> {
        for file in [&self.stdin, &self.stdout, &self.stderr] {
            if file.metadata()?.file_type().is_fifo() {
                rustix::fs::fchown(file, Some(rustix::fs::Uid::from_raw(user)), None)?;
            }
        }
        Ok(())
    }
}

impl Kept {
    /// Lets the container see the end of its input, once containerd has closed it too.
    pub(crate) fn close_input(&mut self) {
        self.input = None;
    }
}

fn output(name: &str) -> Result<File, StdioError> {
    match target(name)? {
        Target::Nowhere => open(OpenOptions::new().write(true), Path::new("/dev/null")),
        Target::Fifo(path) => open(OpenOptions::new().read(true).write(true), &path),
        Target::File(path) => open(OpenOptions::new().append(true).create(true).mode(0o640), &path),
    }
}

fn target(name: &str) -> Result<Target, StdioError> {
    match name.split_once("://") {
        None if name.is_empty() => Ok(Target::Nowhere),
        None | Some(("fifo", _)) => {
            let path = Path::new(name.trim_start_matches("fifo://"));
            let kind = std::fs::metadata(path).map(|metadata| metadata.file_type());
            let kind = kind.map_err(|source| StdioError::Io { name: name.to_owned(), source })?;
            Ok(if kind.is_fifo() { Target::Fifo(path.to_owned()) } else { Target::File(path.to_owned()) })
        }
        // What follows `?` is for other shims.
        Some(("file", rest)) => Ok(Target::File(rest.split('?').next().unwrap_or(rest).into())),
        Some(_) => Err(StdioError::Scheme(name.to_owned())),
    }
}

fn open(options: &mut OpenOptions, path: &Path) -> Result<File, StdioError> {
    options.open(path).map_err(|source| StdioError::Io { name: path.display().to_string(), source })
}

fn nonblocking() -> i32 {
    OFlags::NONBLOCK.bits().cast_signed()
}

/// Programs expect to wait for their input.
fn blocking(file: &File) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(file)?;
    Ok(rustix::fs::fcntl_setfl(file, flags.difference(OFlags::NONBLOCK))?)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    fn fifo(folder: &tempfile::TempDir, name: &str) -> String {
        let path = folder.path().join(name);
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        path.to_str().unwrap().to_owned()
    }

    #[test]
    fn output_is_kept_for_a_reader_that_comes_late() {
        let folder = tempfile::tempdir().unwrap();
        let names = Names { stdout: fifo(&folder, "out"), ..Names::default() };
        let kept = names.keep().unwrap();
        let mut given = names.give().unwrap();
        given.stdout.write_all(b"said before anybody listened").unwrap();
        drop(given);
        let mut late = OpenOptions::new().read(true).custom_flags(nonblocking()).open(&names.stdout).unwrap();
        let mut said = String::new();
        late.read_to_string(&mut said).unwrap();
        assert_eq!(said, "said before anybody listened");
        drop(kept);
    }

    #[test]
    fn a_reader_sees_the_end_when_the_container_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let names = Names { stdout: fifo(&folder, "out"), ..Names::default() };
        let _kept = names.keep().unwrap();
        let given = names.give().unwrap();
        let mut reader = OpenOptions::new().read(true).custom_flags(nonblocking()).open(&names.stdout).unwrap();
        drop(given);
        assert_eq!(reader.read(&mut [0; 8]).unwrap(), 0);
    }

    #[test]
    fn input_ends_only_when_it_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let names = Names { stdin: fifo(&folder, "in"), ..Names::default() };
        let mut kept = names.keep().unwrap();
        let mut given = names.give().unwrap();
        OpenOptions::new().write(true).open(&names.stdin).unwrap().write_all(b"all").unwrap();
        kept.close_input();
        let mut said = String::new();
        given.stdin.read_to_string(&mut said).unwrap();
        assert_eq!(said, "all");
    }

    #[test]
    fn targets_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = fifo(&folder, "out");
        assert_eq!(target("").unwrap(), Target::Nowhere);
        assert_eq!(target(&pipe).unwrap(), Target::Fifo(pipe.clone().into()));
        assert_eq!(target("file:///var/log/x?a=b").unwrap(), Target::File("/var/log/x".into()));
        assert!(matches!(target("binary:///bin/logger"), Err(StdioError::Scheme(_))));
    }
}
