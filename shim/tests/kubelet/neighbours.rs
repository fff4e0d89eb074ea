//! Linux containers in the same pod as a component.

use serde_json::json;

use crate::fixture::{cluster, field, get, get_json, server};

#[tokio::test]
async fn a_linux_init_container_and_a_sidecar_share_the_pod_with_a_component() {
    let Some(cluster) = cluster().await else { return };
    let image = cluster.registry().push("neighbour:1", &cluster.hello()).await.unwrap();
    let mount = json!([{"name": "shared", "mountPath": "/shared"}]);
    let init = json!([
        {"name": "before", "image": image, "command": ["/hello", "say", "first"]},
        {"name": "beside", "image": image, "restartPolicy": "Always", "volumeMounts": mount},
    ]);
    let pod = server(&cluster, "neighbours")
        .with("volumes", json!([{"name": "shared", "emptyDir": {}}]))
        .with("initContainers", init)
        .with("containers.0.env", json!([{"name": "WISP_LISTEN", "value": "tcp:0.0.0.0:8081"}]))
        .with("containers.0.volumeMounts", mount.clone());
    let beside = pod.serve(&cluster).await;
    assert_eq!(get(&format!("{beside}/")).await, "hello from neighbours\n");
    let guest = beside.replace(":8080", ":8081");
    assert_eq!(get(&format!("{guest}/hello")).await, "hello\n");
    assert_eq!(get_json(&format!("{guest}/fs-attack")).await["wrote"], json!(["/shared"]));
    // A shell is what Linux containers may have, and the one beside has none of ours.
    let said = cluster.kubectl(["exec", "neighbours", "-c", "beside", "--", "/hello", "say", "here"]).await.unwrap();
    assert_eq!(said, "here\n");
    assert_eq!(cluster.kubectl(["logs", "neighbours", "-c", "before"]).await.unwrap(), "first\n");
    assert_eq!(
        field(&cluster, "pod/neighbours", "{.status.initContainerStatuses[0].state.terminated.exitCode}").await,
        "0"
    );
}
