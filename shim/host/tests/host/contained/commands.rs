//! Commands in a container: streams, exit codes, signals, folders, limits.

use std::os::unix::process::ExitStatusExt;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::{COMPONENT, P3, PREVIEW1, container, ensured, line, signal};
use crate::support::{prebuilt, program, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_command_ends_with_its_own_exit_code() {
    for (component, code) in [(COMPONENT, 0), (COMPONENT, 1), (PREVIEW1, 0), (PREVIEW1, 42)] {
        let ran = container(component).await.args(&[&code.to_string(), "more"]).run().await;
        assert_eq!((ran.code, ran.out), (Some(code), format!("args: {code} more\n")), "{component} {}", ran.err);
        assert_eq!(ran.err, "", "{component}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_of_the_newer_world_ends_with_its_own_exit_code() {
    for (args, code, out) in
        [(&["a", "b"][..], 0, "args: a b\n"), (&["exit", "42"], 42, "leaving\n"), (&["fail"], 1, "")]
    {
        let ran = container(P3).await.args(args).run().await;
        assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(code), out, ""));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guest_sees_the_environment_without_the_hosts_own() {
    for component in [COMPONENT, PREVIEW1] {
        let given = container(component).await.args(&["env"]).env("ZONE", "a b=c").env("WISP_CPU_TIME_MILLIS", "60000");
        let ran = given.run().await;
        // The shell adds PWD and the like; what is meant for the host is not there.
        assert!(ran.out.lines().any(|line| line == "ZONE=a b=c"), "{ran:?}");
        assert!(!ran.out.contains("WISP_"), "{ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stdin_reaches_the_guest_as_it_comes() {
    for component in [COMPONENT, PREVIEW1] {
        let mut child = container(component).await.args(&["cat"]).start();
        for piece in ["one\n", "two\n"] {
            // The next piece is sent only when this one has come back.
            child.stdin.as_mut().unwrap().write_all(piece.as_bytes()).await.unwrap();
            assert_eq!(line(&mut child).await, piece);
        }
        drop(child.stdin.take());
        assert_eq!(within(child.wait()).await.unwrap().code(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn output_needs_no_newline_to_leave() {
    let mut child = container(COMPONENT).await.args(&["partial", "prompt> "]).start();
    let mut prompt = [0; 8];
    within(child.stdout.as_mut().unwrap().read_exact(&mut prompt)).await.unwrap();
    assert_eq!(&prompt, b"prompt> ");
}

#[tokio::test(flavor = "multi_thread")]
async fn stderr_is_the_guests_too() {
    let ran = container(COMPONENT).await.args(&["stderr", "a warning"]).run().await;
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(0), "", "a warning\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_are_as_they_were_granted() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("given"), "content").unwrap();
    for component in [COMPONENT, PREVIEW1] {
        let reads = container(component).await.preopen(folder.path(), "/data::ro").args(&["read", "/data/given"]);
        assert_eq!(reads.run().await.out, "content");
        let refused = container(component).await.preopen(folder.path(), "/data::ro");
        let refused = refused.args(&["write", "/data/new", "text"]).run().await;
        assert_eq!((refused.code, refused.out.starts_with("error")), (Some(1), true), "{refused:?}");
        assert!(!folder.path().join("new").exists());
        let allowed = container(component).await.preopen(folder.path(), "/data");
        let allowed = allowed.args(&["write", "/data/new", "text"]).run().await;
        assert_eq!(allowed.code, Some(0), "{allowed:?}");
        assert_eq!(std::fs::read_to_string(folder.path().join("new")).unwrap(), "text");
        std::fs::remove_file(folder.path().join("new")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_seen_that_was_not_granted() {
    let ran = container(COMPONENT).await.args(&["read", "/etc/passwd"]).run().await;
    assert_eq!((ran.code, ran.out.starts_with("error")), (Some(1), true), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_are_denied_unless_allowed() {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap().to_string();
    let denied = container(COMPONENT).await.args(&["connect", &address]).run().await;
    assert_eq!((denied.code, denied.out.starts_with("error")), (Some(1), true), "{denied:?}");
    let allowed = container(COMPONENT).await.args(&["connect", &address]).env("WISP_SOCKETS", "allow").run().await;
    assert_eq!((allowed.code, allowed.out.as_str()), (Some(0), "connected\n"), "{allowed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_end_a_guest_that_sleeps_and_one_that_computes() {
    for component in [COMPONENT, PREVIEW1, P3] {
        for (does, says) in [("sleep", "sleeping\n"), ("spin", "spinning\n")] {
            for (sent, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
                let mut child = container(component).await.args(&[does]).start();
                assert_eq!(line(&mut child).await, says);
                signal(&child, sent);
                let status = within(child.wait()).await.unwrap();
                assert_eq!((status.code(), status.signal()), (Some(code), None), "{component} {does}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_waits_for_input_is_ended_by_a_signal() {
    let mut child = container(COMPONENT).await.args(&["cat"]).start();
    // Held to the end: a guest that sees the end of its input ends by itself.
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"here\n").await.unwrap();
    assert_eq!(line(&mut child).await, "here\n");
    signal(&child, Signal::TERM);
    assert_eq!(within(child.wait()).await.unwrap().code(), Some(143));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_is_told_on_stderr_and_is_134() {
    for component in [COMPONENT, PREVIEW1, P3] {
        let ran = container(component).await.args(&["trap"]).run().await;
        assert_eq!(ran.code, Some(134), "{ran:?}");
        assert!(ran.err.contains("unreachable"), "{ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_memory_and_cpu_time_hold_where_they_are_set() {
    let memory = container(COMPONENT).await.args(&["grow"]).env("WISP_MEMORY_BYTES", &(32 << 20).to_string());
    let ran = memory.run().await;
    let mib: u32 = ran.out.strip_suffix(" MiB\n").unwrap().parse().unwrap();
    assert!((16..32).contains(&mib), "{ran:?}");
    let ran = container(COMPONENT).await.args(&["spin"]).env("WISP_CPU_TIME_MILLIS", "100").run().await;
    assert_eq!(ran.code, Some(134));
    assert!(ran.err.contains("CPU time of 100 ms"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_setting_is_64_and_says_which() {
    for (name, value) in [
        ("WISP_LISTEN", "8080"),
        ("WISP_SLOTS", "0"),
        ("WISP_SLOTS", "many"),
        ("WISP_MEMORY_BYTES", ""),
        ("WISP_OUTBOUND", "example.com"),
        ("WISP_SOCKETS", "perhaps"),
    ] {
        let ran = container("guests.wasm").await.env(name, value).run().await;
        assert_eq!(ran.code, Some(64), "{name}={value}: {ran:?}");
        assert!(!ran.err.is_empty());
    }
    let sockets = container("guests.wasm").await.env("WISP_SOCKETS", "allow").run().await;
    assert!(sockets.code == Some(64) && sockets.err.contains("WISP_OUTBOUND"), "{sockets:?}");
    let folder = container(COMPONENT).await.option(&["--preopen", "/nowhere::/data"]).run().await;
    assert!(folder.code == Some(64) && folder.err.contains("/nowhere"), "{folder:?}");
    let syntax = container(COMPONENT).await.option(&["--preopen", "/nowhere"]).run().await;
    assert_eq!(syntax.code, Some(64), "{syntax:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_that_is_not_sealed_by_us_is_66() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = std::fs::read(ensured(COMPONENT).await.path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    for (bytes, why) in [(bytes, "does not confirm"), (prebuilt(COMPONENT), "not a sealed artifact")] {
        let mut given = container(COMPONENT).await;
        given.artifact = folder.path().join("artifact");
        std::fs::write(&given.artifact, bytes).unwrap();
        let ran = given.run().await;
        assert_eq!(ran.code, Some(66), "{ran:?}");
        assert!(ran.err.contains(why), "{ran:?}");
    }
    let none = Command::new(program()).args(["contained", "--", "guest"]).output().await.unwrap();
    assert_eq!(none.status.code(), Some(66));
    assert!(String::from_utf8_lossy(&none.stderr).contains("descriptor 3"));
}
