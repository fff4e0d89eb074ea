//! Ordinary Linux containers: sidecars and init containers.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use containerd_shim::protos::protobuf::MessageField;
use containerd_shim::protos::protobuf::well_known_types::any::Any;
use serde_json::json;

use crate::node::{MOUNTS, Node, said, wait_for};
use crate::task::Terminal;
use crate::traces;

/// `ctr run` arguments for a container of this machine's programs.
pub(crate) fn container<'a>(flags: &[&'a str], rootfs: &'a str, id: &'a str, script: &'a str) -> Vec<&'a str> {
    let mut arguments = flags.to_vec();
    arguments.extend(MOUNTS);
    arguments.extend(["--rootfs", rootfs, id, "/bin/sh", "-c", script]);
    arguments
}

pub(crate) fn status(node: &Node, id: &str) -> String {
    let list = node.ctr_ok(&["tasks", "ls"]);
    let line = list.lines().find(|line| line.split_whitespace().next() == Some(id));
    line.and_then(|line| line.split_whitespace().nth(2)).unwrap_or("GONE").to_owned()
}

pub(crate) fn remove(node: &Node, id: &str) {
    node.ctr_ok(&["tasks", "kill", "--signal", "SIGKILL", id]);
    wait_for("the end", || (status(node, id) == "STOPPED").then_some(()));
    node.ctr_ok(&["tasks", "delete", id]);
    node.ctr_ok(&["containers", "delete", id]);
}

/// Deletes a task that has ended, and says what is said of its end.
pub(crate) fn delete(node: &Node, id: &str) -> String {
    let deleted = node.ctr(&["tasks", "delete", id]);
    assert!(deleted.status.success(), "{}", said(&deleted));
    said(&deleted)
}

#[test]
fn a_container_runs_to_its_end_and_its_exit_code_is_told() {
    let Some(node) = Node::start("run") else { return };
    let rootfs = node.rootfs("rootfs");
    let output = node.run(&container(&["--rm"], &rootfs, "c", "echo out; echo err >&2; exit 7"));
    assert_eq!(output.status.code(), Some(7), "{}\n{}", said(&output), node.log());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "out\n");
    assert!(String::from_utf8_lossy(&output.stderr).contains("err"), "{}", said(&output));
    traces::expect_none(&node);
}

#[test]
fn a_running_container_is_seen_paused_measured_and_ended() {
    let Some(node) = Node::start("life") else { return };
    let rootfs = node.rootfs("rootfs");
    node.run_ok(&container(&["-d"], &rootfs, "c", "trap 'exit 3' TERM; while :; do sleep 0.1; done"));
    assert_eq!(status(&node, "c"), "RUNNING");
    assert!(node.ctr_ok(&["tasks", "ps", "c"]).lines().count() >= 2);
    let metrics = node.ctr_ok(&["tasks", "metrics", "c"]);
    let shown = |word: &str| metrics.lines().any(|line| line.contains(word) && !line.trim_end().ends_with(" 0"));
    assert!(shown("cpu") && shown("memory"), "{metrics}");

    node.ctr_ok(&["tasks", "pause", "c"]);
    assert_eq!(status(&node, "c"), "PAUSED");
    node.ctr_ok(&["tasks", "resume", "c"]);
    assert_eq!(status(&node, "c"), "RUNNING");

    node.ctr_ok(&["tasks", "kill", "--signal", "SIGTERM", "c"]);
    wait_for("the end", || (status(&node, "c") == "STOPPED").then_some(()));
    let again = node.ctr(&["tasks", "kill", "--signal", "SIGTERM", "c"]);
    assert!(said(&again).contains("not found"), "{}", said(&again));
    assert!(delete(&node, "c").contains("exit code 3"));
    traces::expect_none(&node);
}

#[test]
fn a_paused_container_can_be_killed() {
    let Some(node) = Node::start("frozen") else { return };
    let rootfs = node.rootfs("rootfs");
    node.run_ok(&container(&["-d"], &rootfs, "c", "sleep 1000"));
    node.ctr_ok(&["tasks", "pause", "c"]);
    remove(&node, "c");
    traces::expect_none(&node);
}

#[test]
fn a_container_that_was_never_started_is_taken_away() {
    let Some(node) = Node::start("created") else { return };
    let rootfs = node.rootfs("rootfs");
    node.run_ok(&container(&["-d"], &rootfs, "c", "sleep 1000"));
    // ctr creates and starts at once; so the daemon is asked itself, for a container beside the first.
    let mut beside = vec!["containers", "create"];
    beside.extend(container(&[], &rootfs, "d", "sleep 1000"));
    node.ctr_ok(&beside);
    let bundle = node.path("state/io.containerd.runtime.v2.task").join(&node.namespace).join("c");
    let config = fs::read_to_string(bundle.join("config.json")).unwrap();
    let beside = node.path("beside");
    fs::create_dir(&beside).unwrap();
    fs::write(
        beside.join("config.json"),
        config.replace(&format!("/{}/c", node.namespace), &format!("/{}/d", node.namespace)),
    )
    .unwrap();
    let task = node.task("c");
    let refused = task.create("d", &beside, Terminal::Wanted).unwrap_err().to_string();
    assert!(refused.contains("gives no terminal"), "{refused}");
    task.create("d", &beside, Terminal::None).unwrap();
    task.kill("d", 15).unwrap();
    assert_eq!(task.wait("d"), 143);
    task.delete("d").unwrap();

    task.create("d", &beside, Terminal::None).unwrap();
    task.delete("d").unwrap();
    remove(&node, "c");
    traces::expect_none(&node);
}

