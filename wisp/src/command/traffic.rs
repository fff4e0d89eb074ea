//! `wisp traffic`, and what `wisp rollback` shares with it.

use std::io;
use std::time::Duration;

use anyhow::{anyhow, bail};
use kube::ResourceExt;
use wisp_api::ingress::TrafficTarget;
use wisp_api::status::TrafficStatus;
use wisp_api::{FunctionKey, WasmFunction};

use super::paint::{Paint, printable};
use super::table::Table;
use super::{lookup, write_json, write_text};
use crate::cli::{Output, TrafficArgs};
use crate::cluster::ready::Goal;
use crate::cluster::traffic::{Change, Now};
use crate::cluster::{Cluster, Seen, Written};
use crate::source::Source;

const INSTEAD: &str = "`wisp up` follows spec.traffic of the manifest: edit the file";
/// The operator needs no more than a moment to put it into effect.
const PATIENCE: Duration = Duration::from_secs(60);
/// Its status alone changes it several times while it scales.
const ATTEMPTS: usize = 10;

/// Shows or changes the shares of a function's revisions.
pub(super) async fn run(args: TrafficArgs, source: &Source, output: Output) -> anyhow::Result<()> {
    let cluster = source.cluster(INSTEAD)?;
    let key = source.key(&args.function);
    if args.shares.is_empty() && args.tag.is_empty() && args.untag.is_empty() {
        let (now, _) = now(cluster, source, &key).await?;
        return show(&now.effective, output);
    }
    let change = Change { shares: &args.shares, tags: &args.tag, untags: &args.untag };
    show(&changed(cluster, source, &key, |now| now.change(change)).await?, output)
}

/// Changes where a function's requests go, and waits until they do.
pub(super) async fn changed(
    cluster: &Cluster,
    source: &Source,
    key: &FunctionKey,
    change: impl Fn(&Now) -> Result<Vec<TrafficTarget>, String>,
) -> anyhow::Result<Vec<TrafficStatus>> {
    for _ in 0..ATTEMPTS {
        let (now, seen) = now(cluster, source, key).await?;
        let targets = change(&now).map_err(|problem| anyhow!(problem))?;
        if cluster.set_traffic(&seen, &targets).await? == Written::Done {
            let tell = |step: &str| eprintln!("{key}: {}", printable(step));
            return Ok(effective(&cluster.until(Goal::Seen, key, (PATIENCE, tell)).await?));
        }
    }
    bail!("{key} changes all the time; try again when that has ended")
}

/// A function as it is.
async fn now(cluster: &Cluster, source: &Source, key: &FunctionKey) -> anyhow::Result<(Now, Seen)> {
    let function = lookup::found(source, key, cluster.function(key).await?).await?;
    let seen = Seen { key: key.clone(), version: function.resource_version().unwrap_or_default() };
    let revisions = cluster.revisions(key).await?;
    let has_code = |status: &wisp_api::revision::WasmRevisionStatus| !status.artifacts.is_empty();
    let ready = revisions.into_iter().filter(|revision| revision.status.as_ref().is_some_and(has_code));
    let ready = ready.filter_map(|revision| revision.metadata.name).collect();
    let effective = effective(&function);
    Ok((Now { function: key.name.clone(), effective, targets: function.spec.traffic, ready }, seen))
}

fn effective(function: &WasmFunction) -> Vec<TrafficStatus> {
    function.status.as_ref().map(|status| status.traffic.clone()).unwrap_or_default()
}

/// Writes shares and tags.
pub(super) fn show(traffic: &[TrafficStatus], output: Output) -> anyhow::Result<()> {
    match output {
        Output::Json => write_json(&serde_json::to_vec(traffic)?)?,
        Output::Text => write_text(&table(traffic).render(Paint::of(&io::stdout()), ""))?,
    }
    Ok(())
}

/// Shares and tags, a line for each.
pub(super) fn table(traffic: &[TrafficStatus]) -> Table {
    let mut table = Table::new(["REVISION", "PERCENT", "TAG", "URL"]);
    for target in traffic {
        table.row([
            target.revision.as_str().into(),
            target.percent.to_string().into(),
            target.tag.as_deref().unwrap_or("-").into(),
            target.url.as_deref().unwrap_or("-").into(),
        ]);
    }
    table
}
