//! What the pod's security context asks for is what the process has.

use serde_json::json;

use crate::fixture::{cluster, get, server};

#[tokio::test]
async fn a_restricted_pod_is_restricted() {
    let Some(cluster) = cluster().await else { return };
    let context = json!({
        "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    let pod = server(&cluster, "restricted").with("containers.0.securityContext", context);
    let url = pod.with("containers.0.args", json!(["--marked-restricted"])).serve(&cluster).await;
    assert_eq!(get(&format!("{url}/hello")).await, "hello\n");
    let find = "for p in /proc/[0-9]*; do grep -qaz -e --marked-restricted $p/cmdline && cat $p/status && break; done";
    let status = cluster.exec(["bash", "-c", find]).await.unwrap();
    let line = |name: &str| {
        let found = status.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}: {status}"));
        found[name.len()..].split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(line("Name:"), ["wisp-host"]);
    assert_eq!(line("Uid:"), ["65532"; 4]);
    assert_eq!(line("Gid:"), ["65532"; 4]);
    assert_eq!(line("CapEff:"), ["0000000000000000"]);
    assert_eq!(line("CapBnd:"), ["0000000000000000"]);
    assert_eq!(line("NoNewPrivs:"), ["1"]);
    // 2 is a filter.
    assert_eq!(line("Seccomp:"), ["2"]);
}
