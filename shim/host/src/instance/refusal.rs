//! Whether the autoscaler takes our proof.

use std::time::Duration;

use tokio::time::Instant;

/// A proof that is not taken for this long is a wrong one. Until then the autoscaler may hear of our node's key later than the
/// node did.
const FINAL_AFTER: Duration = Duration::from_secs(5);

/// Since when it does not.
#[derive(Default)]
pub(super) struct Refusal(Option<Instant>);

impl Refusal {
    /// Each new stream hears it again.
    pub(super) fn hear(&mut self, reason: &str) {
        self.0.get_or_insert_with(|| {
            tracing::error!(reason, "the autoscaler refuses us; if it goes on, we end, and another takes our place");
            Instant::now()
        });
    }

    /// It has an order for us.
    pub(super) fn forget(&mut self) {
        self.0 = None;
    }

    pub(super) fn is_final(&self) -> bool {
        self.0.is_some_and(|since| since.elapsed() >= FINAL_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_final_when_nothing_else_is_heard() {
        let mut refusal = Refusal::default();
        refusal.hear("the key is another");
        tokio::time::advance(FINAL_AFTER / 2).await;
        refusal.hear("the key is another");
        assert!(!refusal.is_final());
        tokio::time::advance(FINAL_AFTER / 2).await;
        assert!(refusal.is_final());
        refusal.forget();
        assert!(!refusal.is_final());
    }
}
