//! What the pod's security context asks for is what the process has.

use serde_json::json;

use crate::fixture::{cluster, find, get, server};

/// The words behind `name` in a file such as `/proc/<pid>/status`.
fn line_of(text: &str, name: &str) -> Vec<String> {
    let found = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}: {text}"));
    found[name.len()..].split_whitespace().map(str::to_owned).collect()
}

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
    let look = r#"
        cat $guest/status
        echo "Kernel:" $(cd $guest/root && ls proc | grep '^[^0-9]')"#;
    let status = cluster.exec(["bash", "-c", &(find("--marked-restricted") + look)]).await.unwrap();
    let line = |name: &str| line_of(&status, name);
    assert_eq!(line("Name:"), ["wisp-host"]);
    assert_eq!(line("Uid:"), ["65532"; 4]);
    assert_eq!(line("Gid:"), ["65532"; 4]);
    assert_eq!(line("CapEff:"), ["0000000000000000"]);
    assert_eq!(line("CapBnd:"), ["0000000000000000"]);
    assert_eq!(line("NoNewPrivs:"), ["1"]);
    // 2 is a filter.
    assert_eq!(line("Seccomp:"), ["2"]);
    // Of /proc there are processes, and none of the kernel's settings.
    assert_eq!(line("Kernel:"), ["self", "thread-self"]);
}

#[tokio::test]
async fn the_pods_own_container_holds_the_namespaces_and_has_no_rights_and_no_files() {
    let Some(cluster) = cluster().await else { return };
    let context = json!({"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "7"}]});
    let pod = server(&cluster, "held")
        .with("hostname", "held-here")
        .with("shareProcessNamespace", true)
        .with("securityContext", context)
        .with("containers.0.args", json!(["--marked-held"]));
    let url = pod.serve(&cluster).await;
    assert_eq!(get(&format!("{url}/hello")).await, "hello\n");
    // The one whose network is that of the pod's component.
    let look = r#"
        for p in /proc/[0-9]*; do
            [ "$(tr '\0' ' ' <$p/cmdline 2>/dev/null | cut -d' ' -f1)" = /pause ] || continue
            [ "$(readlink $p/ns/net)" = "$(readlink $guest/ns/net)" ] || continue
            cat $p/status
            echo "Shared: $([ "$(readlink $p/ns/pid)" = "$(readlink $guest/ns/pid)" ] && echo pid)" \
                "$([ "$(readlink $p/ns/ipc)" = "$(readlink $guest/ns/ipc)" ] && echo ipc)"
            echo "Host: $(nsenter -t ${p#/proc/} -u hostname)"
            echo "Port: $(nsenter -t ${p#/proc/} -n cat /proc/sys/net/ipv4/ip_unprivileged_port_start)"
            echo "Files: $(ls -A $p/root | wc -l)"
            echo "Mounts: $(wc -l <$p/mountinfo)"
        done"#;
    let seen = cluster.exec(["bash", "-c", &(find("--marked-held") + look)]).await.unwrap();
    let line = |name: &str| line_of(&seen, name);
    assert_eq!(line("Uid:"), ["65535"; 4]);
    assert_eq!(line("CapPrm:"), ["0000000000000000"]);
    assert_eq!(line("NoNewPrivs:"), ["1"]);
    assert_eq!(line("Seccomp:"), ["2"]);
    assert_eq!(line("NSpid:").last().unwrap(), "1");
    assert_eq!(line("Shared:"), ["pid", "ipc"]);
    assert_eq!((line("Host:"), line("Port:")), (vec!["held-here".to_owned()], vec!["7".to_owned()]));
    // Its empty root is all that is mounted.
    assert_eq!((line("Files:"), line("Mounts:")), (vec!["0".to_owned()], vec!["1".to_owned()]));
}
