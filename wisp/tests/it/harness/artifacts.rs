//! Compiled code of `guests.wasm`, made once for all tests and runs: compiling it takes longer than most of them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use tokio::sync::OnceCell;

use super::{function, kill, start};

static READY: OnceCell<PathBuf> = OnceCell::const_new();

/// Makes `folder` an artifact store that has `guests.wasm` already.
pub(super) async fn copy_to(folder: &Path) {
    let from = READY.get_or_init(compile).await;
    fs::create_dir(folder).unwrap();
    copy(from, folder);
}

/// Lets `wisp up` compile it, in a folder that later runs find again.
async fn compile() -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wisp-artifacts");
    fs::create_dir_all(&root).unwrap();
    // Two runs of these tests may want it at once.
    let lock = File::create(root.join("taken")).unwrap();
    let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await.unwrap().unwrap();
    let manifest = root.join("guests.yaml");
    fs::write(&manifest, function("guests").yaml()).unwrap();
    let (state, log) = (root.join("state"), root.join("log"));
    let (mut process, ..) = start(&state, &log, &["--warm", "0", manifest.to_str().unwrap()]).await;
    kill(process.id().expect("it was not waited for"), Signal::TERM);
    process.wait().await.unwrap();
    drop(lock);
    state.join("artifacts")
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
