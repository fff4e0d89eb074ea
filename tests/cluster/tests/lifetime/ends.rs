//! However a cluster ends, nothing is left of it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use wisp_cluster::{Cluster, Settings, can_run, until};

use crate::traces;

/// Taking down takes half a second on an idle machine; this one may be building next door.
const PATIENCE: Duration = Duration::from_secs(60);

/// `cluster up --foreground` as a process of its own, and the number of its cluster.
fn owner() -> (Child, u8) {
    let mut owner = Command::new(env!("CARGO_BIN_EXE_cluster"))
        .args(["up", "--foreground"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(owner.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let number = line.split_whitespace().nth(1).and_then(|word| word.parse().ok());
    (owner, number.unwrap_or_else(|| panic!("cluster up prints its number: {line:?}")))
}

fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

async fn nothing_is_left(number: u8) {
    let gone = until("nothing is left", PATIENCE, async || Ok(traces::of(number).is_empty().then_some(())));
    gone.await.unwrap_or_else(|error| panic!("{error}: {:#?}", traces::of(number)));
}

#[tokio::test]
async fn a_dropped_cluster_leaves_nothing() {
    if can_run().is_err() {
        return;
    }
    let cluster = Cluster::start(Settings::default()).await.unwrap();
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
    drop(cluster);
    assert_eq!(traces::of(number), Vec::<String>::new());
}

#[tokio::test]
async fn a_cluster_goes_when_its_owner_is_interrupted() {
    if can_run().is_err() {
        return;
    }
    let (mut owner, number) = owner();
    signal(owner.id(), "-INT");
    owner.wait().unwrap();
    nothing_is_left(number).await;
}

#[tokio::test]
async fn a_cluster_goes_when_its_owner_is_killed() {
    if can_run().is_err() {
        return;
    }
    let (mut owner, number) = owner();
    signal(owner.id(), "-KILL");
    owner.wait().unwrap();
    nothing_is_left(number).await;
}

#[tokio::test]
async fn what_a_killed_keeper_left_is_swept_by_the_next_start() {
    if can_run().is_err() {
        return;
    }
    let (mut owner, number) = owner();
    let keeper = fs::read_to_string(format!("/run/wisp-cluster/{number}/keeper")).unwrap();
    signal(keeper.trim().parse().unwrap(), "-KILL");
    signal(owner.id(), "-KILL");
    owner.wait().unwrap();
    let dead = until("no process is left", PATIENCE, async || Ok(traces::processes(number).is_empty().then_some(())));
    dead.await.unwrap();
    let left = traces::of(number);
    assert!(left.iter().any(|trace| trace.contains("wisp-test-")), "nobody was there to remove the groups: {left:#?}");
    drop(Cluster::start(Settings::default()).await.unwrap());
    nothing_is_left(number).await;
}
