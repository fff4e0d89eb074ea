//! Clients that ask without a pause.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::task::JoinSet;

use super::{Answer, Connection, Wisp, get, host, until};

/// Clients that ask one function, each again as soon as it is answered, over a new connection.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: JoinSet<Vec<Result<Answer, String>>>,
}

impl Load {
    pub(crate) fn start(wisp: &Wisp, clients: usize, function: &str, path: &str) -> Self {
        let mut load = Self { stop: Arc::default(), answered: Arc::default(), clients: JoinSet::new() };
        for _ in 0..clients {
            let (stop, answered) = (Arc::clone(&load.stop), Arc::clone(&load.answered));
            load.clients.spawn(ask(wisp.requests, (host(function), path.to_owned()), stop, answered));
        }
        load
    }

    /// Waits until so many more requests were answered.
    pub(crate) async fn until_answered(&self, more: usize) {
        let enough = self.answered.load(Ordering::Relaxed) + more;
        until("requests are answered", async || self.answered.load(Ordering::Relaxed) >= enough).await;
    }

    /// Lets each client finish; returns all answers.
    pub(crate) async fn stop(self) -> Vec<Result<Answer, String>> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.join_all().await.into_iter().flatten().collect()
    }

    /// Lets each client finish; every answer must have been a 200.
    pub(crate) async fn stop_without_loss(self) {
        let answers = self.stop().await;
        assert!(!answers.is_empty());
        let lost: BTreeMap<String, usize> =
            answers.iter().filter_map(failure).fold(BTreeMap::new(), |mut lost, what| {
                *lost.entry(what).or_default() += 1;
                lost
            });
        assert!(lost.is_empty(), "of {} requests: {lost:#?}", answers.len());
    }
}

/// What is wrong with an answer, if anything.
fn failure(answer: &Result<Answer, String>) -> Option<String> {
    match answer {
        Ok(answer) if answer.status == 200 => None,
        Ok(answer) => Some(format!("{} {} {}", answer.status, answer.error(), answer.body)),
        Err(error) => Some(error.clone()),
    }
}

async fn ask(
    address: SocketAddr,
    (host, path): (String, String),
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
) -> Vec<Result<Answer, String>> {
    let mut answers = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        answers.push(Connection::to(address).await.send(get(&host, &path)).await);
        answered.fetch_add(1, Ordering::Relaxed);
    }
    answers
}
