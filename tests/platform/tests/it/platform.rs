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

/// The program that users run, if it was built.
pub(crate) fn wisp() -> Option<PathBuf> {
    // This test program is in a folder beside it.
    let program = std::env::current_exe().ok()?.parent()?.with_file_name("wisp");
    if !program.exists() {
        eprintln!("left out: {} is not built: `cargo build --workspace --bins`", program.display());
        return None;
    }
    Some(program)
}

/// The cluster with Wisp on it; none where it cannot run.
pub(crate) async fn platform() -> Option<Platform> {
    PLATFORM.get().await
}
