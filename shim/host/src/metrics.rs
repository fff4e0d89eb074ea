//! What a host counts. The report travels on the control stream; an admin port shows the same where it is asked for.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Duration;

use tokio::sync::Notify;
use wisp_api::wire;

/// Upper bounds of the histograms: from an instantiation to a long request.
const BOUNDS_MICROS: [u64; 15] =
    [25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 250_000, 1_000_000, 10_000_000, 60_000_000];

/// Counters since the host started.
#[derive(Default)]
pub struct Metrics {
    in_flight: AtomicU32,
    /// Requests that a guest was given.
    pub started: AtomicU64,
    /// Of those, the ones that ended in any way.
    pub finished: AtomicU64,
    /// Of those, the ones that the host had to answer or cut itself.
    pub failed: AtomicU64,
    /// Requests that no guest was given.
    pub refused: AtomicU64,
    /// Guest CPU time.
    pub cpu_nanos: AtomicU64,
    /// Linear memory of all live wasm instances.
    pub guest_memory_bytes: AtomicU64,
    /// Lines of guests' stdout and stderr that were not written.
    pub output_dropped_lines: AtomicU64,
    /// Bytes of them.
    pub output_dropped_bytes: AtomicU64,
    /// Time to make a wasm instance.
    pub instantiate: Histogram,
    /// From the request's head to the last byte of the answer.
    pub execute: Histogram,
    edge: Notify,
    /// Somebody waits for the next edge. Without it each request would pay for waking a task that hardly ever cares.
    edge_wanted: AtomicBool,
}

impl Metrics {
    /// Requests in flight now.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(SeqCst)
    }

    /// One more in flight, if there are fewer than `slots`.
    pub fn try_enter(&self, slots: u32) -> bool {
        let before = self.in_flight.fetch_add(1, SeqCst);
        if before >= slots {
            self.in_flight.fetch_sub(1, SeqCst);
            return false;
        }
        if before == 0 {
            self.tell_edge();
        }
        true
    }

    /// One less in flight.
    pub fn leave(&self) {
        if self.in_flight.fetch_sub(1, SeqCst) == 1 {
            self.tell_edge();
        }
    }

    /// Waits until the number in flight reaches or leaves zero, as seen from `busy`: at once if it already has.
    pub async fn edge(&self, busy: bool) {
        loop {
            let told = self.edge.notified();
            self.edge_wanted.store(true, SeqCst);
            if (self.in_flight() > 0) != busy {
                break;
            }
            told.await;
        }
        self.edge_wanted.store(false, SeqCst);
    }

    /// The report as of now.
    #[must_use]
    pub fn report(&self) -> wire::InstanceReport {
        wire::InstanceReport {
            in_flight: self.in_flight(),
            started_total: self.started.load(Relaxed),
            finished_total: self.finished.load(Relaxed),
            failed_total: self.failed.load(Relaxed),
            refused_total: self.refused.load(Relaxed),
            cpu_micros_total: self.cpu_nanos.load(Relaxed) / 1000,
            guest_memory_bytes: self.guest_memory_bytes.load(Relaxed),
            instantiate: Some(self.instantiate.to_wire()),
            execute: Some(self.execute.to_wire()),
        }
    }

    fn tell_edge(&self) {
        if self.edge_wanted.load(SeqCst) {
            self.edge.notify_waiters();
        }
    }
}

/// Counts by upper bound; the last count is for what lies above all bounds.
#[derive(Default)]
pub struct Histogram {
    counts: [AtomicU64; BOUNDS_MICROS.len() + 1],
    sum_micros: AtomicU64,
}

impl Histogram {
    /// One more observation.
    pub fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let at = BOUNDS_MICROS.iter().position(|&bound| micros <= bound).unwrap_or(BOUNDS_MICROS.len());
        self.counts[at].fetch_add(1, Relaxed);
        self.sum_micros.fetch_add(micros, Relaxed);
    }

    /// Counts between bounds, in seconds; the last bound is the largest number there is.
    #[must_use]
    pub fn buckets_seconds(&self) -> Vec<(f64, u64)> {
        let bounds = BOUNDS_MICROS.iter().map(|&micros| micros as f64 / 1e6).chain([f64::MAX]);
        bounds.zip(self.counts.iter().map(|count| count.load(Relaxed))).collect()
    }

    /// Sum of all observations, in seconds.
    #[must_use]
    pub fn sum_seconds(&self) -> f64 {
        self.sum_micros.load(Relaxed) as f64 / 1e6
    }

    /// Cumulative, as the protocol wants it; the count without a bound is the total.
    fn to_wire(&self) -> wire::Histogram {
        let mut sum = 0;
        let counts = self.counts.iter().map(|count| {
            sum += count.load(Relaxed);
            sum
        });
        wire::Histogram {
            bounds_micros: BOUNDS_MICROS.to_vec(),
            counts: counts.collect(),
            sum_micros: self.sum_micros.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histogram_counts_are_cumulative() {
        let histogram = Histogram::default();
        for micros in [25, 26, 70_000_000] {
            histogram.record(Duration::from_micros(micros));
        }
        let wire = histogram.to_wire();
        assert_eq!(wire.counts[..2], [1, 2]);
        assert_eq!(wire.counts.last(), Some(&3));
        assert_eq!(wire.sum_micros, 70_000_051);
    }

    #[tokio::test]
    async fn an_edge_is_told_once_it_happens() {
        let metrics = Metrics::default();
        assert!(metrics.try_enter(1));
        assert!(!metrics.try_enter(1));
        metrics.edge(false).await;
        let (_, ()) = tokio::join!(metrics.edge(true), async { metrics.leave() });
        assert_eq!(metrics.in_flight(), 0);
    }
}
