//! An operator that comes and goes, and a cluster of its own for it.

use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::{Child, Command};
use wisp_cluster::{Cluster, Settings, until};

use crate::fixture::{free_port, guest, leads, shown};

/// This machine may be building next door.
const PATIENCE: Duration = Duration::from_secs(120);

/// A cluster without an operator.
pub(crate) struct Place {
    pub(crate) cluster: Cluster,
    /// Of its operators, one after the other.
    pub(crate) folder: TempDir,
    /// In the cluster's registry.
    pub(crate) image: String,
}

impl Place {
    pub(crate) async fn new() -> Self {
        let cluster = Cluster::start(Settings::default()).await.unwrap();
        let image = cluster.registry().push_component("hello:1", &guest("samples/prebuilt/hello.wasm")).await.unwrap();
        cluster.kubectl(["create", "namespace", "wisp-system"]).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.crt"), cluster.registry().authority().unwrap()).unwrap();
        Self { cluster, folder, image }
    }
}

/// The only operator of a cluster.
pub(crate) struct Running {
    pub(crate) process: Child,
    admin: std::net::SocketAddr,
}

impl Running {
    pub(crate) async fn start(cluster: &Cluster, folder: &std::path::Path) -> Self {
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
        until("it leads", PATIENCE, async || Ok(leads(admin).await.then_some(()))).await.unwrap();
        Self { process, admin }
    }

    /// How many functions it has looked at.
    pub(crate) async fn reconciled(&self) -> u64 {
        self.metric("wisp_operator_reconciled_total{kind=\"Function\"").await
    }

    /// The sum of all that begin so.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let metrics = shown(self.admin, "metrics").await.unwrap_or_default();
        let of_name = metrics.lines().filter(|line| line.starts_with(name));
        of_name.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    /// Its own, without the compilers'.
    pub(crate) fn cpu(&self) -> Duration {
        let pid = self.process.id().unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        // USER_HZ, which is 100 on every Linux.
        Duration::from_millis(ticks * 10)
    }
}
