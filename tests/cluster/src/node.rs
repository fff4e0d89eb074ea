//! The node: its namespaces, and the components in them.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command as Blocking, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::call;
use crate::component::Component;
use crate::configuration;
use crate::deadline::until;
use crate::place::{self, Place};
use crate::programs::{self, Programs};
use crate::settings::{Lifetime, Settings};

/// Making namespaces takes a tenth of a second on an idle machine; this one may be building Kubernetes next door.
const NAMESPACES_PATIENCE: Duration = Duration::from_secs(30);
/// A component that was told to end has closed what it has open by then.
const END_PATIENCE: Duration = Duration::from_secs(20);

/// What a component can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Term,
    Kill,
    Stop,
    Continue,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Term => "TERM",
            Self::Kill => "KILL",
            Self::Stop => "STOP",
            Self::Continue => "CONT",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    /// Ends, and takes the node with it, when its input is closed. None: somebody else's, or nobody's.
    keeper: Option<Child>,
}

impl Node {
    /// Takes a place and makes the namespaces; no component runs yet.
    pub(crate) async fn start(settings: &Settings, programs: &Programs) -> Result<Self> {
        sweep()?;
        let taken = place::take()?;
        let place = taken.place;
        configuration::write(place, settings, programs)?;
        let (mode, input) = match settings.lifetime {
            Lifetime::OfItsOwner => ("attached", Stdio::piped()),
            Lifetime::UntilTakenDown => ("detached", Stdio::null()),
        };
        let keeper = keeper(mode, place).stdin(input).stdout(taken.lock).stderr(Stdio::piped()).spawn();
        let mut node = Self { place, keeper: Some(keeper.context("bash does not start")?) };
        until("the node's namespaces are made", NAMESPACES_PATIENCE, async || node.ready()).await?;
        if settings.lifetime == Lifetime::UntilTakenDown {
            node.keeper = None;
        }
        Ok(node)
    }

    /// The node of a cluster that another process has started.
    pub(crate) fn find(place: Place) -> Result<Self> {
        if let Some(taken) = place::try_take(place)? {
            taken.give_back()?;
            bail!("cluster {} is not up: `cluster status` lists what is", place.number);
        }
        Ok(Self { place, keeper: None })
    }

    fn ready(&mut self) -> Result<Option<()>> {
        if let Some(keeper) = &mut self.keeper
            && let Some(status) = keeper.try_wait()?
        {
            let said = keeper.stderr.take().map(std::io::read_to_string).transpose()?.unwrap_or_default();
            bail!("the node did not start ({status}): {}", said.trim());
        }
        Ok(self.place.folder().join("ready").exists().then_some(()))
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.place.folder().join("logs")
    }

    /// What to call to run `arguments` in the namespaces of the node, with what was built on the PATH.
    pub(crate) fn inside(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Command> {
        let folder = self.place.folder();
        let pid =
            fs::read_to_string(folder.join("pid")).context("the node is gone: its first process has no number")?;
        let mut command = Command::new("nsenter");
        command.args(["--target", pid.trim(), "--mount", "--pid", "--net", "--uts", "--ipc", "--", "bash", "-c"]);
        command.arg(r#". "$0/node.env"; cd /; exec "$@""#).arg(folder).args(arguments);
        Ok(command)
    }

    pub(crate) async fn start_component(&self, component: Component) -> Result<()> {
        let script = programs::node_scripts().join("component");
        let folder = self.place.folder();
        // The first process of the node becomes its parent, as the one that it has is gone at once.
        let start: [&OsStr; 5] =
            ["setsid".as_ref(), "--fork".as_ref(), script.as_ref(), folder.as_ref(), component.name().as_ref()];
        call::output(self.inside(start)?).await.map(drop)
    }

    pub(crate) async fn signal(&self, component: Component, signal: Signal) -> Result<()> {
        let pids = self.place.state().join("pids").join(component.name());
        let kill = format!("kill -{} \"$(<{})\"", signal.name(), pids.display());
        call::output(self.inside(["bash", "-c", &kill])?).await.with_context(|| format!("{component} does not run"))?;
        Ok(())
    }

    /// Takes away what a loss of power takes away, when the components of the node are down.
    pub(crate) async fn lose_power(&self) -> Result<()> {
        let script = programs::node_scripts().join("reboot");
        call::output(self.inside([script.as_os_str(), self.place.folder().as_os_str()])?).await.map(drop)
    }

    /// Waits for the end of a component that was told to end.
    pub(crate) async fn ended(&self, component: Component) -> Result<()> {
        let pids = self.place.state().join("pids").join(component.name());
        let gone = format!("! kill -0 \"$(<{})\" 2>/dev/null", pids.display());
        until(&format!("{component} has ended"), END_PATIENCE, async || {
            Ok(call::output(self.inside(["bash", "-c", &gone])?).await.ok())
        })
        .await
        .map(drop)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let Some(mut keeper) = self.keeper.take() else { return };
        drop(keeper.stdin.take());
        // It has deadlines for all it does, and an error of this call says that it is gone.
        let _: std::io::Result<_> = keeper.wait();
    }
}

fn keeper(mode: &str, place: Place) -> Blocking {
    let mut command = Blocking::new(programs::node_scripts().join("keeper"));
    command.arg(mode).arg(place.folder());
    // Not in the group that a terminal's Ctrl-C goes to: this one is to clean up after it.
    command.process_group(0);
    // A proxy, a KUBECONFIG or a GOMAXPROCS of the caller must not reach the node.
    command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

/// Removes what clusters have left whose keeper was killed.
pub(crate) fn sweep() -> Result<()> {
    for place in place::used() {
        // Whoever has it lives.
        let Some(taken) = place::try_take(place)? else { continue };
        let swept = keeper("sweep", place).stdin(Stdio::null()).stdout(taken.lock).output();
        let swept = swept.context("bash does not start")?;
        let said = String::from_utf8_lossy(&swept.stderr);
        if !swept.status.success() {
            bail!("what is left of cluster {} cannot be removed: {}", place.number, said.trim());
        }
    }
    Ok(())
}

/// Tells the keeper of a cluster to take it down, and waits until that is done.
pub(crate) async fn take_down(place: Place) -> Result<()> {
    let pid = fs::read_to_string(place.folder().join("keeper")).with_context(|| format!("cluster {}", place.number))?;
    let mut kill = Command::new("kill");
    kill.args(["-TERM", pid.trim()]);
    call::output(kill).await?;
    let gone = || !place.folder().exists() && !place.lock_file().exists();
    until("the cluster is down", END_PATIENCE, async || Ok(gone().then_some(()))).await
}
