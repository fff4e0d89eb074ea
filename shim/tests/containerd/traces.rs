//! What containers leave on a node. Nothing is what it should be.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::node::{Node, wait_for};

/// All that can be left.
#[derive(Debug, Default, PartialEq, Eq)]
struct Traces {
    processes: Vec<String>,
    mounts: Vec<String>,
    cgroups: Vec<PathBuf>,
    namespaces: Vec<PathBuf>,
    files: Vec<PathBuf>,
}

/// Waits until nothing is left: a daemon ends only after it has answered.
pub(crate) fn expect_none(node: &Node) {
    let mut last = String::new();
    wait_for(&format!("the end of all traces of {}", node.namespace), || {
        let traces = of(node);
        let now = format!("{traces:?}");
        if traces != Traces::default() && now != last {
            println!("still there: {now}");
            last = now;
        }
        (traces == Traces::default()).then_some(())
    });
}

/// What is there now.
fn of(node: &Node) -> Traces {
    let root = node.root();
    let mounts = fs::read_to_string(root.with_file_name("mounts")).unwrap();
    let ours = node.path("state");
    let mut files = below(&root.join("run/wisp"));
    files.extend(below(&root.join("run/containerd/s")));
    files.retain(|path| !path.is_dir());
    // containerd's own folders of containers, in which the shim writes too.
    files.extend(below(&ours.join("io.containerd.runtime.v2.task").join(&node.namespace)));
    Traces {
        processes: processes(&root),
        mounts: mounts.lines().filter(|line| line.contains(ours.to_str().unwrap())).map(str::to_owned).collect(),
        cgroups: cgroups(&node.namespace).into_iter().filter(|path| !path.ends_with(&node.namespace)).collect(),
        namespaces: namespaces(&root),
        files,
    }
}

/// Command lines of daemons and of whatever runs in containers: all but the node's own programs.
fn processes(root: &Path) -> Vec<String> {
    let ours =
        |line: &String| ["containerd-shim", "wisp-host", "wisp-test-mark"].iter().any(|mark| line.contains(mark));
    command_lines(root).into_iter().map(|(_, line)| line).filter(ours).collect()
}

/// Of every process of the node, with its number there.
pub(crate) fn command_lines(root: &Path) -> Vec<(u32, String)> {
    let ids = fs::read_dir(root.join("proc")).unwrap().filter_map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.parse::<u32>().ok()
    });
    let lines = ids.filter_map(|id| Some((id, fs::read(root.join(format!("proc/{id}/cmdline"))).ok()?)));
    lines.map(|(id, line)| (id, String::from_utf8_lossy(&line).replace('\0', " "))).collect()
}

/// Namespaces that are held by a file that somebody of the node has open. A process or a mount holds one too, and both
/// are looked for by themselves.
fn namespaces(root: &Path) -> Vec<PathBuf> {
    let ids = command_lines(root).into_iter().map(|(id, _)| id);
    let files = ids.flat_map(|id| fs::read_dir(root.join(format!("proc/{id}/fd"))).into_iter().flatten().flatten());
    let targets = files.filter_map(|file| fs::read_link(file.path()).ok());
    targets
        .filter(|target| ["net:[", "mnt:[", "pid:["].iter().any(|kind| target.to_string_lossy().starts_with(kind)))
        .collect()
}

/// What is in the node's store of compiled code; a file that is left half written is among it.
pub(crate) fn files_of_store(node: &Node) -> BTreeSet<PathBuf> {
    below(&node.path("store")).into_iter().collect()
}

/// Folders of containers in every hierarchy, the deepest first.
pub(crate) fn cgroups(namespace: &str) -> Vec<PathBuf> {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().filter_map(Result::ok);
    let roots = hierarchies.map(|entry| entry.path()).chain([PathBuf::from("/sys/fs/cgroup")]);
    let mut found: Vec<PathBuf> = roots.map(|root| root.join(namespace)).filter(|path| path.is_dir()).collect();
    let inner: Vec<PathBuf> = found.iter().flat_map(|path| below(path)).filter(|path| path.is_dir()).collect();
    found.extend(inner);
    found.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    found
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    entries
        .flat_map(|path| if path.is_dir() { [vec![path.clone()], below(&path)].concat() } else { vec![path] })
        .collect()
}
