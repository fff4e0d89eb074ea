//! Requests to whoever runs instances, in order, while that one is busy.

use std::collections::VecDeque;

use tokio::sync::mpsc::{self, error::TrySendError};

use crate::actuation::Actuation;

/// Never blocks and never loses a request. Its length is bounded by what the fleet has open: each revision's starts
/// are asked for once until they are answered, each instance is claimed and stopped once, and levels replace their like.
pub(crate) struct Outbox {
    receiver: mpsc::Sender<Actuation>,
    waiting: VecDeque<Actuation>,
}

impl Outbox {
    pub(crate) fn new(receiver: mpsc::Sender<Actuation>) -> Self {
        Self { receiver, waiting: VecDeque::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn push(&mut self, actuation: Actuation) {
        if self.waiting.is_empty() {
            match self.receiver.try_send(actuation) {
                Err(TrySendError::Full(actuation)) => self.waiting.push_back(actuation),
                Err(TrySendError::Closed(actuation)) => {
                    tracing::warn!(?actuation, "nobody runs instances any more; this request is lost");
                }
                Ok(()) => {}
            }
            return;
        }
        match self.waiting.back_mut() {
            Some(last) if is_same_level(last, &actuation) => *last = actuation,
            _ => self.waiting.push_back(actuation),
        }
    }

    /// Hands over one request as soon as there is room. Cancelling it loses nothing.
    pub(crate) async fn flush_one(&mut self) {
        match self.receiver.reserve().await {
            Ok(room) => {
                if let Some(actuation) = self.waiting.pop_front() {
                    room.send(actuation);
                }
            }
            Err(_) => {
                tracing::warn!(lost = self.waiting.len(), "nobody runs instances any more; requests are lost");
                self.waiting.clear();
            }
        }
    }
}

fn is_same_level(a: &Actuation, b: &Actuation) -> bool {
    match (a, b) {
        (Actuation::Warm { namespace: a, .. }, Actuation::Warm { namespace: b, .. }) => a == b,
        (Actuation::Scaled { revision: a, .. }, Actuation::Scaled { revision: b, .. }) => a == b,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop(name: &str) -> Actuation {
        Actuation::Stop { instance: name.into() }
    }

    fn warm(count: u32) -> Actuation {
        Actuation::Warm { namespace: None, count }
    }

    #[tokio::test]
    async fn nothing_is_lost_and_order_is_kept_while_the_receiver_is_busy() {
        let (sender, mut receiver) = mpsc::channel(1);
        let mut outbox = Outbox::new(sender);
        for actuation in [stop("a"), stop("b"), warm(1), warm(2), stop("c")] {
            outbox.push(actuation);
        }
        let mut received = Vec::new();
        while !outbox.is_empty() || !receiver.is_empty() {
            received.push(receiver.recv().await.unwrap());
            if !outbox.is_empty() {
                outbox.flush_one().await;
            }
        }
        assert_eq!(received, [stop("a"), stop("b"), warm(2), stop("c")]);
    }
}
