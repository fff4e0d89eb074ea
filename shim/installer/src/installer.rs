//! The steps of installing and of taking away, in an order in which each can fail and be done again.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::cli::Options;
use crate::containerd::{with_runtime, without_runtime};
use crate::{programs, restart};

/// Beside the configuration: as it was before Wisp came. Never read by us.
const BACKUP_SUFFIX: &str = ".before-wisp";
/// Of a configuration that was not there.
const CONFIG_MODE: u32 = 0o644;

/// A node, by the options of the command line.
#[derive(Debug)]
pub struct Node {
    /// Where things are.
    pub options: Options,
    /// Folder of the programs to install, as seen from here.
    pub from: PathBuf,
}

impl Node {
    /// Programs first, then the configuration that names them, then the restart that makes it hold.
    ///
    /// # Errors
    /// When a file cannot be written, the configuration is not understood, or containerd does not come back.
    pub async fn install(&self) -> Result<()> {
        let changed = programs::install(&self.from, &self.seen(&self.options.to))?;
        tracing::info!(?changed, to = %self.options.to.display(), "programs are there");
        let shim = self.options.to.join(programs::PROGRAMS[0]);
        self.configure(|config| with_runtime(config, &shim)).await
    }

    /// The reverse, in reverse order.
    ///
    /// # Errors
    /// As for `install`.
    pub async fn uninstall(&self) -> Result<()> {
        if self.seen(&self.options.config).exists() {
            self.configure(without_runtime).await?;
        }
        programs::uninstall(&self.seen(&self.options.to))?;
        tracing::info!("removed; compiled code stays in the shim's store until you remove it");
        Ok(())
    }

    async fn configure<E: std::error::Error + Send + Sync + 'static>(
        &self,
        change: impl FnOnce(&str) -> Result<String, E>,
    ) -> Result<()> {
        let file = self.seen(&self.options.config);
        let name = self.options.config.display();
        let before = match fs::read_to_string(&file) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("cannot read {name}")),
        };
        let text = before.as_deref().unwrap_or_default();
        let after = change(text).with_context(|| format!("{name} is left alone"))?;
        if after == text {
            tracing::info!(config = %name, "is as it should be; containerd is not restarted");
            return Ok(());
        }
        write(&file, before.as_deref(), &after).with_context(|| format!("cannot write {name}"))?;
        tracing::info!(config = %name, "changed");
        if self.options.restart.trim().is_empty() {
            tracing::warn!("restart containerd for the change to take effect");
            return Ok(());
        }
        restart::restart(&self.options.root, &self.options.restart, &self.seen(&self.options.socket)).await
    }

    /// A path of the node as it is seen from here.
    fn seen(&self, path: &Path) -> PathBuf {
        self.options.root.join(path.strip_prefix("/").unwrap_or(path))
    }
}

fn write(file: &Path, before: Option<&str>, after: &str) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)?;
    let mut backup = file.as_os_str().to_owned();
    backup.push(BACKUP_SUFFIX);
    let mode = match before {
        Some(before) => {
            // The first one is what was there before Wisp; later ones have Wisp in them.
            if !Path::new(&backup).exists() {
                fs::write(&backup, before)?;
            }
            fs::metadata(file)?.permissions().mode()
        }
        None => CONFIG_MODE,
    };
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    temporary.write_all(after.as_bytes())?;
    temporary.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    temporary.as_file().sync_all()?;
    temporary.persist(file).map_err(|error| error.error)?;
    Ok(())
}
