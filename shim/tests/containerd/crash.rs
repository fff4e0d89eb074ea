//! What happens when containerd or a daemon goes away.

use std::fs;

use crate::linux::{container, remove, status};
use crate::node::{Node, wait_for};
use crate::traces;

#[test]
fn containers_outlive_a_restart_of_containerd() {
    let Some(mut node) = Node::start("restart") else { return };
    let rootfs = node.rootfs("rootfs");
    let log = format!("file://{}", node.path("output").display());
    let script = "n=0; while :; do n=$((n + 1)); echo line $n; sleep 0.05; done";
    node.run_ok(&container(&["-d", "--log-uri", &log], &rootfs, "c", script));
    node.stop_containerd();
    let lines = || fs::read_to_string(node.path("output")).unwrap_or_default().lines().count();
    let before = lines();
    wait_for("more output without containerd", || (lines() > before).then_some(()));
    node.start_containerd();
    assert_eq!(status(&node, "c"), "RUNNING");
    remove(&node, "c");
    traces::expect_none(&node);
}

#[test]
fn a_container_that_ended_while_containerd_was_away_is_taken_away_by_it() {
    let Some(mut node) = Node::start("away") else { return };
    let rootfs = node.rootfs("rootfs");
    let go = node.path("rootfs/tmp/go");
    let script = "while [ ! -e /tmp/go ]; do sleep 0.05; done; echo > /tmp/gone";
    node.run_ok(&container(&["-d"], &rootfs, "c", script));
    node.stop_containerd();
    fs::write(go, "").unwrap();
    wait_for("the end", || node.path("rootfs/tmp/gone").exists().then_some(()));
    // A task of no pod that has no process any more is a leaked one to containerd, with any runtime: it has it deleted.
    node.start_containerd();
    traces::expect_none(&node);
    assert_eq!(status(&node, "c"), "GONE");
}

#[test]
fn a_daemon_that_is_killed_leaves_nothing() {
    let Some(node) = Node::start("killed") else { return };
    let rootfs = node.rootfs("rootfs");
    node.run_ok(&container(&["-d"], &rootfs, "c", ": wisp-test-mark; while :; do sleep 1; done"));
    let killed = node.command("kill").args(["-KILL", &node.daemon_id("c").to_string()]).status();
    assert!(killed.unwrap().success());
    traces::expect_none(&node);
    // containerd hears of it a moment later.
    wait_for("the end", || (status(&node, "c") == "GONE").then_some(()));
    node.ctr_ok(&["containers", "delete", "c"]);
    // And the name is free again.
    node.run_ok(&container(&["-d"], &rootfs, "c", "sleep 1000"));
    remove(&node, "c");
}
