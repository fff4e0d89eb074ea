//! Compiled code for a component: asked of the host's own store, and remembered so that asking again costs no process.
//!
//! What is remembered lies in the store's folder `known/`, a file for each component. It holds only as long as the host
//! is the same program: another version compiles differently, and would not load what this one left.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use ring::digest::{Context, Digest, SHA256};
use serde::{Deserialize, Serialize};

const KNOWN: &str = "known";
const KEY_FILE: &str = "seal.key";
/// Of the host's complaint; it becomes an event of the pod.
const MESSAGE_BYTES_MAX: usize = 2048;

/// The node's store, and the host that fills it.
pub(crate) struct Store {
    folder: PathBuf,
    host: PathBuf,
    /// Tells one version of the host from another.
    version: String,
}

/// What the host answers, and what is remembered of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Answer {
    digest: String,
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Known {
    version: String,
    answer: Answer,
}

/// Compiled code and the key of its seal, open for a container's host.
#[derive(Debug)]
pub(crate) struct Artifact {
    /// One artifact; of an instance, the folder of all.
    pub(crate) code: File,
    pub(crate) key: File,
}

/// Why there is no compiled code.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArtifactError {
    #[error("the host {path}: {source}; install wisp-host there, or name it in /etc/wisp/shim.toml")]
    Host { path: PathBuf, source: io::Error },
    #[error("{0}")]
    Refused(String),
    #[error("the host answered {0:?}, which is not an artifact; are host and shim of the same release?")]
    Answer(String),
    #[error("containerd has other bytes than those of {0} under that digest; remove the image and pull it again")]
    Digest(String),
    #[error("store {path}: {source}; check space and permissions")]
    Store { path: PathBuf, source: io::Error },
    #[error("{path}: {source}; functions need the node's agent: is the DaemonSet wisp-node ready on this node?")]
    Agent { path: PathBuf, source: io::Error },
    #[error("containerd does not say which pod this is; instances of functions are pods of Kubernetes")]
    NoPod,
}

impl Store {
    /// The store in `folder`, which `host` compiles for.
    ///
    /// # Errors
    /// When there is no such host or the folder cannot be made.
    pub(crate) fn open(folder: &Path, host: &Path) -> Result<Self, ArtifactError> {
        let metadata = fs::metadata(host).map_err(|source| ArtifactError::Host { path: host.to_owned(), source })?;
        let version = format!(
            "{} {} {} {}.{}",
            metadata.dev(),
            metadata.ino(),
            metadata.len(),
            metadata.mtime(),
            metadata.mtime_nsec()
        );
        let known = folder.join(KNOWN);
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&known);
        made.map_err(|source| ArtifactError::Store { path: known, source })?;
        Ok(Self { folder: folder.to_owned(), host: host.to_owned(), version })
    }

    /// What is known of the component with this digest, if its compiled code is still there.
    pub(crate) fn known(&self, digest: &str) -> Option<Artifact> {
        let known: Known = serde_json::from_slice(&fs::read(self.known_file(digest)).ok()?).ok()?;
        if known.version != self.version {
            return None;
        }
        self.load(&known.answer).ok()
    }

    /// Lets the host compile `component`, or find that it has, and remembers the answer. `digest` is what the component
    /// is known by; without one the host's own is taken.
    ///
    /// # Errors
    /// With the host's words when the component is no good.
    pub(crate) fn ensure(&self, component: File, digest: Option<&str>) -> Result<Artifact, ArtifactError> {
        let answer = self.ask(component)?;
        if let Some(digest) = digest.filter(|digest| *digest != answer.digest) {
            return Err(ArtifactError::Digest(digest.to_owned()));
        }
        let artifact = self.load(&answer)?;
        self.remember(answer)?;
        Ok(artifact)
    }

    fn ask(&self, component: File) -> Result<Answer, ArtifactError> {
        let output = Command::new(&self.host)
            .args(["ensure", "--store"])
            .arg(&self.folder)
            .arg("-")
            .stdin(component)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .map_err(|source| ArtifactError::Host { path: self.host.clone(), source })?;
        if !output.status.success() {
            return Err(ArtifactError::Refused(complaint(&output.stderr, output.status)));
        }
        let line = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(&line).map_err(|_| ArtifactError::Answer(line.trim().to_owned()))
    }

    fn load(&self, answer: &Answer) -> Result<Artifact, ArtifactError> {
        let open = |path: PathBuf| File::open(&path).map_err(|source| ArtifactError::Store { path, source });
        let code = open(answer.path.clone())?;
        // Only the order of removal depends on it: a read-only store works all the same.
        let _ = code.set_modified(SystemTime::now());
        Ok(Artifact { code, key: open(self.folder.join(KEY_FILE))? })
    }

    fn remember(&self, answer: Answer) -> Result<(), ArtifactError> {
        let path = self.known_file(&answer.digest);
        let write = || -> io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(self.folder.join(KNOWN))?;
            serde_json::to_writer(&mut file, &Known { version: self.version.clone(), answer })?;
            file.persist(&path).map_err(|error| error.error)?;
            Ok(())
        };
        write().map_err(|source| ArtifactError::Store { path: path.clone(), source })
    }

    fn known_file(&self, digest: &str) -> PathBuf {
        // A digest is `sha256:<hex>`; whatever else it may be, it stays one name in this folder.
        self.folder.join(KNOWN).join(digest.replace(['/', ':', '.'], "-"))
    }
}

