//! Marks the pods of instances that drain: they serve what they have and nothing new, so that the operator must not
//! count them when it looks for how many are missing.

use std::sync::Arc;

use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio_util::sync::CancellationToken;
use wisp_autoscaler::{Fact, Happened, InstanceState};

use super::actuator::Actuator;

/// Follows what happens in the fleet until `shutdown`.
pub(crate) async fn follow(mut facts: Receiver<Happened>, actuator: Arc<Actuator>, shutdown: CancellationToken) {
    loop {
        let happened = tokio::select! {
            () = shutdown.cancelled() => return,
            happened = facts.recv() => happened,
        };
        match happened {
            Ok(Happened { fact: Fact::Instance { instance, to: Some(InstanceState::Draining), .. }, .. }) => {
                actuator.leaves(instance);
            }
            Ok(_) => {}
            // Those of whom it was not heard are missed only where a new one is wanted before they have gone.
            Err(RecvError::Lagged(missed)) => tracing::debug!(missed, "could not follow the fleet"),
            Err(RecvError::Closed) => return,
        }
    }
}
