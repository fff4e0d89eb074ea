//! Components, from either kind of image.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::linux::{delete, remove, status};
use crate::node::{Node, host, said, wait_for};
use crate::traces;

/// Says a line and ends with 7: a module for WASI preview 1, as compilers for it make.
const SAYS_HELLO: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (data (i32.const 16) "hello from wasm\n")
    (func (export "_start")
        (i32.store (i32.const 0) (i32.const 16))
        (i32.store (i32.const 4) (i32.const 16))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (call $exit (i32.const 7))))"#;
/// Goes on until it is ended.
const SPINS: &str = r#"(module
    (memory (export "memory") 1)
    (func (export "_start") (loop $again (br $again))))"#;

/// A node that can run components.
pub(crate) fn node(name: &str) -> Option<Node> {
    if host().is_none() {
        println!("left out: {name}: the static host was not built: `make static`");
        return None;
    }
    Node::start(name)
}

/// A root file system with only this file.
fn rootfs(node: &Node, text: &str) -> String {
    let root = node.path("rootfs");
    fs::create_dir_all(root.join("data")).unwrap();
    fs::write(root.join("app.wasm"), wat::parse_str(text).unwrap()).unwrap();
    root.to_str().unwrap().to_owned()
}

#[test]
fn a_module_in_an_ordinary_image_runs_and_its_exit_code_is_told() {
    let Some(node) = node("file") else { return };
    let rootfs = rootfs(&node, SAYS_HELLO);
    for _ in 0..2 {
        let output = node.run(&["--rm", "--rootfs", &rootfs, "w", "/app.wasm"]);
        assert_eq!(output.status.code(), Some(7), "{}\n{}", said(&output), node.log());
        assert!(String::from_utf8_lossy(&output.stdout).contains("hello from wasm\n"), "{}", said(&output));
    }
    assert_eq!(fs::read_dir(node.path("store/known")).unwrap().count(), 1);
    traces::expect_none(&node);
}

#[test]
fn an_image_that_is_a_component_runs() {
    let Some(node) = node("artifact") else { return };
    let archive = artifact(&node, &wat::parse_str(SAYS_HELLO).unwrap());
    node.ctr_ok(&[
        "images",
        "import",
        "--all-platforms",
        "--no-unpack",
        "--snapshotter",
        "native",
        archive.to_str().unwrap(),
    ]);
    let output = node.run(&["--rm", "--snapshotter", "native", "test.local/hello:1", "w", "/"]);
    assert_eq!(output.status.code(), Some(7), "{}\n{}", said(&output), node.log());
    traces::expect_none(&node);
}

#[test]
fn a_component_is_stopped_paused_and_measured_like_any_container() {
    let Some(node) = node("life") else { return };
    let rootfs = rootfs(&node, SPINS);
    node.run_ok(&["-d", "--rootfs", &rootfs, "w", "/app.wasm"]);
    assert_eq!(status(&node, "w"), "RUNNING");
    node.ctr_ok(&["tasks", "metrics", "w"]);
    node.ctr_ok(&["tasks", "pause", "w"]);
    node.ctr_ok(&["tasks", "resume", "w"]);
    let exec = node.ctr(&["tasks", "exec", "--exec-id", "e", "w", "sh"]);
    assert!(said(&exec).contains("has no shell"), "{}", said(&exec));
    node.ctr_ok(&["tasks", "kill", "--signal", "SIGTERM", "w"]);
    wait_for("the end", || (status(&node, "w") == "STOPPED").then_some(()));
    assert!(delete(&node, "w").contains("exit code 143"));
    traces::expect_none(&node);
}

#[test]
fn a_component_that_is_no_good_is_an_error_in_the_hosts_words() {
    let Some(node) = node("bad") else { return };
    let rootfs = rootfs(&node, "(module)");
    fs::write(node.path("rootfs/app.wasm"), b"\0asm\x0d\0\x01\0garbage").unwrap();
    let output = node.run(&["--rootfs", &rootfs, "w", "/app.wasm"]);
    assert!(!output.status.success(), "{}", said(&output));
    assert!(!said(&output).contains("bug of the shim"), "{}", said(&output));
    traces::expect_none(&node);
}

#[test]
fn a_component_that_was_killed_is_gone_after_force() {
    let Some(node) = node("force") else { return };
    let rootfs = rootfs(&node, SPINS);
    node.run_ok(&["-d", "--rootfs", &rootfs, "w", "/app.wasm"]);
    remove(&node, "w");
    traces::expect_none(&node);
}

/// An archive with an image that is a component. Its config is an ordinary one, because ctr knows no other; kubelet's
/// runtime service does.
fn artifact(node: &Node, component: &[u8]) -> std::path::PathBuf {
    let layout = node.path("layout");
    fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    let rootfs = json!({"type": "layers", "diff_ids": []});
    let config = json!({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs});
    let config = blob(&layout, "application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
    let layer = blob(&layout, "application/wasm", component);
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer]});
    let mut manifest = blob(&layout, kind, manifest.to_string().as_bytes());
    manifest["annotations"] = json!({"io.containerd.image.name": "test.local/hello:1"});
    fs::write(layout.join("index.json"), json!({"schemaVersion": 2, "manifests": [manifest]}).to_string()).unwrap();
    fs::write(layout.join("oci-layout"), json!({"imageLayoutVersion": "1.0.0"}).to_string()).unwrap();
    let archive = node.path("hello.tar");
    let packed = Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(&layout).arg(".").status().unwrap();
    assert!(packed.success());
    archive
}

fn blob(layout: &Path, media_type: &str, bytes: &[u8]) -> Value {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(layout.join("blobs/sha256").join(&hex), bytes).unwrap();
    json!({"mediaType": media_type, "digest": format!("sha256:{hex}"), "size": bytes.len()})
}
