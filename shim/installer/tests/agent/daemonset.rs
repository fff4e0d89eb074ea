//! `deploy/node/wisp-node.yaml` as it is, on a node that has never heard of Wisp.

use std::path::{Path, PathBuf};

use serde_json::json;
use wisp_cluster::{Cluster, Image, Settings, can_run, until};

use crate::operator::{Answer, Operator};
use crate::{PATIENCE, revisions};

/// A folder of the node's own: its `/opt` is this machine's.
const PROGRAMS: &str = "/var/lib/wisp/bin";
const STORE: &str = "/var/lib/wisp/store/artifacts";

/// The static programs, if they were built.
fn programs() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent()?.join("static");
    folder.join("wisp-installer").exists().then_some(folder)
}

/// The image of `deploy/node/Dockerfile`.
async fn push(cluster: &Cluster, programs: &Path) -> String {
    let mut image = Image::from_scratch().entrypoint(&["/wisp-installer"]);
    for program in ["wisp-installer", "containerd-shim-wisp-v1", "wisp-host"] {
        image = image.file(&format!("/{program}"), programs.join(program));
    }
    cluster.registry().push("installer:1", &image).await.unwrap()
}

/// The manifest with this image, and told where this node has its things.
fn manifest(cluster: &Cluster, image: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/node/wisp-node.yaml");
    let config = format!("/run/wisp-cluster/{}/conf/containerd.toml", cluster.number());
    let here = format!("install, --to={PROGRAMS}, --config={config}, --restart=,");
    let text = std::fs::read_to_string(path).unwrap();
    text.replace("ghcr.io/wisp-dev/installer:0.1.0", image).replace("install,", &here)
}

/// What the operator makes, and the Service that leads to it: here, to this test.
fn made_by_the_operator(operator: &Operator) -> String {
    let (ip, port) = (operator.address.ip().to_string(), operator.address.port());
    let in_system = |name: &str| json!({"name": name, "namespace": "wisp-system"});
    let mut slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": in_system("wisp-operator"),
        "addressType": "IPv4", "endpoints": [{"addresses": [ip]}], "ports": [{"name": "artifacts", "port": port}],
    });
    slice["metadata"]["labels"] = json!({"kubernetes.io/service-name": "wisp-operator"});
    let objects = [
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": in_system("wisp-seal"), "stringData": {"seal.key": "k".repeat(32)}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": in_system("wisp-ca"), "data": {"ca.crt": operator.ca}}),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": in_system("wisp-operator"),
            "spec": {"ports": [{"name": "artifacts", "port": 8443}]},
        }),
        slice,
    ];
    objects.map(|object| object.to_string()).join("\n---\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemonset_installs_the_shim_and_brings_what_revisions_name() {
    let Some(programs) = programs() else {
        eprintln!("left out: the node's static programs are not built: `make static`");
        return;
    };
    if can_run().is_err() {
        return;
    }
    let cluster = Cluster::start(Settings::default()).await.unwrap();
    revisions::define(&cluster).await;
    let operator = Operator::listen(cluster.outside_ip()).await;
    operator.answers("a.wisp", Answer::File(b"code of a".into()));
    revisions::name(&cluster, "hello-00001", "a.wisp", 9).await;
    let image = push(&cluster, &programs).await;
    cluster.apply(&manifest(&cluster, &image)).await.unwrap();
    cluster.apply(&made_by_the_operator(&operator)).await.unwrap();

    let status = ["-n", "wisp-system", "rollout", "status", "daemonset/wisp-node", "--timeout=120s"];
    if let Err(error) = cluster.kubectl(status).await {
        let log = cluster.kubectl(["-n", "wisp-system", "logs", "daemonset/wisp-node", "--all-containers"]).await;
        let state = cluster.kubectl(["-n", "wisp-system", "describe", "pods"]).await;
        panic!("{error:#}\n{log:?}\n{}", state.unwrap_or_default());
    }
    let there = until("the artifact is on the node", PATIENCE, async || {
        Ok(cluster.exec(["cat", &format!("{STORE}/a.wisp")]).await.ok())
    });
    if there.await.ok().as_deref() != Some("code of a") {
        panic!("{:?}", cluster.kubectl(["-n", "wisp-system", "logs", "daemonset/wisp-node"]).await);
    }
    let token = operator.asked("a.wisp").remove(0);
    assert_eq!(token.split('.').count(), 3, "it is a token of a service account: {token}");
    let modes = cluster.exec(["stat", "-c", "%a %U", STORE, &format!("{STORE}/seal.key")]).await.unwrap();
    assert_eq!(modes, "755 root\n600 root\n");
    let key = cluster.exec(["stat", "-c", "%a %U", &format!("{STORE}/../node.key")]).await.unwrap();
    assert_eq!(key, "600 root\n");
    let label = cluster.field(&format!("node/{}", cluster.node_name()), r"{.metadata.labels.wisp\.dev/shim}").await;
    assert_eq!(label.unwrap(), "installed");
    cluster.exec(["test", "-x", &format!("{PROGRAMS}/wisp-host")]).await.unwrap();
}
