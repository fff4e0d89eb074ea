//! Keeps the servers' certificate fresh for as long as the process runs: renews it when it is time, and brings what
//! anybody wrote to whoever serves with it.

use std::time::Duration;

use kube::Client;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::bootstrap::{self, Certificate};

/// A certificate is renewed months before its end; one that somebody replaces should be served soon.
const LOOK: Duration = Duration::from_secs(300);

/// Looks until it is dropped.
pub async fn follow(client: Client, namespace: String, served: watch::Sender<Certificate>) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        match bootstrap::certificate(&client, &namespace).await {
            Ok(found) => {
                let is_new = |serving: &mut Certificate| std::mem::replace(serving, found.clone()) != found;
                served.send_if_modified(is_new);
            }
            Err(error) => tracing::warn!(error = format!("{error:#}"), "the servers' certificate cannot be looked at"),
        }
    }
}
