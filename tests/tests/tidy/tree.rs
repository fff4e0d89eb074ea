//! The files of this repository, as git lists them: committed, or new and not ignored.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file with its path from the root of the repository, with `/`.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) bytes: Vec<u8>,
}

impl File {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap_or_else(|error| panic!("{} is not UTF-8: {error}", self.path))
    }

    pub(crate) fn stem(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or(&self.path);
        name.split('.').next().unwrap_or(name)
    }

    pub(crate) fn folder(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(folder, _)| folder)
    }
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies in the root").to_owned()
}

/// Every file.
pub(crate) fn files() -> Vec<File> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root())
        .output()
        .expect("git lists the files; install git");
    assert!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
    let paths = String::from_utf8(listed.stdout).expect("paths are UTF-8");
    // A file that was removed but not committed as such is still listed.
    let read = |path: &str| Some(File { path: path.to_owned(), bytes: std::fs::read(root().join(path)).ok()? });
    paths.split_terminator('\0').filter_map(read).collect()
}

/// Rust files of the workspace; guests and samples are packages of their own.
pub(crate) fn rust_files() -> Vec<File> {
    let ours = |file: &File| {
        file.path.ends_with(".rs") && !file.path.starts_with("samples/") && !file.path.starts_with("tests/guests/")
    };
    files().into_iter().filter(ours).collect()
}

/// One file by its path.
pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("cannot read {path}: {error}"))
}

/// Fails with all complaints at once.
pub(crate) fn expect_none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}