/// `bytes` as a file that nobody else sees.
pub(crate) fn file_of(bytes: &[u8]) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(bytes)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

/// As digests are written.
pub(crate) fn hex(digest: &Digest) -> String {
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `sha256:<hex>` of all of `file`, which is at its start again afterwards.
pub(crate) fn digest_of(file: &mut File) -> io::Result<String> {
    let mut hash = Hash(Context::new(&SHA256));
    io::copy(file, &mut hash)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(format!("sha256:{}", hex(&hash.0.finish())))
}

struct Hash(Context);

impl Write for Hash {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn complaint(stderr: &[u8], status: std::process::ExitStatus) -> String {
    let text = String::from_utf8_lossy(&stderr[..stderr.len().min(MESSAGE_BYTES_MAX)]);
    match text.trim() {
        "" => format!("the host ended with {status} while it looked at the component, and said nothing"),
        words => words.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reaper::CHILDREN;

    /// A program in the host's place; what it is asked is the store's business, how it is asked is ours.
    fn store(folder: &Path, script: &str) -> Store {
        let host = folder.join("wisp-host");
        // Written by another process: a file that this one has open for writing, a neighbour's child has, too, and then
        // it cannot be run.
        let write = r#"printf '#!/bin/sh\n%s\n' "$1" > "$0" && chmod 755 "$0""#;
        let _children = CHILDREN.blocking_read();
        assert!(Command::new("/bin/sh").args(["-c", write]).arg(&host).arg(script).status().unwrap().success());
        Store::open(&folder.join("store"), &host).unwrap()
    }

    fn ensure(store: &Store, digest: Option<&str>) -> Result<(), ArtifactError> {
        let _children = CHILDREN.blocking_read();
        store.ensure(file_of(b"\0asm").unwrap(), digest).map(drop)
    }

    fn answers(folder: &Path) -> String {
        let store = folder.join("store");
        format!(
            "cat > /dev/null; echo asked >> {0}/asked; echo k > {1}/seal.key; echo c > {1}/a.wisp; \
             echo '{{\"digest\":\"sha256:ab\",\"path\":\"{1}/a.wisp\",\"kind\":\"http\",\"world\":\"p2\"}}'",
            folder.display(),
            store.display()
        )
    }

    #[test]
    fn a_component_is_asked_about_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path(), &answers(folder.path()));
        assert!(store.known("sha256:ab").is_none());
        ensure(&store, Some("sha256:ab")).unwrap();
        assert!(store.known("sha256:ab").is_some());
    }

    #[test]
    fn what_is_known_is_forgotten_with_another_host_or_without_the_code() {
        let folder = tempfile::tempdir().unwrap();
        let first = store(folder.path(), &answers(folder.path()));
        ensure(&first, None).unwrap();
        let second = store(folder.path(), "exit 1 # another host");
        assert!(second.known("sha256:ab").is_none());
        assert!(first.known("sha256:ab").is_some());
        fs::remove_file(folder.path().join("store/a.wisp")).unwrap();
        assert!(first.known("sha256:ab").is_none());
    }

    #[test]
    fn the_hosts_words_are_handed_on() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path(), "cat > /dev/null; echo 'no export that fits' >&2; exit 65");
        let error = ensure(&store, None).unwrap_err();
        assert_eq!(error.to_string(), "no export that fits");
    }

    #[test]
    fn other_bytes_than_the_digest_says_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path(), &answers(folder.path()));
        let error = ensure(&store, Some("sha256:cd")).unwrap_err();
        assert!(matches!(error, ArtifactError::Digest(_)));
    }

    #[test]
    fn digests_are_those_of_the_whole_file() {
        let mut file = file_of(b"abc").unwrap();
        let digest = digest_of(&mut file).unwrap();
        assert_eq!(digest, "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(digest_of(&mut file).unwrap(), digest);
    }
}
