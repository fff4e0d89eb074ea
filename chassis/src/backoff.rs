//! Exponential back-off with jitter.

use std::time::Duration;

/// Waits that double from `first` up to `cap`, each shortened at random by up to a half, so that many who failed
/// together do not come back together.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    next: Duration,
}

impl Backoff {
    /// Begins at `first` and never exceeds `cap`.
    #[must_use]
    pub fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, next: first }
    }

    /// The next wait.
    pub fn wait(&mut self) -> Duration {
        let full = self.next;
        self.next = (full * 2).min(self.cap);
        full.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// It worked: begin anew.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_begin_anew() {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(35));
        for full in [10, 20, 35, 35] {
            let wait = backoff.wait();
            assert!(wait >= Duration::from_millis(full) / 2 && wait <= Duration::from_millis(full), "{wait:?}");
        }
        backoff.reset();
        assert!(backoff.wait() <= Duration::from_millis(10));
    }
}
