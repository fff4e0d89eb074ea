//! The installer as its DaemonSet, on a node that has never heard of Wisp: pods of components run afterwards, doing it
//! again changes nothing, and undoing it leaves nothing.

#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "what cannot go on fails the test")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use wisp_cluster::{Cluster, Component, Containerd, Image, Settings, ask_until, can_run, static_programs, until};

const PATIENCE: Duration = Duration::from_secs(120);
/// A folder of the node's own: its `/opt` is this machine's.
const PROGRAMS: &str = "/var/lib/wisp/bin";

#[tokio::test]
async fn a_node_with_containerd_2_gets_the_shim_and_is_rid_of_it_again() {
    comes_and_goes(Containerd::Two).await;
}

#[tokio::test]
async fn a_node_with_containerd_1_7_gets_the_shim_and_is_rid_of_it_again() {
    comes_and_goes(Containerd::OneSeven).await;
}

async fn comes_and_goes(containerd: Containerd) {
    let Some(programs) = programs() else { return };
    if can_run().is_err() {
        return;
    }
    let cluster = Cluster::start(Settings { containerd, ..Settings::default() }).await.unwrap();
    let config = format!("/run/wisp-cluster/{}/conf/containerd.toml", cluster.number());
    let before = cluster.exec(["cat", &config]).await.unwrap();
    let image = push(&cluster, &programs).await;

    cluster.apply(&manifests(&image, "run", &config)).await.unwrap();
    installed(&cluster).await;
    let after = cluster.exec(["cat", &config]).await.unwrap();
    assert!(after.contains(&format!("{PROGRAMS}/containerd-shim-wisp-v1")), "{after}");
    cluster.restart(Component::Containerd).await.unwrap();
    serves(&cluster).await;

    // Again: another pod of the same DaemonSet.
    let again = async || cluster.kubectl(["-n", "wisp-system", "rollout", "restart", "daemonset/wisp-installer"]).await;
    until("the installer is started again", PATIENCE, async || Ok(again().await.ok())).await.unwrap();
    let status = ["-n", "wisp-system", "rollout", "status", "daemonset/wisp-installer", "--timeout=120s"];
    cluster.kubectl(status).await.unwrap();
    says(&cluster, "containerd is not restarted").await;
    assert_eq!(cluster.exec(["cat", &config]).await.unwrap(), after);

    cluster.kubectl(["-n", "wisp-system", "delete", "daemonset", "wisp-installer"]).await.unwrap();
    cluster.apply(&manifests(&image, "uninstall", &config)).await.unwrap();
    until("the programs are gone", PATIENCE, async || Ok(cluster.exec(["ls", PROGRAMS]).await.err())).await.unwrap();
    let left = cluster.exec(["cat", &config]).await.unwrap();
    assert!(!left.contains("wisp.v1"), "{left}");
    assert_eq!(cluster.exec(["cat", &format!("{config}.before-wisp")]).await.unwrap(), before);
    assert_eq!(label(&cluster).await, "");
}

/// The static programs, if they were built.
fn programs() -> Option<PathBuf> {
    static_programs(env!("CARGO_TARGET_TMPDIR"), &["wisp-installer", "containerd-shim-wisp-v1", "wisp-host"])
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)
}

/// The image of `deploy/node/Dockerfile`.
async fn push(cluster: &Cluster, programs: &Path) -> String {
    let mut image = Image::from_scratch().entrypoint(&["/wisp-installer"]);
    for program in ["wisp-installer", "containerd-shim-wisp-v1", "wisp-host"] {
        image = image.file(&format!("/{program}"), programs.join(program));
    }
    let guests = file("tests/guests/prebuilt/guests.wasm");
    cluster.registry().push_component("guests:1", &guests).await.unwrap();
    cluster.registry().push("installer:1", &image).await.unwrap()
}

/// `deploy/node`, with this image, and told where this node has its things.
fn manifests(image: &str, action: &str, config: &str) -> String {
    let text = std::fs::read_to_string(file("deploy/node/installer.yaml")).unwrap();
    let class = std::fs::read_to_string(file("deploy/node/runtimeclass.yaml")).unwrap();
    let command = format!(
        "command: [/wisp-installer, {action}, --root=/proc/1/root, --to={PROGRAMS}, --config={config}, --restart=]"
    );
    let text = text.lines().map(|line| {
        let indent = &line[..line.len() - line.trim_start().len()];
        match line.trim_start() {
            there if there.starts_with("image: ") => format!("{indent}image: {image}"),
            there if there.starts_with("command: ") => format!("{indent}{command}"),
            _ => line.to_owned(),
        }
    });
    format!("{}\n---\n{class}", text.collect::<Vec<_>>().join("\n"))
}

async fn label(cluster: &Cluster) -> String {
    cluster.field(&format!("node/{}", cluster.node_name()), r"{.metadata.labels.wisp\.dev/shim}").await.unwrap()
}

async fn installed(cluster: &Cluster) {
    let waited =
        until("the node has the label", PATIENCE, async || Ok((label(cluster).await == "installed").then_some(())));
    if let Err(error) = waited.await {
        let log = cluster.kubectl(["-n", "wisp-system", "logs", "daemonset/wisp-installer"]).await;
        let state = cluster.kubectl(["-n", "wisp-system", "describe", "pods"]).await;
        panic!("{error:#}\n{log:?}\n{}", state.unwrap_or_default());
    }
}

async fn says(cluster: &Cluster, words: &str) {
    until(words, PATIENCE, async || {
        let log = cluster.kubectl(["-n", "wisp-system", "logs", "daemonset/wisp-installer"]).await.unwrap_or_default();
        Ok(log.contains(words).then_some(()))
    })
    .await
    .unwrap();
}

async fn serves(cluster: &Cluster) {
    let reference = format!("{}/guests:1", cluster.registry().address());
    let pod = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "guests"},
        "spec": {"runtimeClassName": "wisp", "containers": [{"name": "guest", "image": reference, "command": ["/"]}]},
    });
    until("the pod is taken", PATIENCE, async || Ok(cluster.apply(&pod.to_string()).await.ok())).await.unwrap();
    cluster.wait_ready("guests", PATIENCE).await.unwrap();
    let ip = cluster.field("pod/guests", "{.status.podIP}").await.unwrap();
    assert_eq!(ask_until(&format!("http://{ip}:8080/hello"), PATIENCE).await.unwrap(), "hello\n");
    cluster.kubectl(["delete", "pod", "guests", "--now"]).await.unwrap();
}
