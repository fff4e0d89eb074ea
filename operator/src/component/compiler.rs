//! The host's own compiler, in a child: it is an attack surface, and puts limits on itself there.

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::process::Stdio;

use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use wisp_api::revision::architecture;
use wisp_api::status::Reason;

use super::{Compiled, Refusal};

/// The host's exit code when the component is at fault.
const COMPONENT_AT_FAULT: i32 = 65;
/// Of its complaint; it becomes a condition's message.
const MESSAGE_BYTES_MAX: usize = 2048;

/// A store of compiled code, and the program that fills it.
pub(super) struct Compiler {
    store: PathBuf,
    host: PathBuf,
}

/// What `wisp-host ensure` prints.
#[derive(Deserialize)]
struct Answer {
    digest: String,
    path: PathBuf,
    kind: String,
}

impl Compiler {
    /// The store in `folder`, sealed with `key`.
    pub(super) fn open(folder: PathBuf, host: PathBuf, key: &[u8]) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let path = folder.join("seal.key");
        // What was sealed with another key is of no use, and made again.
        if std::fs::read(&path).ok().as_deref() != Some(key) {
            let _ = std::fs::remove_file(&path);
            std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?.write_all(key)?;
        }
        Ok(Self { store: folder, host })
    }

    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.store.join(file)
    }

    pub(super) async fn compile(&self, component: Vec<u8>) -> Result<Compiled, Refusal> {
        let failed = |error: io::Error| {
            let message = format!("{} cannot compile: {error}; is the operator's image whole?", self.host.display());
            Refusal::for_now(Reason::CompileFailed, message)
        };
        let mut child = Command::new(&self.host)
            .args(["ensure", "--kind", "http", "--store"])
            .arg(&self.store)
            .arg("-")
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let mut stdin = child.stdin.take().expect("stdin is piped");
        let feed = async move {
            // A compiler that does not read to the end says why.
            let _refused = stdin.write_all(&component).await;
        };
        let ((), output) = tokio::join!(feed, child.wait_with_output());
        let output = output.map_err(failed)?;
        if !output.status.success() {
            return Err(complaint(&output));
        }
        let answer: Answer = serde_json::from_slice(&output.stdout)
            .map_err(|error| Refusal::for_now(Reason::CompileFailed, format!("the compiler's answer: {error}")))?;
        debug_assert_eq!(answer.kind, "http", "nothing else was asked for");
        self.compiled(answer).await.map_err(failed)
    }

    async fn compiled(&self, answer: Answer) -> io::Result<Compiled> {
        let bytes = tokio::fs::metadata(&answer.path).await?.len();
        let file = answer.path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let architecture = architecture(std::env::consts::ARCH);
        Ok(Compiled { digest: answer.digest, image: None, file, bytes, architecture })
    }
}

fn complaint(output: &std::process::Output) -> Refusal {
    let text = String::from_utf8_lossy(&output.stderr[..output.stderr.len().min(MESSAGE_BYTES_MAX)]).into_owned();
    let text = text.trim().trim_start_matches("wisp-host: -: ").to_owned();
    if output.status.code() != Some(COMPONENT_AT_FAULT) {
        return Refusal::for_now(Reason::CompileFailed, format!("the compiler ended with {}: {text}", output.status));
    }
    Refusal::new(reason_of(&text), text)
}

/// By how the host words it: it has one exit code for all that is wrong with a component.
fn reason_of(text: &str) -> Reason {
    const NO_COMPONENT: [&str; 4] =
        ["not a WebAssembly", "a core WebAssembly", "precompiled", "the component is broken"];
    if text.starts_with("the component exports") {
        Reason::WorldUnsupported
    } else if NO_COMPONENT.iter().any(|words| text.starts_with(words)) {
        Reason::NotAComponent
    } else {
        Reason::CompileFailed
    }
}
