//! A cluster with Wisp on it, once for all tests of a program.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use tokio::sync::OnceCell;
use wisp_cluster::{Cluster, Lent, Settings, Shared, WISP_PROGRAMS, can_run, repository};
pub use wisp_cluster::{WISP_DOMAIN as DOMAIN, WISP_NAMESPACE as SYSTEM};

/// What is asked for here takes seconds on an idle machine; this one may be building next door.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Components of the registry, by the names of their files.
const COMPONENTS: [(&str, &str); 2] =
    [("hello", "samples/prebuilt/hello.wasm"), ("guests", "tests/guests/prebuilt/guests.wasm")];

/// A static of a test program. The first test that asks starts the cluster and installs Wisp.
#[derive(Debug)]
pub struct SharedPlatform {
    programs: fn() -> Option<PathBuf>,
    cluster: Shared,
    installed: OnceCell<()>,
}

/// A cluster on which Wisp runs, in the hands of one test.
#[derive(Debug)]
pub struct Platform(Lent);

impl SharedPlatform {
    /// Starts nothing yet. `programs` is [`static_programs`] of the test program, `settings` is [`installable`] with it.
    #[must_use]
    pub const fn new(programs: fn() -> Option<PathBuf>, settings: fn() -> Settings) -> Self {
        Self { programs, cluster: Shared::new(settings), installed: OnceCell::const_new() }
    }

    /// The cluster with Wisp on it; none where it cannot run.
    ///
    /// # Panics
    /// When Wisp does not come up, with all that tells why.
    pub async fn get(&'static self) -> Option<Platform> {
        let programs = (self.programs)()?;
        let cluster = self.cluster.get().await?;
        let install = async || {
            if let Err(error) = install(&cluster, &programs).await {
                panic!("{error:#}\n{}", look(&cluster).await);
            }
        };
        self.installed.get_or_init(install).await;
        Some(Platform(cluster))
    }
}

impl Deref for Platform {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.0
    }
}

/// The static programs, where they were built and a cluster can run. `target_tmp` is the test's
/// `env!("CARGO_TARGET_TMPDIR")`.
#[must_use]
pub fn static_programs(target_tmp: &str) -> Option<PathBuf> {
    can_run().ok()?;
    wisp_cluster::static_programs(target_tmp, &WISP_PROGRAMS)
}

/// A cluster whose containerd finds the shim among `programs`.
#[must_use]
pub fn installable(programs: Option<PathBuf>) -> Settings {
    Settings { shim: programs, ..Settings::default() }
}

async fn install(cluster: &Cluster, programs: &Path) -> Result<()> {
    push_components(cluster).await?;
    cluster.install_wisp(programs).await
}

/// Puts the tests' components into the cluster's registry.
///
/// # Errors
/// What the registry says.
pub async fn push_components(cluster: &Cluster) -> Result<()> {
    for (name, file) in COMPONENTS {
        cluster.registry().push_component(&format!("{name}:1"), &repository().join(file)).await?;
    }
    Ok(())
}

/// Everything that tells why Wisp does not do what it should. Logs are in the cluster's folder too.
pub async fn look(cluster: &Cluster) -> String {
    let mut seen = String::new();
    for arguments in [
        &["get", "pods", "-A", "-o", "wide"][..],
        &["get", "wf,wr,wp", "-A", "-o", "yaml"],
        &["-n", SYSTEM, "logs", "-l", "app.kubernetes.io/part-of=wisp", "--prefix", "--tail=40"],
        &["get", "events", "-A"],
    ] {
        seen += &cluster.kubectl(arguments).await.unwrap_or_else(|error| format!("{error:#}"));
    }
    seen
}
