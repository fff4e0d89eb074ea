//! What one revision asks of the instances.

use crate::admission::Admission;

/// Requests of one revision, now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Demand {
    /// Requests in line.
    pub waiting: u32,
    /// Requests that have a slot.
    pub in_flight: u32,
}

impl Demand {
    pub(crate) fn of<W, E: Clone>(line: &Admission<W, E>) -> Self {
        Self { waiting: line.waiting(), in_flight: line.in_flight() }
    }

    pub(crate) fn is_zero(self) -> bool {
        self == Self::default()
    }
}
