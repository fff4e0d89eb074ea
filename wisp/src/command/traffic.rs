//! `wisp traffic`, and what `wisp rollback` shares with it.

use std::io;
use std::time::Duration;

use wisp_api::status::TrafficStatus;
use wisp_api::{FunctionKey, WasmFunction};

use super::paint::{Paint, printable};
use super::table::Table;
use super::{lookup, write_json, write_text};
use crate::cli::{Output, TrafficArgs};
use crate::cluster::Cluster;
use crate::cluster::traffic::{Change, Now};
use crate::source::Source;

const INSTEAD: &str = "`wisp up` follows spec.traffic of the manifest: edit the file";
/// The operator needs no more than a moment to put it into effect.
const PATIENCE: Duration = Duration::from_secs(60);

/// Shows or changes the shares of a function's revisions.
pub(super) async fn run(args: TrafficArgs, source: &Source, output: Output) -> anyhow::Result<()> {
    let cluster = source.cluster(INSTEAD)?;
    let key = source.key(&args.function);
    let now = now(cluster, source, &key).await?;
    if args.shares.is_empty() && args.tag.is_empty() && args.untag.is_empty() {
        return show(&now.effective, output);
    }
    let change = Change { shares: &args.shares, tags: &args.tag, untags: &args.untag };
    let targets = now.change(change).map_err(|problem| anyhow::anyhow!(problem))?;
    cluster.set_traffic(&key, &targets).await?;
    show(&in_effect(cluster, &key).await?, output)
}

/// A function as it is.
pub(super) async fn now(cluster: &Cluster, source: &Source, key: &FunctionKey) -> anyhow::Result<Now> {
    let function = lookup::found(source, key, cluster.function(key).await?).await?;
    let revisions = cluster.revisions(key).await?;
    let has_code = |status: &wisp_api::revision::WasmRevisionStatus| !status.artifacts.is_empty();
    let ready = revisions.into_iter().filter(|revision| revision.status.as_ref().is_some_and(has_code));
    let ready = ready.filter_map(|revision| revision.metadata.name).collect();
    Ok(Now { function: key.name.clone(), effective: effective(&function), targets: function.spec.traffic, ready })
}

/// Where a function's requests go once the operator has seen its spec.
pub(super) async fn in_effect(cluster: &Cluster, key: &FunctionKey) -> anyhow::Result<Vec<TrafficStatus>> {
    let tell = |step: &str| eprintln!("{key}: {}", printable(step));
    Ok(effective(&cluster.until_ready(key, PATIENCE, tell).await?))
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
