//! Load that goes on while something happens, and what became of each request. It is open: a request goes out at each
//! interval, whatever became of those before, as from users who know nothing of each other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use wisp_cluster::until;

use crate::client::Client;
use crate::platform::PATIENCE;

/// Requests without an answer; more than a function's line takes, so that it would be noticed before.
const IN_FLIGHT_MAX: usize = 2000;

/// Load in the background.
pub struct Load {
    stop: CancellationToken,
    seen: Arc<Mutex<Outcomes>>,
    sender: JoinHandle<()>,
}

/// How often each outcome was seen: a status, or an error's text.
pub type Outcomes = BTreeMap<String, u64>;

impl Load {
    /// Sends a request at each `interval`.
    #[must_use]
    pub fn start(client: &Client, path: &str, every: Duration) -> Self {
        let (stop, seen) = (CancellationToken::new(), Arc::new(Mutex::default()));
        let sender = tokio::spawn(send(client.clone(), path.to_owned(), every, (Arc::clone(&seen), stop.clone())));
        Self { stop, seen, sender }
    }

    /// Waits until `count` more are answered with 200.
    ///
    /// # Errors
    /// When they are not in time.
    pub async fn until_more(&self, count: u64) -> Result<()> {
        let before = self.good();
        let more = until("requests are answered", PATIENCE, async || Ok((self.good() >= before + count).then_some(())));
        more.await
    }

    fn good(&self) -> u64 {
        self.seen.lock().unwrap().get("200 OK").copied().unwrap_or_default()
    }

    /// Ends it when all that was sent has come to an end, and says what was seen.
    ///
    /// # Panics
    /// When the sender did.
    pub async fn end(self) -> Outcomes {
        self.stop.cancel();
        self.sender.await.unwrap();
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    /// Ends it.
    ///
    /// # Panics
    /// When a request was not answered with 200, or there was none.
    pub async fn end_without_loss(self) {
        let outcomes = self.end().await;
        let lost = outcomes.keys().any(|outcome| outcome != "200 OK");
        assert!(!lost && !outcomes.is_empty(), "not all requests were answered: {outcomes:#?}");
    }
}

async fn send(client: Client, path: String, every: Duration, (seen, stop): (Arc<Mutex<Outcomes>>, CancellationToken)) {
    let (mut ticks, mut flying) = (interval(every), JoinSet::new());
    // A test that was held up itself does not make up for it in a burst.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        while flying.try_join_next().is_some() {}
        if flying.len() >= IN_FLIGHT_MAX {
            note(&seen, "not sent: too many have no answer");
            continue;
        }
        let (client, path, seen) = (client.clone(), path.clone(), Arc::clone(&seen));
        flying.spawn(async move {
            let outcome = match client.get(&path).await {
                Ok(answer) if answer.status.is_success() => answer.status.to_string(),
                Ok(answer) => format!("{}: {}", answer.status, answer.body.trim()),
                Err(error) => format!("{error:#}"),
            };
            note(&seen, &outcome);
        });
    }
    while flying.join_next().await.is_some() {}
}

fn note(seen: &Mutex<Outcomes>, outcome: &str) {
    *seen.lock().unwrap().entry(outcome.to_owned()).or_default() += 1;
}
