//! Which version of the task service is announced to containerd.
//!
//! The messages of both are the same and both are served; what differs is what containerd does around them. To a pod's
//! daemon of version 3 it brings the pod's containers directly, where for version 2 it starts this program for each of
//! them, to be told the same address again. In return it says only once that the daemon of a whole pod has ended.
//! containerd 1.7 takes no version but 2, and nothing in what it gives this program tells it from 2.x. So it is asked.

use std::time::Duration;

use crate::containerd::version::version_client::VersionClient;
use crate::image::channel;

/// Each container of a pod is told of by this program.
pub(crate) const BY_CONTAINER: u32 = 2;
/// The pod's containers go to its daemon.
pub(crate) const BY_POD: u32 = 3;
/// An answer takes a millisecond. A pod is not held up for one.
const PATIENCE: Duration = Duration::from_secs(1);

/// The version for a pod of the containerd at `address`: the later one where it is known to be understood.
pub(crate) fn of_pod(address: &str) -> u32 {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return BY_CONTAINER };
    let asked = runtime.block_on(async { tokio::time::timeout(PATIENCE, release(address)).await });
    asked.ok().flatten().map_or(BY_CONTAINER, |release| understood(&release))
}

async fn release(address: &str) -> Option<String> {
    let mut client = VersionClient::new(channel(address).await.ok()?);
    client.version(()).await.ok().map(|response| response.into_inner().version)
}

/// By containerd's release, such as `v2.2.3` or `2.1.4-k3s1`. A name without a number is that of somebody's own build.
fn understood(release: &str) -> u32 {
    let major = release.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_some_and(|major| major >= 2) { BY_POD } else { BY_CONTAINER }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_to_be_new_is_taken_for_old() {
        for (release, wanted) in [
            ("v2.2.3", BY_POD),
            ("2.1.4-k3s1", BY_POD),
            ("v10.0.0", BY_POD),
            ("v1.7.29", BY_CONTAINER),
            ("1.6.26~ds1", BY_CONTAINER),
            ("main", BY_CONTAINER),
            ("", BY_CONTAINER),
        ] {
            assert_eq!(understood(release), wanted, "{release}");
        }
    }
}
