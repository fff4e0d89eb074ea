//! Clusters beside one another, their ends, and what stands still in them. Each test has a cluster of its own, because
//! it ends or disturbs it.

#![forbid(unsafe_code)]

mod disturbed;
mod ends;
mod older;
mod siblings;
mod traces;

use std::time::Duration;

use tokio::sync::RwLock;
use wisp_cluster::{Cluster, Settings, can_run};

/// The API server takes three seconds to start on an idle machine; this one may be building next door.
const PATIENCE: Duration = Duration::from_secs(90);

/// Read from while a cluster starts, which takes a free number and sweeps up what was left; written to from the end of one
/// until its traces were looked for.
static NUMBERS: RwLock<()> = RwLock::const_new(());

/// None where no cluster can run.
async fn start(settings: Settings) -> Option<Cluster> {
    can_run().ok()?;
    let _starting = NUMBERS.read().await;
    Some(Cluster::start(settings).await.unwrap_or_else(|error| panic!("{error:#}")))
}

/// Runs the hello image.
async fn hello(cluster: &Cluster) {
    let image = cluster.registry().push("hello:1", &cluster.hello()).await.expect("the image is pushed");
    cluster.kubectl(["run", "hello", "--image", &image]).await.expect("the pod is taken");
    cluster.wait_ready("hello", PATIENCE).await.unwrap_or_else(|error| panic!("{error:#}"));
}
