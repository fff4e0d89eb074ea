//! The time-weighted average of a value over a sliding window.
//!
//! The window is cut into [`BUCKETS`] buckets; each holds the integral of the value over its time. The oldest bucket lies
//! partly outside of the window and counts for the part inside. A window in which everything is zero holds no memory.

use std::time::Duration;

/// Buckets in a window: one second each in the default stable window, a tenth of it in the default panic window.
pub(crate) const BUCKETS: usize = 60;

/// One more than a window has, because a window that slides touches one bucket at each end in part.
const CELLS: usize = BUCKETS + 1;

/// A sliding window over a value that holds until the next one is recorded.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    /// Width of a bucket.
    width_ns: u64,
    /// Start of life: before it nothing is known, and nothing counts. The first bucket begins here.
    since_ns: u64,
    /// Recorded up to here, from the start of life.
    life_ns: u64,
    /// From here on, nothing but zero has been recorded.
    zero_from_ns: u64,
    /// Value times nanoseconds of each bucket, at its number modulo [`CELLS`]; empty when all are zero.
    cells: Vec<f64>,
}

impl Window {
    /// A window of `length` that begins its life at `now`.
    #[must_use]
    pub(crate) fn new(length: Duration, now: Duration) -> Self {
        Self {
            width_ns: (nanoseconds(length) / BUCKETS as u64).max(1),
            since_ns: nanoseconds(now),
            life_ns: 0,
            zero_from_ns: 0,
            cells: Vec::new(),
        }
    }

    /// Forgets everything: life begins at `now`.
    pub(crate) fn restart(&mut self, now: Duration) {
        *self = Self::new(self.length(), now);
    }

    /// The same average over a window of another length, for a policy that changed.
    #[must_use]
    pub(crate) fn resized(&self, length: Duration) -> Self {
        let known_ns = nanoseconds(length).min(self.life_ns).min(self.length_ns());
        let now_ns = self.since_ns + self.life_ns;
        let mut window = Self::new(length, Duration::from_nanos(now_ns - known_ns));
        window.record(self.average(), Duration::from_nanos(now_ns));
        window
    }

    /// The window's length.
    #[must_use]
    pub(crate) fn length(&self) -> Duration {
        Duration::from_nanos(self.length_ns())
    }

    /// The time that one bucket stands for.
    #[must_use]
    pub(crate) fn bucket(&self) -> Duration {
        Duration::from_nanos(self.width_ns)
    }

    /// Records that the value was `value` since the last record, up to `now`. A `now` in the past changes nothing.
    pub(crate) fn record(&mut self, value: f64, now: Duration) {
        let life_ns = nanoseconds(now).saturating_sub(self.since_ns);
        if life_ns <= self.life_ns {
            return;
        }
        if value == 0.0 {
            self.pass_zero(life_ns);
        } else {
            self.pass(value, life_ns);
            self.zero_from_ns = life_ns;
        }
        self.life_ns = life_ns;
    }

    /// The average over the window that ends with the last record. Until the window has been filled once, over its life;
    /// but over one bucket at least, or the first millisecond of a burst would count as much as a minute of it.
    #[must_use]
    pub(crate) fn average(&self) -> f64 {
        if self.cells.is_empty() {
            return 0.0;
        }
        let sum: f64 = self.cells.iter().sum();
        // The oldest cell: a part as long as the newest one is filled has left the window.
        let newest = self.life_ns / self.width_ns;
        let left = (self.life_ns % self.width_ns) as f64 / self.width_ns as f64;
        let oldest = self.cells[cell(newest + 1)];
        (sum - oldest * left).max(0.0) / self.life_ns.clamp(self.width_ns, self.length_ns()) as f64
    }

    /// Memory beside the struct itself.
    #[cfg(test)]
    pub(crate) fn heap_bytes(&self) -> usize {
        self.cells.capacity() * size_of::<f64>()
    }

    fn length_ns(&self) -> u64 {
        self.width_ns * BUCKETS as u64
    }

    fn pass_zero(&mut self, life_ns: u64) {
        if self.cells.is_empty() {
            return;
        }
        if life_ns - self.zero_from_ns > self.width_ns * CELLS as u64 {
            self.cells = Vec::new();
        } else {
            self.clear_up_to(life_ns);
        }
    }

