//! Where images come from.

use wisp_cluster::until;

use crate::fixture::{CLUSTER, PATIENCE, field, pod, wait_ready};

#[tokio::test]
async fn a_private_image_is_pulled_with_credentials_and_not_without() {
    let Some(cluster) = CLUSTER.get().await else { return };
    let registry = cluster.private_registry();
    let image = registry.push("secret/hello:1", &cluster.hello()).await.unwrap();
    let secret = serde_json::to_string(&registry.pull_secret("pull")).unwrap();
    cluster.apply(&secret).await.unwrap();

    cluster.apply(&pod("without", &image, "")).await.unwrap();
    let waiting =
        "{.status.containerStatuses[0].state.waiting.reason} {.status.containerStatuses[0].state.waiting.message}";
    let refused = until("the pull is refused", PATIENCE, async || {
        let state = field(&cluster, "pod/without", waiting).await;
        Ok(state.contains("ErrImagePull").then_some(state))
    });
    let refused = refused.await.unwrap();
    assert!(refused.contains("401") || refused.contains("no basic auth credentials"), "{refused}");

    cluster.apply(&pod("with", &image, "  imagePullSecrets: [{name: pull}]\n")).await.unwrap();
    wait_ready(&cluster, "with").await;
}

#[tokio::test]
async fn a_registry_with_credentials_refuses_who_has_none() {
    let Some(cluster) = CLUSTER.get().await else { return };
    let image = cluster.private_registry().push("guarded:1", &cluster.hello()).await.unwrap();
    let authority = cluster.kubeconfig().with_file_name("ca.crt");
    let pull = ["ctr", "images", "pull", "--local", "--tlscacert", authority.to_str().unwrap(), &image];
    let error = cluster.exec(pull).await.unwrap_err().to_string();
    assert!(error.contains("no basic auth credentials") || error.contains("401"), "{error}");
}

#[tokio::test]
async fn a_component_is_an_artifact_of_its_own_kind() {
    let Some(cluster) = CLUSTER.get().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let component = folder.path().join("component.wasm");
    // Its content is nothing to a registry; this is the header that every component begins with.
    std::fs::write(&component, b"\0asm\x0d\0\x01\0").unwrap();
    let registry = cluster.registry();
    let reference = registry.push_component("component:1", &component).await.unwrap();
    let manifest = registry.manifest(&reference).await.unwrap();
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
    assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(1));
    assert_eq!(manifest["layers"][0]["mediaType"], "application/wasm");
    assert_eq!(manifest["layers"][0]["size"], 8);
}

#[tokio::test]
async fn containerd_trusts_the_registry_and_pulls_a_component() {
    let Some(cluster) = CLUSTER.get().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let component = folder.path().join("component.wasm");
    std::fs::write(&component, b"\0asm\x0d\0\x01\0").unwrap();
    let reference = cluster.registry().push_component("pulled:1", &component).await.unwrap();
    let hosts = cluster.logs().parent().unwrap().join("certs.d");
    let hosts = hosts.to_str().unwrap();
    cluster.exec(["ctr", "content", "fetch", "--hosts-dir", hosts, &reference]).await.unwrap();
    let content = cluster.exec(["ctr", "content", "ls"]).await.unwrap();
    assert!(content.contains("containerd.io/distribution.source"), "{content}");
}

#[tokio::test]
async fn the_runtime_class_of_wisp_is_there() {
    let Some(cluster) = CLUSTER.get().await else { return };
    assert_eq!(field(&cluster, "runtimeclass/wisp", "{.handler}").await, "wisp");
}
