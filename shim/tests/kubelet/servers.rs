//! Components that serve HTTP, from both kinds of images.

use serde_json::json;
use wisp_cluster::{Image, until};

use crate::fixture::{PATIENCE, cluster, describe, field, get, get_json, prebuilt, server, try_get, until_field};

#[tokio::test]
async fn an_artifact_is_served_on_the_pods_address() {
    let Some(cluster) = cluster().await else { return };
    let url = server(&cluster, "artifact").serve(&cluster).await;
    assert_eq!(get(&format!("{url}/hello")).await, "hello\n");
}

#[tokio::test]
async fn an_ordinary_image_with_a_component_in_it_is_served() {
    let Some(cluster) = cluster().await else { return };
    let image = Image::from_scratch().file("/app.wasm", prebuilt("guests")).entrypoint(&["/app.wasm"]);
    let reference = cluster.registry().push("ordinary:1", &image).await.unwrap();
    let pod = server(&cluster, "ordinary").with("containers.0", json!({"name": "guest", "image": reference}));
    let url = pod.serve(&cluster).await;
    assert_eq!(get(&format!("{url}/hello")).await, "hello\n");
}

#[tokio::test]
async fn a_private_artifact_needs_its_pull_secret() {
    let Some(cluster) = cluster().await else { return };
    let registry = cluster.private_registry();
    let reference = registry.push_component("private:1", &prebuilt("guests")).await.unwrap();
    let pod = server(&cluster, "private").with("containers.0.image", reference);
    pod.start(&cluster).await;
    let waiting = "{.status.containerStatuses[0].state.waiting.reason}";
    until_field(&cluster, "pod/private", waiting, |reason| reason.contains("Pull")).await;
    cluster.kubectl(["delete", "pod", "private", "--now"]).await.unwrap();

    cluster.apply(&serde_json::to_string(&registry.pull_secret("registry")).unwrap()).await.unwrap();
    let url = pod.with("imagePullSecrets", json!([{"name": "registry"}])).serve(&cluster).await;
    assert_eq!(get(&format!("{url}/hello")).await, "hello\n");
}

#[tokio::test]
async fn what_is_no_component_says_so_in_the_pods_events() {
    let Some(cluster) = cluster().await else { return };
    let reference = cluster.registry().push_component("nohttp:1", &prebuilt("nohttp")).await.unwrap();
    server(&cluster, "nohttp").with("containers.0.image", reference).start(&cluster).await;
    let said = until("the event", PATIENCE, async || {
        let text = describe(&cluster, "nohttp").await;
        Ok(text.contains("wasi:http").then_some(text))
    });
    said.await.unwrap();
}

#[tokio::test]
async fn arguments_and_environment_reach_the_guest_and_settings_do_not() {
    let Some(cluster) = cluster().await else { return };
    let env = json!([{"name": "GREETING", "value": "hi"}, {"name": "WISP_SLOTS", "value": "3"}]);
    let pod = server(&cluster, "environment").with("containers.0.env", env);
    let url = pod.with("containers.0.args", json!(["one", "two"])).serve(&cluster).await;
    let seen = get_json(&format!("{url}/env-attack")).await;
    assert_eq!(seen["args"], json!(["/", "one", "two"]), "{seen}");
    assert_eq!(seen["env"]["GREETING"], "hi", "{seen}");
    assert!(seen["env"].get("WISP_SLOTS").is_none(), "{seen}");
}

#[tokio::test]
async fn volumes_are_the_folders_that_the_guest_sees() {
    let Some(cluster) = cluster().await else { return };
    cluster
        .apply(
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {color: blue}}\n---\n\
             {apiVersion: v1, kind: Secret, metadata: {name: hidden}, stringData: {key: value}}\n",
        )
        .await
        .unwrap();
    let mounts = json!([
        {"name": "settings", "mountPath": "/settings"},
        {"name": "hidden", "mountPath": "/hidden", "readOnly": true},
        {"name": "scratch", "mountPath": "/scratch"},
    ]);
    let volumes = json!([
        {"name": "settings", "configMap": {"name": "settings"}},
        {"name": "hidden", "secret": {"secretName": "hidden"}},
        {"name": "scratch", "emptyDir": {}},
    ]);
    let pod = server(&cluster, "volumes").with("volumes", volumes).with("containers.0.volumeMounts", mounts);
    let url = pod.serve(&cluster).await;
    let seen = get_json(&format!("{url}/fs-attack")).await;
    let mut folders: Vec<&str> = seen["preopens"].as_array().unwrap().iter().filter_map(|name| name.as_str()).collect();
    folders.sort_unstable();
    assert_eq!(folders, ["/hidden", "/scratch", "/settings"], "{seen}");
    assert_eq!(seen["wrote"], json!(["/scratch"]), "{seen}");
    assert_eq!(seen["reached"], json!([]), "{seen}");
}

#[tokio::test]
async fn probes_decide_whether_a_pod_is_ready_and_lives() {
    let Some(cluster) = cluster().await else { return };
    // Kubernetes calls a container started before its program listens: a first probe may come too early.
    let probe = |path: &str| json!({"httpGet": {"path": path, "port": 8080}, "periodSeconds": 1, "failureThreshold": 3, "timeoutSeconds": 5});
    let pod = server(&cluster, "unready").with("containers.0.readinessProbe", probe("/status?code=503"));
    pod.start(&cluster).await;
    let url =
        format!("http://{}:8080", until_field(&cluster, "pod/unready", "{.status.podIP}", |ip| !ip.is_empty()).await);
    assert_eq!(get(&format!("{url}/hello")).await, "hello\n");
    assert_eq!(field(&cluster, "pod/unready", "{.status.containerStatuses[0].ready}").await, "false");

    let pod = server(&cluster, "unwell").with("containers.0.livenessProbe", probe("/status?code=500"));
    pod.start(&cluster).await;
    let restarts = "{.status.containerStatuses[0].restartCount}";
    until_field(&cluster, "pod/unwell", restarts, |count| count != "0" && !count.is_empty()).await;

    let pod = server(&cluster, "well").with("containers.0.livenessProbe", probe("/hello"));
    pod.with("containers.0.readinessProbe", probe("/hello")).serve(&cluster).await;
    assert_eq!(field(&cluster, "pod/well", restarts).await, "0");
}

#[tokio::test]
async fn a_request_in_flight_is_finished_when_its_pod_is_deleted() {
    let Some(cluster) = cluster().await else { return };
    let admin = json!([{"name": "WISP_ADMIN", "value": "0.0.0.0:9090"}]);
    let pod = server(&cluster, "graceful").with("containers.0.env", admin).with("terminationGracePeriodSeconds", 30);
    let url = pod.serve(&cluster).await;
    get(&format!("{url}/hello")).await;
    let metrics = format!("{}/metrics", url.replace(":8080", ":9090"));
    let slow = tokio::spawn(async move { try_get(&format!("{url}/sleep?ms=8000")).await });
    let begun = until("the request is in flight", PATIENCE, async || {
        Ok(get(&metrics).await.lines().any(|line| line == "wisp_host_requests_in_flight 1").then_some(()))
    });
    begun.await.unwrap();
    cluster.kubectl(["delete", "pod", "graceful"]).await.unwrap();
    assert_eq!(slow.await.unwrap().unwrap(), "slept\n");
}
