//! The agent as a process of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use wisp_cluster::{Cluster, Component, Settings, ask, can_run, until};
use wisp_identity::NodeKey;

use crate::operator::{Answer, NAME, Operator, node_key};
use crate::{PATIENCE, revisions};

/// Less than the agent lets pass between two askings for a key that it has.
const SOON: Duration = Duration::from_secs(30);

struct Agent {
    child: Child,
    admin: String,
}

/// What is mounted into the agent's pod, and the node's store.
struct Mounted {
    place: TempDir,
}

impl Mounted {
    fn new(operator: &Operator) -> Self {
        let mounted = Self { place: tempfile::tempdir().unwrap() };
        std::fs::write(mounted.path("ca.crt"), &operator.ca).unwrap();
        std::fs::write(mounted.path("token"), "first\n").unwrap();
        mounted
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn artifact(&self, name: &str) -> PathBuf {
        self.path("store/artifacts").join(name)
    }

    async fn has(&self, name: &str, content: &[u8]) {
        let there = async || Ok(std::fs::read(self.artifact(name)).is_ok_and(|found| found == content).then_some(()));
        until(&format!("{name} is on the node"), PATIENCE, there).await.unwrap();
    }
}

async fn agent(cluster: &Cluster, operator: &Operator, mounted: &Mounted) -> Agent {
    let mut child = Command::new(env!("CARGO_BIN_EXE_wisp-installer"))
        .args(["agent", "--log=json", "--admin=127.0.0.1:0", "--operator-name", NAME])
        .args(["--operator", &format!("https://{}", operator.address)])
        .args([Path::new("--store"), &mounted.path("store"), Path::new("--ca"), &mounted.path("ca.crt")])
        .args([Path::new("--token-file"), &mounted.path("token"), Path::new("--seal-key"), &mounted.path("seal.key")])
        .env_clear()
        .env("KUBECONFIG", cluster.kubeconfig())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().expect("it says where it listens");
    let line: Value = serde_json::from_str(&line).unwrap();
    let admin = line["admin"].as_str().unwrap_or_else(|| panic!("{line}")).to_owned();
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            eprintln!("agent: {line}");
        }
    });
    Agent { child, admin }
}

impl Agent {
    async fn ask(&self, path: &str) -> anyhow::Result<String> {
        ask(&format!("http://{}{path}", self.admin), Duration::from_secs(10)).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_revisions_name_is_on_the_node_whatever_goes_wrong_on_the_way() {
    if can_run().is_err() {
        return;
    }
    let cluster = Cluster::start(Settings::default()).await.unwrap();
    revisions::define(&cluster).await;
    let operator = Operator::listen([127, 0, 0, 1]).await;
    let mounted = Mounted::new(&operator);
    operator.answers("a.wisp", Answer::File(b"code of a".into()));
    revisions::name(&cluster, "hello-00001", "a.wisp", 9).await;
    // An installation before left its key, and the operator of this one is not there yet.
    std::fs::create_dir(mounted.path("store")).unwrap();
    std::fs::write(mounted.path("store/node.key"), serde_json::to_vec(&node_key([9; 32])).unwrap()).unwrap();
    operator.answers("/node-key", Answer::Half(Vec::new()));
    let mut agent = agent(&cluster, &operator, &mounted).await;

    // Without a key nothing is of use.
    assert_eq!(agent.ask("/live").await.unwrap(), "live\n");
    assert!(agent.ask("/ready").await.is_err());
    std::fs::write(mounted.path("seal.key"), [1; 32]).unwrap();
    mounted.has("a.wisp", b"code of a").await;
    assert_eq!(agent.ask("/ready").await.unwrap(), "ready\n");
    assert_eq!(operator.asked("a.wisp"), ["first"]);
    assert!(operator.asked("other.wisp").is_empty());

    // It is asked for the node's key again, and soon: whom the old one vouches for is refused.
    until("the node's key is asked for", PATIENCE, async || Ok(operator.asked("/node-key").first().cloned()))
        .await
        .unwrap();
    operator.answers("/node-key", Answer::File(serde_json::to_vec(&node_key([1; 32])).unwrap()));
    let is_new = async || {
        let key: NodeKey = serde_json::from_slice(&std::fs::read(mounted.path("store/node.key"))?)?;
        Ok((key == node_key([1; 32])).then_some(()))
    };
    until("the node's key is this installation's", SOON, is_new).await.unwrap();

    // A connection that breaks, and a token that is renewed meanwhile.
    operator.answers("b.wisp", Answer::Half(b"code of".into()));
    revisions::name(&cluster, "hello-00002", "b.wisp", 9).await;
    until("it is tried again", PATIENCE, async || Ok((operator.asked("b.wisp").len() > 1).then_some(())))
        .await
        .unwrap();
    assert!(!mounted.artifact("b.wisp").exists());
    std::fs::write(mounted.path("token"), "second\n").unwrap();
    until("it asks with the new one", PATIENCE, async || {
        Ok((operator.asked("b.wisp").last().unwrap() == "second").then_some(()))
    })
    .await
    .unwrap();
    operator.answers("b.wisp", Answer::File(b"code of b".into()));
    mounted.has("b.wisp", b"code of b").await;

    // The API server goes and comes back. What is not a name of an artifact leads nowhere.
    cluster.kill(Component::ApiServer).await.unwrap();
    cluster.start_component(Component::ApiServer).await.unwrap();
    operator.answers("c.wisp", Answer::File(b"code of c".into()));
    revisions::name(&cluster, "hostile-00001", "../seal.key", 9).await;
    revisions::name(&cluster, "hello-00003", "c.wisp", 9).await;
    mounted.has("c.wisp", b"code of c").await;

    // Another key: all of it is fetched anew, as it is sealed now.
    operator.answers("a.wisp", Answer::File(b"a by key2".into()));
    std::fs::write(mounted.path("seal.key"), [2; 32]).unwrap();
    mounted.has("a.wisp", b"a by key2").await;
    mounted.has("c.wisp", b"code of c").await;
    assert_eq!(std::fs::read(mounted.artifact("seal.key")).unwrap(), [2; 32]);

    until("all three are there", PATIENCE, async || {
        let metrics = agent.ask("/metrics").await?;
        let are_there = metrics.contains("wisp_node_artifacts 3") && metrics.contains("wisp_node_artifacts_missing 0");
        Ok(are_there.then_some(()))
    })
    .await
    .unwrap();
    let pid = Pid::from_raw(agent.child.id().unwrap().cast_signed()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert!(agent.child.wait().await.unwrap().success());
    let left = std::fs::read_dir(mounted.path("store/artifacts")).unwrap();
    let mut left: Vec<String> = left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, ["a.wisp", "b.wisp", "c.wisp", "seal.key"]);
}
