//! Stands where something that runs instances will be: it says what it cannot do, so that nobody waits for it.

use tokio::sync::mpsc;
use wisp_autoscaler::{Actuation, Handle, HandleError};

/// Answers requests until there are no more, or nobody to answer to.
pub(crate) async fn answer(mut requests: mpsc::Receiver<Actuation>, handle: Handle) {
    while let Some(request) = requests.recv().await {
        let answered = match request {
            Actuation::Start { revision, count } => {
                tracing::warn!(%revision, count, "cannot start instances here; connect warm ones");
                refuse(&handle, &revision, count).await
            }
            Actuation::Stop { instance } => {
                tracing::warn!(instance, "this instance should go and cannot be ended from here; end it");
                Ok(())
            }
            Actuation::Claimed { instance, revision } => {
                tracing::info!(instance, %revision, "claimed");
                Ok(())
            }
            Actuation::Scaled { revision, replicas } => {
                tracing::info!(%revision, replicas, "scaled");
                Ok(())
            }
            Actuation::Warm { .. } => Ok(()),
        };
        if answered.is_err() {
            return;
        }
    }
}

async fn refuse(handle: &Handle, revision: &wisp_api::RevisionKey, count: u32) -> Result<(), HandleError> {
    for _ in 0..count {
        handle.start_failed(revision, "NoFleet", "nothing here can start instances, and no warm one fits").await?;
    }
    Ok(())
}
