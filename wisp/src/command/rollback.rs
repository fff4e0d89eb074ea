//! `wisp rollback`.

use super::traffic::{changed, show};
use crate::cli::{Output, RollbackArgs};
use crate::cluster::traffic::Now;
use crate::source::Source;

const INSTEAD: &str = "`wisp up` follows the manifest: undo the edit, or name the revision in spec.traffic";

/// Sends all requests to an earlier revision, or to the newest again.
pub(super) async fn run(args: RollbackArgs, source: &Source, output: Output) -> anyhow::Result<()> {
    let cluster = source.cluster(INSTEAD)?;
    let key = source.key(&args.function);
    let change = |now: &Now| if args.latest { Ok(now.latest()) } else { now.rollback(args.to.as_deref()) };
    show(&changed(cluster, source, &key, change).await?, output)
}
