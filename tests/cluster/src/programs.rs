//! What a cluster runs: built by `tests/cluster/build`, found here.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The folder of everything that was built.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Builds nothing: that takes minutes, and a test would seem to hang.
    pub(crate) fn find() -> Result<Self> {
        Ok(Self { folder: built(&["--where"])? })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Programs for the PATH.
    pub(crate) fn bin(&self) -> PathBuf {
        self.folder.join("bin")
    }

    /// The other containerd, with its shim.
    pub(crate) fn containerd_one_seven(&self) -> PathBuf {
        self.folder.join("containerd-1.7")
    }

    pub(crate) fn lib(&self) -> PathBuf {
        self.folder.join("lib")
    }

    /// Programs that are the only content of images.
    pub(crate) fn image_program(&self, name: &str) -> PathBuf {
        self.folder.join("images").join(name)
    }
}

/// The folder of the ingress controllers `traefik` and `skipper`, and of `gateway-api` with manifests of its kinds. None, and
/// a line that says so, where they are not built.
#[must_use]
pub fn ingress_programs() -> Option<PathBuf> {
    built(&["ingress", "--where"]).inspect_err(|error| eprintln!("left out: {error:#}")).ok()
}

/// What `build` has built, or what it says.
fn built(arguments: &[&str]) -> Result<PathBuf> {
    let build = crate_folder().join("build");
    let output = Command::new(&build).args(arguments).output();
    let output = output.with_context(|| format!("{} does not run", build.display()))?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let folder = String::from_utf8(output.stdout).context("the folder's name is not UTF-8")?;
    Ok(PathBuf::from(folder.trim_end()))
}

/// The folder of what `make static` builds, for a test that needs all of `programs`. None, and a line that says so, where
/// one is missing. `target_tmp` is the test's `env!("CARGO_TARGET_TMPDIR")`.
#[must_use]
pub fn static_programs(target_tmp: &str, programs: &[&str]) -> Option<PathBuf> {
    let folder = Path::new(target_tmp).parent()?.join("static");
    let missing = programs.iter().find(|program| !folder.join(program).exists());
    if let Some(missing) = missing {
        eprintln!("left out: {missing} is not built to run on a node: `make static`");
        return None;
    }
    Some(folder)
}

/// Scripts that run outside and inside of the node.
pub(crate) fn node_scripts() -> PathBuf {
    crate_folder().join("node")
}

fn crate_folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
