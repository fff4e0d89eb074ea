//! One cluster for all tests of a program, because each takes seconds to start and half a gigabyte.

use std::ops::Deref;

use tokio::sync::OnceCell;

use crate::cluster::Cluster;
use crate::machine;
use crate::settings::Settings;

/// A static of a test program:
///
/// ```no_run
/// use wisp_cluster::{Settings, Shared};
///
/// static CLUSTER: Shared = Shared::new(Settings::default);
///
/// async fn a_test() {
///     let Some(cluster) = CLUSTER.get().await else { return };
///     cluster.kubectl(["get", "nodes"]).await.unwrap();
/// }
/// ```
#[derive(Debug)]
pub struct Shared {
    settings: fn() -> Settings,
    cluster: OnceCell<Cluster>,
}

/// The cluster in the hands of one test. When that panics, the cluster's logs are kept.
#[derive(Debug)]
pub struct Lent(&'static Cluster);

impl Shared {
    /// Starts nothing yet.
    #[must_use]
    pub const fn new(settings: fn() -> Settings) -> Self {
        Self { settings, cluster: OnceCell::const_new() }
    }

    /// The cluster, started by whoever comes first. None, and a line that says why, where no cluster can run.
    ///
    /// # Panics
    /// When it does not start, with what its components said.
    pub async fn get(&'static self) -> Option<Lent> {
        if can_run().is_err() {
            return None;
        }
        let start = async || Cluster::start((self.settings)()).await;
        let cluster = self.cluster.get_or_init(async || match start().await {
            Ok(cluster) => cluster,
            Err(error) => panic!("{error:#}"),
        });
        Some(Lent(cluster.await))
    }
}

/// For tests with a cluster of their own.
///
/// # Errors
/// Why no cluster can run here; it is also printed, as `left out: …`.
pub fn can_run() -> Result<(), String> {
    let Some(lacks) = machine::lacks() else { return Ok(()) };
    eprintln!("left out: {lacks}");
    Err(lacks)
}

impl Deref for Lent {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        self.0
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.keep_logs();
        }
    }
}
