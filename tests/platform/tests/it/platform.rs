//! The cluster that all tests here share.

use std::path::PathBuf;

use tokio::sync::Mutex;
pub(crate) use wisp_platform::{Function, Platform, SYSTEM, hello};
use wisp_platform::{SharedPlatform, installable, static_programs};

static PLATFORM: SharedPlatform = SharedPlatform::new(programs, || installable(programs()));
/// Held by who rolls activators: of two, one must be there.
pub(crate) static ACTIVATORS: Mutex<()> = Mutex::const_new(());

fn programs() -> Option<PathBuf> {
    static_programs(env!("CARGO_TARGET_TMPDIR"))
}

/// The cluster with Wisp on it; none where it cannot run.
pub(crate) async fn platform() -> Option<Platform> {
    PLATFORM.get().await
}
