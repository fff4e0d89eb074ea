//! Compiled code: made once, sealed, and never taken from anybody else.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use wisp_host::compile::Compiler;
use wisp_host::engine::{Runtimes, WARM_POOL_SLOTS};
use wisp_host::load::{LoadError, load};
use wisp_host::store::{ArtifactStore, StoreError};

use crate::support::{compiler, guests, prebuilt, program};

/// The real compiler, which also writes a line to `log` for each run.
fn counting_compiler(log: &Path) -> Compiler {
    let script = format!("echo run >> {}; exec {} compile \"$1\"", log.display(), program().display());
    Compiler { program: "/bin/sh".into(), args: vec!["-c".into(), script.into(), "compiler".into()] }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_first_users_compile_once() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("runs");
    // Two stores on one folder stand for two processes.
    let stores = [(); 2].map(|()| ArtifactStore::open(&folder.path().join("store"), counting_compiler(&log)).unwrap());
    let component = guests();
    let wanted = (0..8).map(|n| stores[n % 2].ensure(&component));
    let artifacts = futures::future::try_join_all(wanted).await.unwrap();
    assert!(artifacts.iter().all(|artifact| artifact == &artifacts[0]));
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "run\n");
    assert_eq!(artifacts[0].path.metadata().unwrap().permissions().mode() & 0o777, 0o444);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_seal_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = ArtifactStore::open(folder.path(), compiler()).unwrap();
    let artifact = store.ensure(&guests()).await.unwrap();
    assert!(load(&artifact.path, store.key(), &Runtimes::new(WARM_POOL_SLOTS)).is_ok());

    let mut bytes = std::fs::read(&artifact.path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let forged = folder.path().join("forged");
    std::fs::write(&forged, &bytes).unwrap();
    let refused = |path: &Path| match load(path, store.key(), &Runtimes::new(WARM_POOL_SLOTS)) {
        Err(error @ LoadError::Seal { .. }) => error.to_string(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("loaded"),
    };
    assert!(refused(&forged).contains("does not confirm"));

    // Compiled code without a seal is what a user could bring.
    let raw = compiler().compile(&guests(), artifact.entry.world).await.unwrap();
    std::fs::write(&forged, raw).unwrap();
    assert!(refused(&forged).contains("not a sealed artifact"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_served_is_refused_before_it_is_compiled() {
    let folder = tempfile::tempdir().unwrap();
    let nothing = Compiler { program: "/bin/false".into(), args: Vec::new() };
    let store = ArtifactStore::open(folder.path(), nothing).unwrap();
    for (component, advice) in [
        (prebuilt("core.wasm"), "wasm32-wasip2"),
        (prebuilt("nohttp.wasm"), "export wasi:http/incoming-handler"),
        (prebuilt("command.wasm"), "wasi:cli/run"),
        (b"MZ".to_vec(), "not a WebAssembly component"),
        (guests()[..1001].to_vec(), "broken"),
        (compiler().compile(&guests(), wisp_host::inspect::World::P2).await.unwrap(), "never accepted"),
    ] {
        let error = store.ensure(&component).await.unwrap_err();
        assert!(matches!(error, StoreError::Inspect(_)) && error.to_string().contains(advice), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compiler_that_fails_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let failing = Compiler { program: "/bin/sh".into(), args: vec!["-c".into(), "echo too hard >&2; exit 3".into()] };
    let store = ArtifactStore::open(folder.path(), failing).unwrap();
    let error = store.ensure(&guests()).await.unwrap_err().to_string();
    assert!(error.contains("too hard"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_used_for_longest_goes_first() {
    let folder = tempfile::tempdir().unwrap();
    let store = ArtifactStore::open(folder.path(), compiler()).unwrap().bounded(1);
    let old = store.ensure(&guests()).await.unwrap();
    let new = store.ensure(&prebuilt("guests-p3.wasm")).await.unwrap();
    assert!(!old.path.exists() && new.path.exists());
    // It is simply made again.
    assert_eq!(store.ensure(&guests()).await.unwrap(), old);
    assert!(old.path.exists());
}
