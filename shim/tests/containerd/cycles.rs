//! A thousand lives of a component, several at once, and nothing that is left of them: half of them with a daemon of
//! their own, half of them with the daemon of a pod that lives as long as all.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use crate::linux::remove;
use crate::node::{Node, wait_for};
use crate::traces;
use crate::wasm;

/// Two of each kind; more would wait for one another on two cores.
const WORKERS: usize = 4;
const CYCLES: usize = 1000;
/// Lives as long as the test; what comes and goes beside it has its daemon.
const POD: &str = "pod";

/// What one worker does over and over.
struct Worker<'a> {
    node: &'a Node,
    id: String,
    rootfs: &'a str,
    pod: Option<&'a str>,
}

impl Worker<'_> {
    /// Created, started, killed when it says that it runs, and deleted.
    fn cycle(&self, signal: Signal) {
        let annotation = self.pod.map(|pod| format!("io.kubernetes.cri.sandbox-id={pod}"));
        let mut arguments = vec!["--rm"];
        arguments.extend(annotation.iter().flat_map(|annotation| ["--annotation", annotation]));
        arguments.extend(["--rootfs", self.rootfs, &self.id, "/command.wasm", "sleep"]);
        let mut ctr = self.node.run_command(&arguments);
        let mut ctr = ctr.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(ctr.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        if said == "sleeping\n" {
            self.node.ctr_ok(&["tasks", "kill", "--signal", signal.name(), &self.id]);
        }
        let output = ctr.wait_with_output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(signal.code()), "{}: {said}{words}\n{}", self.id, self.node.log());
    }
}

#[derive(Clone, Copy)]
enum Signal {
    Term,
    Kill,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Term => "SIGTERM",
            Self::Kill => "SIGKILL",
        }
    }

    /// Of the process that it ended.
    fn code(self) -> i32 {
        match self {
            Self::Term => 143,
            Self::Kill => 137,
        }
    }
}

#[test]
fn a_thousand_components_several_at_once_leave_nothing() {
    let Some(node) = wasm::node("cycles") else { return };
    let rootfs = rootfs(&node);
    node.run_ok(&["-d", "--rootfs", &rootfs, POD, "/command.wasm", "sleep"]);
    let workers: Vec<Worker<'_>> = (0..WORKERS)
        .map(|number| Worker {
            node: &node,
            id: format!("c{number}"),
            rootfs: &rootfs,
            pod: (number % 2 == 0).then_some(POD),
        })
        .collect();
    run(&workers, 1);
    // The first of each kind are what opens files for good.
    let processes = [node.containerd_id(), node.daemon_id(POD)];
    let before = processes.map(|id| descriptors(&node, id));
    let files = traces::files_of_store(&node);

    run(&workers, CYCLES / WORKERS);

    for (id, before) in processes.into_iter().zip(before) {
        wait_for("no more descriptors than before", || (descriptors(&node, id) <= before).then_some(()));
    }
    remove(&node, POD);
    traces::expect_none(&node);
    assert_eq!(traces::files_of_store(&node), files);
}

fn run(workers: &[Worker<'_>], cycles: usize) {
    std::thread::scope(|scope| {
        for worker in workers {
            scope.spawn(move || {
                for number in 0..cycles {
                    worker.cycle(if number % 2 == 0 { Signal::Kill } else { Signal::Term });
                }
            });
        }
    });
}

/// A root file system with the command guest.
fn rootfs(node: &Node) -> String {
    let root = node.path("rootfs");
    fs::create_dir_all(&root).unwrap();
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/guests/prebuilt/command.wasm");
    fs::copy(guest, root.join("command.wasm")).unwrap();
    root.to_str().unwrap().to_owned()
}

/// How many a process of the node has open.
fn descriptors(node: &Node, id: u32) -> usize {
    fs::read_dir(node.root().join(format!("proc/{id}/fd"))).unwrap().count()
}
