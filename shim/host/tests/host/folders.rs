//! Folders and settings that a guest is given.

use std::fs;
use std::os::unix::fs::symlink;

use tempfile::TempDir;
use wisp_api::wire::Preopen;

use crate::support::{Given, given};

/// A folder with a file, and with links that lead out of it.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("page.txt"), "a page").unwrap();
    symlink("/etc/passwd", folder.path().join("escape-absolute")).unwrap();
    symlink("../../../../../../etc/passwd", folder.path().join("escape-relative")).unwrap();
    folder
}

fn mounted(folder: &TempDir, writable: bool) -> Given {
    let mut given = given("guests.wasm");
    let host_path = folder.path().display().to_string();
    given.spec.preopens.push(Preopen { host_path, guest_path: "/pages".to_owned(), writable });
    given
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_to_read_is_only_read_and_nothing_outside_is_reached() {
    let folder = folder();
    let text = mounted(&folder, false).served().await.get("/fs-attack").await.text;
    assert!(text.contains("\"preopens\":[\"/pages\"]") && text.contains("\"files\":[\"/pages/page.txt\"]"), "{text}");
    assert!(text.contains("\"wrote\":[]") && text.contains("\"reached\":[]"), "{text}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 3);
    assert_eq!(fs::read_to_string(folder.path().join("page.txt")).unwrap(), "a page");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_to_write_is_written_and_nothing_outside_is_reached() {
    let folder = folder();
    let text = mounted(&folder, true).served().await.get("/fs-attack").await.text;
    assert!(text.contains("\"wrote\":[\"/pages\"]") && text.contains("\"reached\":[]"), "{text}");
    assert!(folder.path().join("written-by-guest").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_reads_its_configuration() {
    let mut given = given("samples/prebuilt/config.wasm");
    given.spec.config.insert("feature".to_owned(), "on".to_owned());
    let text = given.served().await.get("/").await.text;
    assert!(text.contains("feature from wasi:config/store: on\n"), "{text}");
    let text = crate::support::given("samples/prebuilt/config.wasm").served().await.get("/").await.text;
    assert!(text.contains("feature from wasi:config/store: not set\n"), "{text}");
}