    fn pass(&mut self, value: f64, life_ns: u64) {
        if self.cells.is_empty() {
            self.cells = vec![0.0; CELLS];
        } else {
            self.clear_up_to(life_ns);
        }
        // What lies further back than the cells reach would only be overwritten.
        let reach_ns = (life_ns / self.width_ns).saturating_sub(BUCKETS as u64) * self.width_ns;
        let mut from_ns = self.life_ns.max(reach_ns);
        while from_ns < life_ns {
            let bucket = from_ns / self.width_ns;
            let to_ns = life_ns.min((bucket + 1) * self.width_ns);
            self.cells[cell(bucket)] += value * (to_ns - from_ns) as f64;
            from_ns = to_ns;
        }
    }

    /// Empties the cells of the buckets that begin after the last record and up to `life_ns`.
    fn clear_up_to(&mut self, life_ns: u64) {
        let last = self.life_ns / self.width_ns;
        let newest = life_ns / self.width_ns;
        for bucket in last + 1..=newest.min(last + CELLS as u64) {
            self.cells[cell(bucket)] = 0.0;
        }
    }
}

fn cell(bucket: u64) -> usize {
    (bucket % CELLS as u64) as usize
}

/// 584 years fit.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(value: f64) -> Duration {
        Duration::from_secs_f64(value)
    }

    fn close(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-6
    }

    /// (name, values as (time, value from then on), read at, average)
    type Case = (&'static str, &'static [(f64, f64)], f64, f64);

    /// Knative's vectors for what one report of a second says.
    #[test]
    fn partly_filled_windows_are_exact() {
        let table: [Case; 5] = [
            ("one request for the whole second", &[(0.0, 1.0)], 1.0, 1.0),
            ("one request for half of the time", &[(0.0, 1.0), (3.0, 0.0)], 6.0, 0.5),
            ("one millisecond of a second", &[(0.0, 1.0), (0.001, 0.0)], 1.0, 0.001),
            ("two that overlap", &[(0.0, 1.0), (0.1, 2.0), (0.6, 1.0)], 1.0, 1.5),
            ("1 to 5, a second each", &[(0.0, 1.0), (1.0, 2.0), (2.0, 3.0), (3.0, 4.0), (4.0, 5.0)], 5.0, 3.0),
        ];
        for (name, events, read_at, average) in table {
            let mut window = Window::new(seconds(60.0), Duration::ZERO);
            for pair in events.windows(2) {
                window.record(pair[0].1, seconds(pair[1].0));
            }
            window.record(events.last().unwrap().1, seconds(read_at));
            assert!(close(window.average(), average), "{name}: {}", window.average());
        }
    }

    /// Knative's collector: 5 to 14, one a second, over 6 s and over 2 s.
    #[test]
    fn full_windows_forget_what_has_left_them() {
        let mut stable = Window::new(seconds(6.0), Duration::ZERO);
        let mut panic = Window::new(seconds(2.0), Duration::ZERO);
        for second in 0..10 {
            stable.record(f64::from(5 + second), seconds(f64::from(second + 1)));
            panic.record(f64::from(5 + second), seconds(f64::from(second + 1)));
        }
        assert!(close(stable.average(), 11.5) && close(panic.average(), 13.5));
    }

    #[test]
    fn a_constant_value_averages_to_itself_at_any_phase() {
        let mut window = Window::new(seconds(6.0), seconds(0.0317));
        for step in 1..500 {
            window.record(7.0, seconds(0.0317 + f64::from(step) * 0.0371));
            if step > 3 {
                assert!(close(window.average(), 7.0), "{step}: {}", window.average());
            }
        }
        window.record(7.0, seconds(1000.0));
        assert!(close(window.average(), 7.0), "after a long gap: {}", window.average());
    }

    #[test]
    fn the_first_moment_counts_as_one_bucket() {
        let mut window = Window::new(seconds(60.0), Duration::ZERO);
        window.record(50.0, seconds(0.004));
        assert!(close(window.average(), 0.2));
    }

    #[test]
    fn a_zero_window_holds_no_memory() {
        let mut window = Window::new(seconds(6.0), Duration::ZERO);
        window.record(3.0, seconds(1.0));
        window.record(0.0, seconds(6.9));
        assert!(window.average() > 0.0 && window.cells.capacity() > 0);
        window.record(0.0, seconds(7.2));
        assert_eq!((window.average(), window.cells.capacity()), (0.0, 0));
    }

    #[test]
    fn another_length_keeps_the_average() {
        let mut window = Window::new(seconds(60.0), Duration::ZERO);
        window.record(4.0, seconds(30.0));
        for length in [6.0, 600.0] {
            assert!(close(window.resized(seconds(length)).average(), 4.0));
        }
    }
}
