//! What only root can set up: another root, another user, another PID namespace.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::process::{Pid, Signal};

use super::{COMPONENT, container, line, request, server, signal};
use crate::support::{program, within};

fn is_root() -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    eprintln!("skipped: needs root");
    false
}

/// A root file system with nothing in it but the host and the libraries that it was linked with.
fn bare_root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let libraries = std::process::Command::new("ldd").arg(program()).output().unwrap().stdout;
    let libraries = String::from_utf8(libraries).unwrap();
    let paths = libraries.split_whitespace().filter(|word| word.starts_with('/')).map(Path::new);
    for path in paths.chain([program()]) {
        let copy = root.path().join(path.strip_prefix("/").unwrap());
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::copy(path, copy).unwrap();
    }
    root
}

/// Not even /proc: the code is copied there, not mapped.
#[tokio::test(flavor = "multi_thread")]
async fn another_user_in_an_empty_root_can_run_and_serve() {
    if !is_root() {
        return;
    }
    let root = bare_root();
    let chroot = ["chroot", "--userspec=65534:65534", root.path().to_str().unwrap()];
    let ran = container(COMPONENT).await.through(&chroot).args(&["0", "contained"]).run().await;
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(0), "args: 0 contained\n", ""));
    let (mut child, address) = server(container("guests.wasm").await.through(&chroot)).await;
    assert_eq!(request(&address, "/hello").await.text, "hello\n");
    signal(&child, Signal::TERM);
    assert_eq!(within(child.wait()).await.unwrap().code(), Some(0));
}

/// What root made is mapped, not copied, by who is not root.
#[tokio::test(flavor = "multi_thread")]
async fn another_user_maps_the_artifact() {
    if !is_root() {
        return;
    }
    let program = tempfile::tempdir().unwrap();
    std::fs::set_permissions(program.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut given =
        container("guests.wasm").await.through(&["setpriv", "--reuid=65534", "--clear-groups", "--no-new-privs"]);
    given.program = program.path().join("wisp-host");
    std::fs::copy(self::program(), &given.program).unwrap();
    let artifact = given.artifact.clone();
    let (mut child, _) = server(given).await;
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", child.id().unwrap())).unwrap();
    let mapped = maps.lines().filter(|line| line.ends_with(artifact.to_str().unwrap()));
    assert!(mapped.clone().any(|line| line.contains("r-xp")), "{maps}");
    child.kill().await.unwrap();
}

/// The first process of a PID namespace gets no signal that it does not catch.
#[tokio::test(flavor = "multi_thread")]
async fn as_the_first_process_it_hears_sigterm() {
    if !is_root() {
        return;
    }
    let unshare = ["unshare", "--pid", "--fork", "--kill-child"];
    for (component, does, code) in [(COMPONENT, "sleep", 143), ("guests.wasm", "serve", 0)] {
        let given = container(component).await.through(&unshare).args(&[does]);
        let mut child = if code == 0 {
            server(given).await.0
        } else {
            let mut child = given.start();
            assert_eq!(line(&mut child).await, "sleeping\n");
            child
        };
        let parent = child.id().unwrap();
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
        let first = Pid::from_raw(children.trim().parse().unwrap()).unwrap();
        rustix::process::kill_process(first, Signal::TERM).unwrap();
        assert_eq!(within(child.wait()).await.unwrap().code(), Some(code), "{component}");
    }
}
