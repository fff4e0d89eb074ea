//! The cluster of all tests here, without Wisp whenever one of them begins.

use std::ops::Deref;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};
use wisp_cluster::{Cluster, Lent, Shared};
use wisp_platform::{SYSTEM, installable, look, push_components, static_programs};

static CLUSTER: Shared = Shared::new(|| installable(programs()));
static TURN: Mutex<()> = Mutex::const_new(());

const CRDS: [&str; 3] = ["crd/wasmfunctions.wisp.dev", "crd/wasmrevisions.wisp.dev", "crd/warmpools.wisp.dev"];

fn programs() -> Option<PathBuf> {
    static_programs(env!("CARGO_TARGET_TMPDIR"))
}

/// A cluster that was never told of Wisp, or has been rid of it, in the hands of one test.
pub(crate) struct Bare {
    cluster: Lent,
    /// Of Wisp's image in the cluster's registry.
    pub(crate) image: String,
    _turn: MutexGuard<'static, ()>,
}

impl Deref for Bare {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

/// None where no cluster can run.
pub(crate) async fn bare() -> Option<Bare> {
    let programs = programs()?;
    let turn = TURN.lock().await;
    let cluster = CLUSTER.get().await?;
    remove(&cluster).await.unwrap();
    push_components(&cluster).await.unwrap();
    let image = cluster.push_wisp(&programs, "wisp:0.1.0").await.unwrap();
    Some(Bare { cluster, image, _turn: turn })
}

/// As docs/kubernetes.md says. Functions go first: the operator takes away what they have made.
async fn remove(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(["delete", "wf", "--all", "--all-namespaces"]).await.ok();
    helm(cluster, &["uninstall", "wisp", "--ignore-not-found", "--wait"]).await?;
    // What kubectl had applied is not Helm's to take away.
    let everywhere = "clusterroles,clusterrolebindings,runtimeclasses";
    cluster.kubectl(["delete", everywhere, "-l", "app.kubernetes.io/part-of=wisp"]).await?;
    cluster.kubectl([&["delete", "--ignore-not-found"], &CRDS[..]].concat()).await?;
    cluster.kubectl(["delete", "namespace", SYSTEM, "--ignore-not-found"]).await.map(drop)
}

/// Helm in Wisp's namespace, for what takes no values.
pub(crate) async fn helm(cluster: &Cluster, arguments: &[&str]) -> Result<String> {
    let mut helm = cluster.helm_command().await?;
    let output = helm.args(arguments).args(["--namespace", SYSTEM]).output().await.context("Helm does not run")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "helm {arguments:?}: {}: {said}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

impl Bare {
    /// The values of this cluster, with the image.
    pub(crate) fn values(&self) -> Value {
        let mut values = self.wisp_values().unwrap();
        values["image"] = self.image.clone().into();
        values
    }

    /// `helm install` or `upgrade` of the chart.
    pub(crate) async fn release(&self, verb: &[&str], values: &Value) {
        let rest = ["wisp", "deploy/chart", "--namespace", SYSTEM];
        self.expect(self.helm(&[verb, &rest].concat(), values).await).await;
    }

    /// What went well; or fails, with all that tells why.
    pub(crate) async fn expect<T>(&self, done: Result<T>) -> T {
        match done {
            Ok(done) => done,
            Err(error) => panic!("{error:#}\n{}", look(self).await),
        }
    }
}
