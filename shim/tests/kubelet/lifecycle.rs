//! Between start and end: signals, hooks, logs, exec.

use std::process::Stdio;

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::time::timeout;

use crate::fixture::{PATIENCE, cluster, command, get, server, until_field, wait_ready};

#[tokio::test]
async fn a_command_is_ended_by_the_signal_and_not_only_when_its_grace_is_over() {
    let Some(cluster) = cluster().await else { return };
    for what in ["sleep", "spin"] {
        let name = format!("ends-{what}");
        // Far beyond the deadline below: only the signal can end it in time.
        let pod = command(&cluster, &name, &[what]).with("terminationGracePeriodSeconds", 600);
        pod.start(&cluster).await;
        wait_ready(&cluster, &name).await;
        let deleted = cluster.kubectl(["delete", "pod", &name]);
        timeout(PATIENCE, deleted).await.unwrap_or_else(|_| panic!("{what} did not end")).unwrap();
    }
}

#[tokio::test]
async fn a_pre_stop_hook_comes_before_the_signal() {
    let Some(cluster) = cluster().await else { return };
    let hook = json!({"preStop": {"httpGet": {"path": "/log-flood?mib=1&to=stderr", "port": 8080}}});
    let pod = server(&cluster, "hooked").with("containers.0.lifecycle", hook);
    let url = pod.with("terminationGracePeriodSeconds", 60).serve(&cluster).await;
    get(&format!("{url}/hello")).await;
    let mut follow = cluster.kubectl_command(["logs", "--follow", "hooked"]);
    let mut follow = follow.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    cluster.kubectl(["delete", "pod", "hooked"]).await.unwrap();
    let flooded = async {
        while let Ok(Some(line)) = lines.next_line().await {
            if line.contains("lllll") {
                return true;
            }
        }
        false
    };
    assert!(timeout(PATIENCE, flooded).await.unwrap(), "the hook's request was not served");
}

#[tokio::test]
async fn logs_are_followed_while_they_are_written() {
    let Some(cluster) = cluster().await else { return };
    command(&cluster, "followed", &["sleep"]).start(&cluster).await;
    wait_ready(&cluster, "followed").await;
    let mut follow = cluster.kubectl_command(["logs", "--follow", "followed"]);
    let mut follow = follow.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let first = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap();
    assert_eq!(first.as_deref(), Some("sleeping"));
}

#[tokio::test]
async fn exec_says_that_there_is_no_shell() {
    let Some(cluster) = cluster().await else { return };
    command(&cluster, "no-shell", &["sleep"]).start(&cluster).await;
    wait_ready(&cluster, "no-shell").await;
    let error = cluster.kubectl(["exec", "no-shell", "--", "ls"]).await.unwrap_err();
    assert!(format!("{error:#}").contains("has no shell"), "{error:#}");
}

#[tokio::test]
async fn a_deleted_server_is_gone_long_before_its_grace_is_over() {
    let Some(cluster) = cluster().await else { return };
    let pod = server(&cluster, "gone").with("terminationGracePeriodSeconds", 600);
    let url = pod.serve(&cluster).await;
    get(&format!("{url}/hello")).await;
    let deleted = cluster.kubectl(["delete", "pod", "gone"]);
    timeout(PATIENCE, deleted).await.expect("the pod did not go").unwrap();
    // The same name can be used again at once.
    pod.serve(&cluster).await;
    until_field(&cluster, "pod/gone", "{.status.phase}", |phase| phase == "Running").await;
}
