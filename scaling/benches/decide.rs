//! Times of a decision: `cargo bench -p wisp-scaling`. Prints numbers; asserts nothing.

use std::hint::black_box;
use std::time::Duration;

use wisp_scaling::{Decider, Observation, Policy};

const REVISIONS: u32 = 10_000;

fn main() {
    wakes();
    ticks();
}

/// The first decision of a revision at zero.
#[allow(clippy::disallowed_methods, reason = "a benchmark reads the clock; the crate does not")]
fn wakes() {
    let seen = Observation { waiting: 1, usual_start: Duration::from_millis(4), ..Observation::default() };
    let mut deciders: Vec<Decider> = (0..REVISIONS).map(|_| Decider::new(Policy::default(), Duration::ZERO)).collect();
    let mut times: Vec<Duration> = deciders
        .iter_mut()
        .map(|decider| {
            let begin = std::time::Instant::now();
            black_box(decider.decide(Duration::from_secs(100), &seen));
            begin.elapsed()
        })
        .collect();
    times.sort_unstable();
    println!("wake: p50 {:?}, p99 {:?}, max {:?}", times[5_000], times[9_900], times[9_999]);
}

/// One tick over all revisions, each of them busy.
#[allow(clippy::disallowed_methods, reason = "a benchmark reads the clock; the crate does not")]
fn ticks() {
    let mut deciders: Vec<Decider> = (0..REVISIONS).map(|_| Decider::new(Policy::default(), Duration::ZERO)).collect();
    let mut times = Vec::new();
    for tick in 1..=200_u64 {
        let now = Duration::from_millis(tick * 2_000);
        let begin = std::time::Instant::now();
        for (index, decider) in (0..).zip(&mut deciders) {
            let in_flight = index % 100 + 1;
            let seen =
                Observation { in_flight, ready: 2, usual_start: Duration::from_millis(4), ..Observation::default() };
            black_box(decider.decide(now, &seen));
        }
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    println!("tick over {REVISIONS} busy revisions: p50 {:?}, p99 {:?}", times[100], times[198]);
}
