//! A `wisp up` with the functions of all cases in a folder.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use wisp_platform::{PATIENCE, repository};

use super::cases::{functions, sources};

const GUESTS: &str = "tests/guests/prebuilt/guests.wasm";

/// A running one; it ends with this.
pub(crate) struct Up {
    _process: Child,
    _folder: TempDir,
    pub(crate) requests: SocketAddr,
}

impl Up {
    pub(crate) async fn start(program: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        write_manifests(&folder.path().join("functions"))?;
        let mut command = Command::new(program);
        command.args(["up", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--state"]);
        command.arg(folder.path().join("state")).arg(folder.path().join("functions"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut process = command.spawn()?;
        let mut lines = BufReader::new(process.stdout.take().context("it is piped")?).lines();
        let requests = tokio::time::timeout(PATIENCE, async {
            while let Some(line) = lines.next_line().await? {
                if let Some((_, address)) = line.split_once("   http://").filter(|_| !line.starts_with(' ')) {
                    return Ok(address.trim().parse()?);
                }
            }
            bail!("wisp up ended")
        });
        let requests = requests.await.context("wisp up prints no address")??;
        // What it says later must go somewhere; this ends with it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { _process: process, _folder: folder, requests })
    }
}

fn write_manifests(folder: &Path) -> Result<()> {
    std::fs::create_dir(folder)?;
    let objects = functions().into_iter().map(|function| {
        let function = function.with("component.path", repository().join(GUESTS).display().to_string());
        json!({"apiVersion": "wisp.dev/v1alpha1", "kind": "WasmFunction",
               "metadata": {"name": function.name}, "spec": function.spec})
    });
    for (number, object) in objects.chain(sources()).enumerate() {
        std::fs::write(folder.join(format!("{number}.yaml")), object.to_string())?;
    }
    Ok(())
}
