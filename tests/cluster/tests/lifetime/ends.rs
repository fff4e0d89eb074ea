//! However a cluster ends, nothing is left of it.

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use wisp_cluster::{Cluster, Settings, can_run, until};

use crate::{NUMBERS, start, traces};

/// Taking down takes half a second on an idle machine; this one may be building next door.
const PATIENCE: Duration = Duration::from_secs(60);

/// `cluster up --foreground` as a process of its own.
struct Owner {
    process: Child,
    /// Open as long as the process lives, or it could print nothing.
    output: Lines<BufReader<ChildStdout>>,
    number: u8,
}

impl Owner {
    /// Returns when its cluster is up; none where none can run.
    async fn start() -> Option<Self> {
        can_run().ok()?;
        let _starting = NUMBERS.read().await;
        let mut command = Command::new(env!("CARGO_BIN_EXE_cluster"));
        let mut process = command.args(["up", "--foreground"]).stdout(Stdio::piped()).spawn().expect("it was built");
        let mut output = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let first = output.next().expect("it prints a line").expect("it prints text");
        let number = first.split_whitespace().nth(1).and_then(|word| word.parse().ok());
        let number = number.unwrap_or_else(|| panic!("cluster up prints its number: {first:?}"));
        assert!(output.any(|line| line.is_ok_and(|line| line == "leave with Ctrl-C")));
        Some(Self { process, output, number })
    }

    fn signal(&self, name: &str) {
        signal(self.process.id(), name);
    }

    fn ended(mut self) -> ExitStatus {
        let status = self.process.wait().expect("it is a child");
        drop(self.output);
        status
    }
}

fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(status.expect("it is installed").success());
}

async fn nothing_is_left(number: u8) {
    let gone = until("nothing is left", PATIENCE, async || Ok(traces::of(number).is_empty().then_some(())));
    gone.await.unwrap_or_else(|error| panic!("{error}: {:#?}", traces::of(number)));
}

#[tokio::test]
async fn a_dropped_cluster_leaves_nothing() {
    let Some(cluster) = start(Settings::default()).await else { return };
    let number = cluster.number();
    let name = "wisp.test/hello:1";
    cluster.import(name, &cluster.hello()).await.unwrap();
    let run = ["run", "hello", "--image", name, "--image-pull-policy=Never", "--restart=Never"];
    cluster.kubectl(run).await.unwrap();
    cluster.kubectl(["wait", "--for=condition=Ready", "pod/hello", "--timeout=90s"]).await.unwrap();
    let up = traces::of(number);
    // Or the look afterwards would prove nothing: the node's programs, the pod's two, a link, routes, groups, files.
    for part in ["kubelet", "hello", "pause", "wisp-n", "10.77.", "10.96.", "wisp-test-", "/run/wisp-cluster"] {
        assert!(up.iter().any(|trace| trace.contains(part)), "no {part} in {up:#?}");
    }
    let _ended = NUMBERS.write().await;
    drop(cluster);
    assert_eq!(traces::of(number), Vec::<String>::new());
}

#[tokio::test]
async fn a_panic_takes_the_cluster_down_and_keeps_its_logs() {
    let Some(cluster) = start(Settings::default()).await else { return };
    let number = cluster.number();
    let _ended = NUMBERS.write().await;
    let panicked = tokio::spawn(async move { panic!("with {cluster:?} in hand") }).await;
    assert!(panicked.unwrap_err().is_panic());
    assert_eq!(traces::of(number), Vec::<String>::new());
    let kept = std::env::temp_dir().join(format!("wisp-cluster-logs-{}-{number}", std::process::id()));
    assert!(kept.join("kubelet.log").exists());
    fs::remove_dir_all(kept).unwrap();
}

#[tokio::test]
async fn a_cluster_goes_when_its_owner_is_interrupted() {
    let Some(owner) = Owner::start().await else { return };
    let number = owner.number;
    let _ended = NUMBERS.write().await;
    owner.signal("-INT");
    assert!(owner.ended().success(), "it ends as it should");
    nothing_is_left(number).await;
}

#[tokio::test]
async fn a_cluster_goes_when_its_owner_is_killed() {
    let Some(owner) = Owner::start().await else { return };
    let number = owner.number;
    let _ended = NUMBERS.write().await;
    owner.signal("-KILL");
    owner.ended();
    nothing_is_left(number).await;
}

#[tokio::test]
async fn what_a_killed_keeper_left_is_swept_by_the_next_start() {
    let Some(owner) = Owner::start().await else { return };
    let number = owner.number;
    let _ended = NUMBERS.write().await;
    let keeper = fs::read_to_string(format!("/run/wisp-cluster/{number}/keeper")).unwrap();
    signal(keeper.trim().parse().unwrap(), "-KILL");
    owner.signal("-KILL");
    owner.ended();
    let dead = until("no process is left", PATIENCE, async || Ok(traces::processes(number).is_empty().then_some(())));
    dead.await.unwrap();
    let left = traces::of(number);
    assert!(left.iter().any(|trace| trace.contains("wisp-test-")), "nobody was there to remove the groups: {left:#?}");
    drop(Cluster::start(Settings::default()).await.unwrap());
    nothing_is_left(number).await;
}
