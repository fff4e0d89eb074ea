//! Orders that wait for their artifact, which somebody may be fetching at this moment.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use wisp_api::wire;

/// Between two looks: it is one system call, and a start waits for it.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What is to be done with an artifact.
pub(super) enum Wanted {
    Prepare(wire::Artifact),
    Specialize(Box<wire::HostSpec>),
}

/// An order with the time at which it came.
pub(super) struct Order {
    pub(super) wanted: Wanted,
    pub(super) asked: Instant,
}

/// All orders whose artifact was not there when it was last looked for.
pub(super) struct Waiting {
    orders: Vec<Order>,
    look_at: Instant,
}

impl Waiting {
    pub(super) fn none(now: Instant) -> Self {
        Self { orders: Vec::new(), look_at: now }
    }

    /// Lets `order` wait. To become a revision is wanted once: a later order takes the place of one that waits.
    pub(super) fn add(&mut self, order: Order, now: Instant) {
        if matches!(order.wanted, Wanted::Specialize(_)) {
            self.orders.retain(|waiting| !matches!(waiting.wanted, Wanted::Specialize(_)));
        }
        self.look_at = now + LOOK_AGAIN;
        self.orders.push(order);
    }

    /// The artifact is not to be prepared any more.
    pub(super) fn forget(&mut self, digest: &str) {
        self.orders.retain(|order| !matches!(&order.wanted, Wanted::Prepare(artifact) if artifact.digest == digest));
    }

    /// Whoever gave these orders is gone.
    pub(super) fn clear(&mut self) {
        self.orders.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.orders.len()
    }

    /// Waits until it is time to look again; for ever when nothing waits.
    pub(super) async fn due(&self) {
        if self.orders.is_empty() {
            std::future::pending::<()>().await;
        }
        sleep_until(self.look_at).await;
    }

    /// All that wait, to be tried again or added again.
    pub(super) fn take(&mut self) -> Vec<Order> {
        std::mem::take(&mut self.orders)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepare(digest: &str) -> Order {
        let artifact = wire::Artifact { digest: digest.to_owned(), path: String::new() };
        Order { wanted: Wanted::Prepare(artifact), asked: Instant::now() }
    }

    fn specialize(revision: &str) -> Order {
        let spec = wire::HostSpec { revision: revision.to_owned(), ..wire::HostSpec::default() };
        Order { wanted: Wanted::Specialize(Box::new(spec)), asked: Instant::now() }
    }

    #[tokio::test(start_paused = true)]
    async fn one_revision_is_waited_for_the_last_that_was_ordered() {
        let mut waiting = Waiting::none(Instant::now());
        for order in [prepare("a"), specialize("first"), prepare("b"), specialize("second")] {
            waiting.add(order, Instant::now());
        }
        waiting.forget("a");
        let words = waiting.take().into_iter().map(|order| match order.wanted {
            Wanted::Prepare(artifact) => artifact.digest,
            Wanted::Specialize(spec) => spec.revision,
        });
        assert_eq!(words.collect::<Vec<_>>(), ["b", "second"]);
        assert_eq!(waiting.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_looked_for_again_soon_and_only_while_something_waits() {
        let mut waiting = Waiting::none(Instant::now());
        assert!(tokio::time::timeout(Duration::from_secs(60), waiting.due()).await.is_err());
        let now = Instant::now();
        waiting.add(prepare("a"), now);
        waiting.due().await;
        assert_eq!(now.elapsed(), LOOK_AGAIN);
    }
}
