//! `ensure`: what a container runtime asks of a node before it makes a container.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::{prebuilt, prebuilt_path, program, shared_folder};

fn ensure(store: &Path, component: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.args(["ensure", "--store"]).arg(store).args(more).arg(component).output().unwrap()
}

fn told(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    let text = std::str::from_utf8(&output.stdout).unwrap();
    assert_eq!(text.matches('\n').count(), 1, "one line: {text}");
    serde_json::from_str(text).unwrap()
}

#[test]
fn one_line_says_what_it_is_and_where() {
    for (component, kind, world) in [
        ("guests.wasm", "http", "p2"),
        ("guests-p3.wasm", "http", "p3"),
        ("command.wasm", "command", "p2"),
        ("command-p3.wasm", "command", "p3"),
        ("command-preview1.wasm", "command", "p2"),
    ] {
        let told = told(&ensure(&shared_folder(), &prebuilt_path(component), &[]));
        assert_eq!((told["kind"].as_str(), told["world"].as_str()), (Some(kind), Some(world)), "{component}");
        assert!(told["digest"].as_str().unwrap().starts_with("sha256:"));
        assert!(Path::new(told["path"].as_str().unwrap()).is_file());
    }
}

#[test]
fn the_store_is_made_for_this_user_alone_and_a_second_time_nothing_is_compiled() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("deep/store");
    let first = told(&ensure(&store, &prebuilt_path("command.wasm"), &[]));
    assert_eq!(store.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let artifact = Path::new(first["path"].as_str().unwrap()).to_owned();
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&path.metadata().unwrap());
    let before = inode(&artifact);
    assert_eq!(told(&ensure(&store, &prebuilt_path("command.wasm"), &[])), first);
    assert_eq!(inode(&artifact), before);
}

#[test]
fn a_component_can_come_on_standard_input() {
    let mut child = Command::new(program())
        .args(["ensure", "-", "--store"])
        .arg(shared_folder())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&prebuilt("command.wasm")).unwrap();
    let by_file = told(&ensure(&shared_folder(), &prebuilt_path("command.wasm"), &[]));
    assert_eq!(told(&child.wait_with_output().unwrap()), by_file);
}

#[test]
fn what_is_no_good_is_65_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("given");
    let foreign = wat::parse_str("(module (import \"env\" \"now\" (func)) (func (export \"_start\")))").unwrap();
    let compiled =
        std::fs::read(told(&ensure(&shared_folder(), &prebuilt_path("command.wasm"), &[]))["path"].as_str().unwrap());
    for (bytes, more, why) in [
        (prebuilt("nohttp.wasm"), &[][..], "exports neither an HTTP handler nor a command"),
        (prebuilt("core.wasm"), &[], "without _start"),
        (foreign, &[], "imports env.now"),
        (compiled.unwrap(), &[], "never accepted"),
        (prebuilt("guests.wasm")[..2001].to_vec(), &[], "broken"),
        (b"#!/bin/sh".to_vec(), &[], "not a WebAssembly component"),
        (prebuilt("command.wasm"), &["--kind", "http"], "exports no HTTP handler"),
        (prebuilt("guests.wasm"), &["--kind", "command"], "exports no command"),
    ] {
        std::fs::write(&file, bytes).unwrap();
        let output = ensure(folder.path(), &file, more);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(65), &b""[..]), "{message}");
        assert!(message.contains(why), "{message}");
    }
}

#[test]
fn a_missing_file_is_not_the_components_fault() {
    let folder = tempfile::tempdir().unwrap();
    let output = ensure(folder.path(), &folder.path().join("nothing"), &[]);
    assert_eq!(output.status.code(), Some(70));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot read"));
}
