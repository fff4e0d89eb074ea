//! Load that goes on while something happens, and what became of each request.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::client::Client;

/// Load in the background.
pub(crate) struct Load {
    stop: CancellationToken,
    clients: Vec<JoinHandle<Outcomes>>,
}

/// How often each outcome was seen: a status, or an error's text.
pub(crate) type Outcomes = BTreeMap<String, u64>;

impl Load {
    /// Each of `clients` sends one request after the other, with `pause` between them.
    pub(crate) fn start(client: &Client, path: &str, clients: usize, pause: Duration) -> Self {
        let stop = CancellationToken::new();
        let one = |_| {
            let (client, path, stop) = (client.clone(), path.to_owned(), stop.clone());
            tokio::spawn(async move {
                let mut outcomes = Outcomes::new();
                while stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
                    let outcome = match client.get(&path).await {
                        Ok(answer) if answer.status.is_success() => answer.status.to_string(),
                        Ok(answer) => format!("{}: {}", answer.status, answer.body.trim()),
                        Err(error) => format!("{error:#}"),
                    };
                    *outcomes.entry(outcome).or_default() += 1;
                }
                outcomes
            })
        };
        let clients = (0..clients).map(one).collect();
        Self { stop, clients }
    }

    /// Ends it, and says what was seen.
    pub(crate) async fn end(self) -> Outcomes {
        self.stop.cancel();
        let mut all = Outcomes::new();
        for outcomes in join_all(self.clients).await {
            for (outcome, count) in outcomes.unwrap() {
                *all.entry(outcome).or_default() += count;
            }
        }
        all
    }

    /// Ends it; fails the test when a request was not answered with 200.
    pub(crate) async fn end_without_loss(self) {
        let outcomes = self.end().await;
        let lost = outcomes.keys().any(|outcome| outcome != "200 OK");
        assert!(!lost && !outcomes.is_empty(), "not all requests were answered: {outcomes:#?}");
    }
}
