//! Which instances go when the number falls.

use std::cmp::Reverse;
use std::time::Duration;

/// An instance that may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// It takes requests.
    pub ready: bool,
    /// Requests it is serving.
    pub in_flight: u32,
    /// Instances on its node, over all functions.
    pub node_load: u32,
    /// Time since it started.
    pub age: Duration,
}

/// The places in `candidates` of the `count` instances that go, first the one that goes first: not ready, then fewest in
/// flight, then on the most crowded node, then youngest. Each that goes makes its node no less crowded for the next:
/// the candidates do not say which of them share a node.
#[must_use]
pub fn victims(candidates: &[Candidate], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by_key(|&place| {
        let candidate = &candidates[place];
        (candidate.ready, candidate.in_flight, Reverse(candidate.node_load), candidate.age)
    });
    order.truncate(count);
    order
}
