//! `wisp deploy`.

use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use tokio::time::Instant;
use wisp_api::WasmFunction;

use super::paint::printable;
use super::{write_json, write_text};
use crate::cli::{DeployArgs, Output};
use crate::cluster::Cluster;
use crate::cluster::manifests::{Kind, Planned, Wishes, plan};
use crate::cluster::push::{Repository, Scheme};
use crate::cluster::ready::Goal;
use crate::source::Source;
use crate::up::manifest;

const INSTEAD: &str = "`wisp up` runs the manifests of the files and folders that it is given, and follows their edits";

/// Puts functions on a cluster and waits until they are ready.
pub(super) async fn run(args: DeployArgs, source: &Source, output: Output) -> anyhow::Result<()> {
    let cluster = source.cluster(INSTEAD)?;
    let mut planned = read(&args, cluster)?;
    push(&args, &mut planned).await?;
    for object in &planned {
        cluster.apply(object).await?;
        eprintln!("{object} is applied");
    }
    let deadline = Instant::now() + Duration::from_secs(args.timeout);
    let mut ready = Vec::new();
    for function in planned.iter().filter(|planned| planned.kind == Kind::WasmFunction && args.timeout > 0) {
        let key = function.key();
        let patience = deadline.saturating_duration_since(Instant::now());
        let tell = |step: &str| eprintln!("{key}: {}", printable(step));
        let found = cluster.until(Goal::Ready, &key, (patience, tell)).await?;
        if output == Output::Text {
            write_text(&sentence(&found))?;
        }
        ready.push(found);
    }
    if output == Output::Json {
        let all: Vec<_> = ready.iter().map(summary).collect();
        write_json(&serde_json::to_vec(&all)?)?;
    }
    Ok(())
}

/// All objects of the manifests, when nothing is wrong with any.
fn read(args: &DeployArgs, cluster: &Cluster) -> anyhow::Result<Vec<Planned>> {
    let (documents, problems) = manifest::documents(&args.paths);
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    let wishes = Wishes {
        default_namespace: &cluster.namespace,
        namespace: args.namespace.as_deref(),
        component: args.component.as_deref(),
    };
    plan(documents, wishes).map_err(|problems| anyhow!(problems))
}

/// Makes images of all components that are files.
async fn push(args: &DeployArgs, planned: &mut [Planned]) -> anyhow::Result<()> {
    let scheme = if args.plain_http { Scheme::Http } else { Scheme::Https };
    for function in planned {
        let Some(component) = function.component.clone() else { continue };
        let name = args.push.clone().with_context(|| {
            format!(
                "{function}: a cluster cannot read {}; give --push REGISTRY/REPOSITORY, from where it can pull",
                component.path.display()
            )
        })?;
        let repository = Repository { name, ca: args.registry_ca.clone(), scheme };
        let image = repository.push(&function.name, &component).await?;
        eprintln!("{function} is pushed as {image}");
        function.run_image(&image);
    }
    Ok(())
}

fn sentence(function: &WasmFunction) -> String {
    let status = function.status.clone().unwrap_or_default();
    let name = function.metadata.name.as_deref().unwrap_or_default();
    let (url, latest) = (status.url.or(status.address).unwrap_or_default(), status.latest_ready_revision);
    let mut text = format!("{name} is ready: {url}\n");
    let latest = latest.unwrap_or_default();
    if !status.traffic.iter().any(|target| target.percent > 0 && target.revision == latest) {
        let shares = status.traffic.iter().filter(|target| target.percent > 0);
        let shares: Vec<String> = shares.map(|target| format!("{} {}%", target.revision, target.percent)).collect();
        let namespace = function.metadata.namespace.as_deref().unwrap_or_default();
        text += &format!(
            "{latest} gets no requests, as spec.traffic says: {}; `kubectl wisp rollback {name} -n {namespace} --latest` \
             sends them there\n",
            shares.join(", ")
        );
    }
    text
}

fn summary(function: &WasmFunction) -> serde_json::Value {
    let status = function.status.clone().unwrap_or_default();
    serde_json::json!({
        "namespace": function.metadata.namespace,
        "name": function.metadata.name,
        "url": status.url.or(status.address),
        "revision": status.latest_ready_revision,
        "image": function.spec.component.image,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_deploys_behind_a_rollback_is_told() {
        let function = |serving: &str| -> WasmFunction {
            serde_json::from_value(json!({
                "apiVersion": "wisp.dev/v1alpha1", "kind": "WasmFunction", "metadata": {"name": "hello"},
                "spec": {"component": {"image": "r/hello:1"}},
                "status": {"url": "http://hello.example.com", "latestReadyRevision": "hello-00002", "replicas": 0,
                           "traffic": [{"revision": serving, "percent": 100}]},
            }))
            .unwrap()
        };
        assert_eq!(sentence(&function("hello-00002")), "hello is ready: http://hello.example.com\n");
        let text = sentence(&function("hello-00001"));
        assert!(text.contains("hello-00002 gets no requests, as spec.traffic says: hello-00001 100%;"), "{text}");
    }
}
