//! What a test does to a cluster under load, and how it makes it whole again.

use anyhow::{Context, Result};

use crate::call;
use crate::cluster::Cluster;
use crate::component::Component;

/// Kills each process whose container's host name is `$1`: every container of a pod has the pod's name there, and only the
/// pause container has no environment.
const KILL_OF_POD: &str = r#"found=
for process in /proc/[0-9]*; do
    if { tr '\0' '\n' < "$process/environ" | grep -qx "HOSTNAME=$1"; } 2>/dev/null; then
        kill -KILL "${process#/proc/}" && found=1
    fi
done
[ "$found" ]"#;

impl Cluster {
    /// Kills the processes of a pod, which the kubelet then starts again or not, as the pod says. The pod itself stays.
    ///
    /// # Errors
    /// When none of its processes runs.
    pub async fn kill_processes_of(&self, pod: &str) -> Result<()> {
        let killed = self.exec(["bash", "-c", KILL_OF_POD, "kill", pod]).await;
        killed.map(drop).with_context(|| format!("no process of pod {pod} runs"))
    }

    /// Whether a component's process is there, at work or standing still.
    ///
    /// # Errors
    /// When the node is gone.
    pub async fn runs(&self, component: Component) -> Result<bool> {
        let looks = self.exec_command(["bash", "-c", r#"kill -0 "$(<"$STATE/pids/$1")""#, "look", component.name()])?;
        Ok(call::output(looks).await.is_ok())
    }

    /// Starts what has ended and wakes what stands still, so that one test's disturbance is not the next one's.
    ///
    /// # Errors
    /// When the node is gone.
    pub async fn mend(&self) -> Result<()> {
        for component in Component::ALL {
            if self.runs(component).await? {
                self.resume(component).await?;
            } else {
                self.start_component(component).await?;
            }
        }
        Ok(())
    }
}
