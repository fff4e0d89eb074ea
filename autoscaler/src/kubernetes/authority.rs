//! Whether this leader may write. While the API server is away nobody knows who will lead when it is back.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wisp_kubernetes::Tenure;

/// What all who write go by.
#[derive(Clone, Debug)]
pub(crate) struct Authority {
    tenure: watch::Receiver<Tenure>,
    shutdown: CancellationToken,
}

impl Authority {
    /// Of a process that has just begun to lead; the lease tells how it goes on.
    pub(crate) fn new(shutdown: CancellationToken) -> (watch::Sender<Tenure>, Self) {
        let (told, tenure) = watch::channel(Tenure::Sure);
        (told, Self { tenure, shutdown })
    }

    /// Waits until this process may write. False when it ends instead.
    pub(crate) async fn is_given(&self) -> bool {
        let mut tenure = self.tenure.clone();
        // What was decided before the end is still written.
        if *tenure.borrow() == Tenure::Sure {
            return true;
        }
        let is_sure = async { tenure.wait_for(|now| *now == Tenure::Sure).await.is_ok() };
        self.shutdown.run_until_cancelled(is_sure).await.unwrap_or(false)
    }

    /// Waits until it may no longer.
    pub(crate) async fn is_withdrawn(&self) {
        let mut tenure = self.tenure.clone();
        // The other end is gone when the process ends.
        let _ended = tenure.wait_for(|now| *now != Tenure::Sure).await;
    }

    /// Waits until the process ends.
    pub(crate) async fn ends(&self) {
        self.shutdown.cancelled().await;
    }
}