#[test]
fn more_processes_join_a_container() {
    let Some(node) = Node::start("exec") else { return };
    let rootfs = node.rootfs("rootfs");
    node.run_ok(&container(&["-d"], &rootfs, "c", "echo here > /tmp/mark; sleep 1000"));
    let script = "until [ -s /tmp/mark ]; do sleep 0.1; done; cat /tmp/mark; exit 5";
    let output = node.ctr(&["tasks", "exec", "--exec-id", "e", "c", "/bin/sh", "-c", script]);
    assert_eq!(output.status.code(), Some(5), "{}\n{}", said(&output), node.log());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "here\n");
    let missing = node.ctr(&["tasks", "exec", "--exec-id", "m", "c", "/bin/not-there"]);
    assert!(!missing.status.success() && said(&missing).contains("not-there"), "{}", said(&missing));
    remove(&node, "c");
    traces::expect_none(&node);
}

#[test]
fn input_reaches_the_container_and_ends() {
    let Some(node) = Node::start("input") else { return };
    let rootfs = node.rootfs("rootfs");
    let settings = node.path("shim.toml");
    let mut all =
        vec!["run", "--runtime", "io.containerd.wisp.v1", "--runtime-config-path", settings.to_str().unwrap()];
    all.extend(container(&["--rm"], &rootfs, "c", "cat; echo end"));
    let output = node.path("output");
    let mut ctr = node.ctr_command(&all);
    let mut ctr = ctr.stdin(Stdio::piped()).stdout(fs::File::create(&output).unwrap()).spawn().unwrap();
    let mut input = ctr.stdin.take().unwrap();
    input.write_all(b"from outside\n").unwrap();
    let said = || fs::read_to_string(&output).unwrap();
    wait_for("the echo", || (said() == "from outside\n").then_some(()));
    drop(input);
    assert!(ctr.wait().unwrap().success());
    assert_eq!(said(), "from outside\nend\n");
}

#[test]
fn a_program_that_is_not_there_is_an_error_with_its_name() {
    let Some(node) = Node::start("missing") else { return };
    let rootfs = node.rootfs("rootfs");
    let mut arguments = MOUNTS.to_vec();
    arguments.extend(["--rootfs", &rootfs, "c", "/bin/not-there"]);
    let output = node.run(&arguments);
    assert!(!output.status.success() && said(&output).contains("/bin/not-there"), "{}", said(&output));
    traces::expect_none(&node);
}

#[test]
fn processes_that_are_long_to_die_are_waited_for() {
    let Some(node) = Node::start("slow") else { return };
    let rootfs = node.rootfs("rootfs");
    // It is outlived by one with memory that the kernel takes a while to take back; none ends with the first where the
    // process namespace is not its own.
    let script = "dd if=/dev/zero bs=2000M count=1 | (head -c 1 > /tmp/full; sleep 1000) & \
                  until [ -s /tmp/full ]; do sleep 0.1; done; exit 3";
    node.run_ok(&container(&["-d", "--with-ns", "pid:/proc/1/ns/pid"], &rootfs, "c", script));
    wait_for("the end", || (status(&node, "c") == "STOPPED").then_some(()));
    assert!(delete(&node, "c").contains("exit code 3"));
    traces::expect_none(&node);
}

#[test]
fn a_container_out_of_memory_is_told_as_such() {
    let Some(node) = Node::start("oom") else { return };
    let rootfs = node.rootfs("rootfs");
    let events = fs::File::create(node.path("events")).unwrap();
    let mut listener = node.ctr_command(&["events"]).stdout(events).spawn().unwrap();
    let heard = || fs::read_to_string(node.path("events")).unwrap();
    node.ctr_ok(&["namespaces", "create", "heard"]);
    wait_for("the listener", || {
        node.ctr_ok(&["namespaces", "label", "heard", "again=yes"]);
        (!heard().is_empty()).then_some(())
    });
    let script = "x=$(head -c 200000000 /dev/zero | tr '\\0' a); echo $x | wc";
    let output = node.run(&container(&["--rm", "--memory-limit", "20000000"], &rootfs, "c", script));
    assert!(!output.status.success(), "{}", said(&output));
    wait_for("the end", || heard().contains("/tasks/delete").then_some(()));
    let (oom, exit) = (heard().find("/tasks/oom"), heard().find("/tasks/exit"));
    assert!(oom.is_some() && oom < exit, "{}", heard());
    listener.kill().unwrap();
    listener.wait().unwrap();
}

#[test]
fn limits_change_while_a_container_runs() {
    let Some(node) = Node::start("update") else { return };
    let rootfs = node.rootfs("rootfs");
    node.run_ok(&container(&["-d", "--memory-limit", "50000000"], &rootfs, "c", "sleep 1000"));
    let limit = || {
        let folders = traces::cgroups(&node.namespace).into_iter().filter(|path| path.ends_with("c"));
        let files = folders.flat_map(|path| [path.join("memory.limit_in_bytes"), path.join("memory.max")]);
        let text = files.filter_map(|file| fs::read_to_string(file).ok()).next();
        text.unwrap().trim().parse::<u64>().unwrap()
    };
    assert!(limit() < 60_000_000);
    let resources = json!({"memory": {"limit": 100_000_000}, "cpu": {"shares": 512}});
    let any = Any {
        type_url: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources".to_owned(),
        value: serde_json::to_vec(&resources).unwrap(),
        ..Any::default()
    };
    node.task("c").update("c", MessageField::some(any)).unwrap();
    assert!(limit() > 90_000_000);
    remove(&node, "c");
}
