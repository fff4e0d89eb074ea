//! Clusters beside one another, their ends, and what stands still in them. Each test has a cluster of its own, because
//! it ends or disturbs it.

#![forbid(unsafe_code)]

mod disturbed;
mod ends;
mod older;
mod siblings;
mod traces;

use tokio::sync::{RwLock, RwLockReadGuard};
use wisp_cluster::{Cluster, Settings};

/// Written to from the end of a cluster until its traces were looked for: a cluster that starts takes the free number, and
/// sweeps up what was left.
static NUMBERS: RwLock<()> = RwLock::const_new(());

/// To be held while a cluster starts.
async fn starting() -> RwLockReadGuard<'static, ()> {
    NUMBERS.read().await
}

async fn start(settings: Settings) -> Cluster {
    let _starting = starting().await;
    Cluster::start(settings).await.unwrap_or_else(|error| panic!("{error:#}"))
}
