//! The command line, and the files that it names.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use wisp_autoscaler::{Admission, RevisionRecord, Settings};
use wisp_chassis::control::ServerTls;
use wisp_chassis::log::Format;

use crate::kubernetes::Place;

/// Decides how many instances each revision has, and gives warm instances their revision.
#[derive(Debug, Parser)]
#[command(name = "wisp-autoscaler", version, about)]
pub(crate) struct Args {
    /// Follow the API server of the cluster that this runs in: its functions, revisions and pods.
    #[arg(long, conflicts_with_all = ["revisions", "control_ca"])]
    pub(crate) kubernetes: bool,
    /// On a cluster: the namespace of Wisp itself.
    #[arg(long, env = "POD_NAMESPACE", default_value = "wisp-system")]
    namespace: String,
    /// On a cluster: the name of this pod, by which it leads.
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    identity: Option<String>,
    /// On a cluster: the address of this pod, where hosts and activators find the leader.
    #[arg(long, env = "POD_IP", value_name = "ADDRESS")]
    pod_ip: Option<IpAddr>,
    /// Where activators and hosts connect.
    #[arg(long, default_value = "127.0.0.1:8443", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,
    /// Where /live, /ready, /metrics and /dump are served.
    #[arg(long, default_value = "127.0.0.1:9090", value_name = "ADDRESS")]
    pub(crate) admin: SocketAddr,
    /// The certificate chain of the control port, PEM.
    #[arg(long, default_value = "/etc/wisp/tls/tls.crt", value_name = "FILE")]
    control_cert: PathBuf,
    /// Its key, PEM.
    #[arg(long, default_value = "/etc/wisp/tls/tls.key", value_name = "FILE")]
    control_key: PathBuf,
    /// The CA whose certificates activators and hosts must show. Without it, whoever reaches the port may connect.
    #[arg(long, value_name = "FILE")]
    control_ca: Option<PathBuf>,
    /// On a cluster: the key by which the nodes' words are checked, of the Secret wisp-identity.
    #[arg(long, default_value = "/etc/wisp/identity/identity.key", value_name = "FILE")]
    pub(crate) identity_key: PathBuf,
    /// The revisions, as a JSON list.
    #[arg(long, value_name = "FILE")]
    revisions: Option<PathBuf>,
    /// How long hosts have to report after a start, in seconds, before anything is scaled down.
    #[arg(long, default_value_t = 5, value_name = "SECONDS")]
    settle: u64,
    /// How log lines are written.
    #[arg(long, value_enum, default_value = "text")]
    log: LogFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

impl Args {
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            // Who may connect is decided by the control port's CA.
            admission: Admission::Anyone,
            warm_instances: 0,
            settle: self.settle(),
            ..Settings::default()
        }
    }

    pub(crate) fn settle(&self) -> Duration {
        Duration::from_secs(self.settle)
    }

    pub(crate) fn place(&self) -> anyhow::Result<Place> {
        let identity = self.identity.clone().context("give --identity, or POD_NAME: the name of this pod")?;
        let ip = self.pod_ip.context("give --pod-ip, or POD_IP: the address of this pod")?;
        Ok(Place { namespace: self.namespace.clone(), identity, ip })
    }

    pub(crate) fn log_format(&self) -> Format {
        match self.log {
            LogFormat::Text => Format::Text,
            LogFormat::Json => Format::Json,
        }
    }

    pub(crate) fn read_revisions(&self) -> anyhow::Result<Vec<RevisionRecord>> {
        let Some(path) = &self.revisions else { return Ok(Vec::new()) };
        let text = read(path)?;
        serde_json::from_str(&text).with_context(|| format!("{} is no list of revisions", path.display()))
    }

    pub(crate) fn read_tls(&self) -> anyhow::Result<ServerTls> {
        Ok(ServerTls {
            certificate_pem: read(&self.control_cert)?,
            key_pem: read(&self.control_key)?,
            client_ca_pem: self.control_ca.as_deref().map(read).transpose()?,
        })
    }
}

/// Waits for the signal to end.
pub(crate) async fn until_stopped() -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
