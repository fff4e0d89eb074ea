//! `wisp rollback`.

use super::traffic::{in_effect, now, show};
use crate::cli::{Output, RollbackArgs};
use crate::source::Source;

const INSTEAD: &str = "`wisp up` follows the manifest: undo the edit, or name the revision in spec.traffic";

/// Sends all requests to an earlier revision, or to the newest again.
pub(super) async fn run(args: RollbackArgs, source: &Source, output: Output) -> anyhow::Result<()> {
    let cluster = source.cluster(INSTEAD)?;
    let key = source.key(&args.function);
    let now = now(cluster, source, &key).await?;
    let targets = if args.latest {
        now.latest()
    } else {
        now.rollback(args.to.as_deref()).map_err(|problem| anyhow::anyhow!(problem))?
    };
    cluster.set_traffic(&key, &targets).await?;
    show(&in_effect(cluster, &key).await?, output)
}
