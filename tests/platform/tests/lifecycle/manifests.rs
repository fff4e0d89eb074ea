//! Without Helm on the cluster: the chart's manifests, applied by kubectl.

use wisp_platform::{PATIENCE, SYSTEM, hello};

use crate::bare::bare;

#[tokio::test]
async fn what_helm_template_prints_is_applied_by_kubectl_and_serves() {
    let Some(cluster) = bare().await else { return };
    // A Helm that was built without its release's flags takes Kubernetes for an old one.
    let version = ["--kube-version", "1.34.0"];
    let template = [&["template", "wisp", "deploy/chart", "--namespace", SYSTEM, "--no-hooks"], &version[..]].concat();
    let manifests = cluster.helm(&template, &cluster.values()).await.unwrap();
    cluster.kubectl(["create", "namespace", SYSTEM]).await.unwrap();
    cluster.apply(&manifests).await.unwrap();
    let timeout = format!("--timeout={}s", PATIENCE.as_secs());
    for part in ["deployment/wisp-operator", "deployment/wisp-autoscaler", "deployment/wisp-activator", "ds/wisp-node"]
    {
        let ready = cluster.kubectl(["-n", SYSTEM, "rollout", "status", part, &timeout]).await;
        cluster.expect(ready).await;
    }
    let function = hello(&cluster, "plain");
    function.deploy(&cluster).await;
    let answer = function.client(&cluster).await.get("/").await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.body.trim()), (200, "hello"));
    cluster.kubectl(["delete", "wf/plain"]).await.unwrap();
}
