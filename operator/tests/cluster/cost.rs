//! A measurement and no test: what functions that rest cost the operator.
//!
//! `cargo test -p wisp-operator --test cluster -- --ignored --nocapture cost`

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::process::{Child, Command};
use wisp_cluster::{Cluster, Settings, until};

use crate::fixture::{free_port, guest};

const FUNCTIONS: u32 = 1000;
const NAMESPACES: u32 = 10;
/// All of them are compiled, once, and each asks the registry what its tag is.
const PATIENCE: Duration = Duration::from_secs(500);
const REST: Duration = Duration::from_secs(60);

#[tokio::test]
#[ignore = "it measures, for some minutes"]
async fn cost_of_functions_at_rest() {
    let cluster = Cluster::start(Settings::default()).await.unwrap();
    let image = cluster.registry().push_component("hello:1", &guest("samples/prebuilt/hello.wasm")).await.unwrap();
    cluster.kubectl(["create", "namespace", "wisp-system"]).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.crt"), cluster.registry().authority().unwrap()).unwrap();

    let first = Running::start(&cluster, folder.path()).await;
    cluster.definitions_are_served().await.unwrap();
    for namespace in 0..NAMESPACES {
        cluster.kubectl(["create", "namespace", &format!("n{namespace}")]).await.unwrap();
    }
    let functions: Vec<_> = (0..FUNCTIONS).map(|number| function(number, &image)).collect();
    let began = first.cpu();
    cluster.apply(&json!({"apiVersion": "v1", "kind": "List", "items": functions}).to_string()).await.unwrap();
    let ready = r#"jsonpath={range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}"#;
    until("all functions are ready", PATIENCE, async || {
        let found = cluster.kubectl(["get", "wf", "-A", "-o", ready]).await?;
        Ok((found.lines().filter(|line| *line == "True").count() == FUNCTIONS as usize).then_some(()))
    })
    .await
    .unwrap();
    say("from their creation until they are ready", first.cpu() - began);
    settle(&first).await;
    let (before, looked) = (first.cpu(), first.reconciled().await);
    tokio::time::sleep(REST).await;
    say(&format!("in {} s of rest", REST.as_secs()), first.cpu() - before);
    println!("{} functions were looked at meanwhile", first.reconciled().await - looked);
    drop(first);

    // All are looked at, and nothing is different.
    let second = Running::start(&cluster, folder.path()).await;
    until("all functions were looked at", PATIENCE, async || {
        Ok((second.reconciled().await >= u64::from(FUNCTIONS)).then_some(()))
    })
    .await
    .unwrap();
    settle(&second).await;
    say("at a new operator's start", second.cpu());
    println!("{} functions were looked at", second.reconciled().await);
}

fn function(number: u32, image: &str) -> serde_json::Value {
    json!({
        "apiVersion": "wisp.dev/v1alpha1", "kind": "WasmFunction",
        "metadata": {"name": format!("f{number}"), "namespace": format!("n{}", number % NAMESPACES)},
        // Pods of pools are another matter.
        "spec": {"component": {"image": image}, "scaling": {"start": "fresh"}},
    })
}

fn say(what: &str, cpu: Duration) {
    println!("{what}: {cpu:.1?} of CPU, {:.2?} for each of {FUNCTIONS} functions", cpu / FUNCTIONS);
}

/// Until nobody is looked at for some seconds.
async fn settle(operator: &Running) {
    let mut before = operator.reconciled().await;
    until("it rests", PATIENCE, async || {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let now = operator.reconciled().await;
        Ok((std::mem::replace(&mut before, now) == now).then_some(()))
    })
    .await
    .unwrap();
}

struct Running {
    process: Child,
    admin: std::net::SocketAddr,
}

impl Running {
    async fn start(cluster: &Cluster, folder: &std::path::Path) -> Self {
        let admin = free_port();
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_wisp-operator"));
        let process = Command::new(program)
            .args(["--instance-image", "wisp.test/nothing:1", "--control", "https://192.0.2.1:8443"])
            .args(["--listen", "127.0.0.1:0", "--admin", &admin.to_string(), "--store"])
            .arg(folder.join("store"))
            .arg("--host")
            .arg(program.with_file_name("wisp-host"))
            .arg("--registry-ca")
            .arg(folder.join("ca.crt"))
            .env("KUBECONFIG", cluster.kubeconfig())
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let running = Self { process, admin };
        until("it leads", PATIENCE, async || {
            Ok(running.get("dump").await.filter(|dump| dump.contains("\"leads\":true")))
        })
        .await
        .unwrap();
        running
    }

    async fn get(&self, path: &str) -> Option<String> {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        client.get(format!("http://{}/{path}", self.admin)).send().await.ok()?.text().await.ok()
    }

    async fn reconciled(&self) -> u64 {
        let metrics = self.get("metrics").await.unwrap_or_default();
        let of_functions = |line: &&str| line.starts_with("wisp_operator_reconciled_total{kind=\"Function\"");
        metrics.lines().filter(of_functions).filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    /// Its own, without the compilers'.
    fn cpu(&self) -> Duration {
        let pid = self.process.id().unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        // USER_HZ, which is 100 on every Linux.
        Duration::from_millis(ticks * 10)
    }
}
