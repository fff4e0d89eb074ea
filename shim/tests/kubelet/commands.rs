//! Commands: pods that end, jobs, and what is made of their exit codes.

use serde_json::json;

use crate::fixture::{Pod, cluster, command, ended, field, until_field};

fn workload(kind: &str, name: &str, pod: &Pod, more: serde_json::Value) -> String {
    let group = if kind == "Deployment" || kind == "DaemonSet" { "apps/v1" } else { "batch/v1" };
    let mut spec = more;
    spec["template"] = json!({"metadata": {"labels": {"app": name}}, "spec": pod.spec()});
    json!({"apiVersion": group, "kind": kind, "metadata": {"name": name}, "spec": spec}).to_string()
}

#[tokio::test]
async fn a_command_ends_with_its_own_code_and_its_words_are_the_log() {
    let Some(cluster) = cluster().await else { return };
    assert_eq!(command(&cluster, "succeeds", &["0", "well"]).run(&cluster).await, (0, "Completed".to_owned()));
    assert_eq!(cluster.kubectl(["logs", "succeeds"]).await.unwrap(), "args: 0 well\n");
    assert_eq!(command(&cluster, "traps", &["trap"]).run(&cluster).await, (134, "Error".to_owned()));
    assert!(cluster.kubectl(["logs", "traps"]).await.unwrap().contains("unreachable"));
    let image = format!("{}/command-preview1:1", cluster.registry().address());
    let old = command(&cluster, "seven", &["7"]).with("containers.0.image", image);
    assert_eq!(old.run(&cluster).await, (7, "Error".to_owned()));
}

#[tokio::test]
async fn a_job_completes_and_one_that_fails_is_tried_again_and_given_up() {
    let Some(cluster) = cluster().await else { return };
    let good = workload("Job", "good", &command(&cluster, "good", &["0"]), json!({}));
    let bad = workload("Job", "bad", &command(&cluster, "bad", &["1"]), json!({"backoffLimit": 1}));
    cluster.apply(&good).await.unwrap();
    cluster.apply(&bad).await.unwrap();
    until_field(&cluster, "job/good", "{.status.succeeded}", |count| count == "1").await;
    until_field(&cluster, "job/bad", "{.status.failed}", |count| count == "2").await;
    let conditions = until_field(&cluster, "job/bad", "{.status.conditions[*].reason}", |all| !all.is_empty()).await;
    assert!(conditions.contains("BackoffLimitExceeded"), "{conditions}");
}

#[tokio::test]
async fn a_cron_job_makes_jobs_on_its_schedule() {
    let Some(cluster) = cluster().await else { return };
    let job = json!({"spec": {"template": {"spec": command(&cluster, "minutely", &["0"]).spec()}}});
    let cron = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "minutely"},
        "spec": {"schedule": "* * * * *", "jobTemplate": job},
    });
    cluster.apply(&cron.to_string()).await.unwrap();
    until_field(&cluster, "cronjob/minutely", "{.status.lastSuccessfulTime}", |time| !time.is_empty()).await;
    cluster.kubectl(["delete", "cronjob", "minutely"]).await.unwrap();
}

#[tokio::test]
async fn restart_policies_are_kept() {
    let Some(cluster) = cluster().await else { return };
    let restarts = "{.status.containerStatuses[0].restartCount}";
    command(&cluster, "always", &["0"]).with("restartPolicy", "Always").start(&cluster).await;
    command(&cluster, "on-failure", &["1"]).with("restartPolicy", "OnFailure").start(&cluster).await;
    command(&cluster, "on-success", &["0"]).with("restartPolicy", "OnFailure").start(&cluster).await;
    for pod in ["pod/always", "pod/on-failure"] {
        until_field(&cluster, pod, restarts, |count| !count.is_empty() && count != "0").await;
    }
    assert_eq!(ended(&cluster, "on-success").await.0, 0);
    assert_eq!(field(&cluster, "pod/on-success", restarts).await, "0");
}

#[tokio::test]
async fn deployments_and_daemon_sets_run_components() {
    let Some(cluster) = cluster().await else { return };
    let pod = crate::fixture::server(&cluster, "set");
    let selector = |name: &str| json!({"matchLabels": {"app": name}});
    let deployment = workload("Deployment", "three", &pod, json!({"replicas": 3, "selector": selector("three")}));
    let daemons = workload("DaemonSet", "each", &pod, json!({"selector": selector("each")}));
    cluster.apply(&deployment).await.unwrap();
    cluster.apply(&daemons).await.unwrap();
    until_field(&cluster, "deployment/three", "{.status.readyReplicas}", |count| count == "3").await;
    until_field(&cluster, "daemonset/each", "{.status.numberReady}", |count| count == "1").await;
    cluster.kubectl(["rollout", "restart", "deployment/three"]).await.unwrap();
    cluster.kubectl(["rollout", "status", "deployment/three", "--timeout=120s"]).await.unwrap();
    cluster.kubectl(["delete", "deployment/three", "daemonset/each"]).await.unwrap();
}
