//! Panic mode: while a burst lasts, the short window counts and the number does not fall.

use std::time::Duration;

/// Whether a revision is in panic mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Panic {
    /// The stable window sets the number.
    Calm,
    /// The panic window sets the number, and it does not fall.
    Active {
        /// When the threshold was last passed.
        last_over: Duration,
        /// The highest number wanted since panic began.
        highest: u32,
    },
}

impl Panic {
    /// The next state. `wanted_before` is the number wanted when panic begins: below it the number does not fall.
    #[must_use]
    pub(crate) fn next(self, load: Load, now: Duration, wanted_before: u32) -> Self {
        match (self, load) {
            // Calm => Active
            (Self::Calm, Load::Over) => Self::Active { last_over: now, highest: wanted_before },
            // Active => Active, for one more stable window
            (Self::Active { highest, .. }, Load::Over) => Self::Active { last_over: now, highest },
            // Active => Calm
            (Self::Active { last_over, .. }, Load::Under { window }) if last_over + window <= now => Self::Calm,
            (state, Load::Under { .. }) => state,
        }
    }

    /// `wanted`, or the highest number since panic began, which `wanted` may raise.
    #[must_use]
    pub(crate) fn hold(&mut self, wanted: u32) -> u32 {
        match self {
            Self::Calm => wanted,
            Self::Active { highest, .. } => {
                *highest = wanted.max(*highest);
                *highest
            }
        }
    }

    /// True in panic mode.
    #[must_use]
    pub(crate) fn is_active(self) -> bool {
        self != Self::Calm
    }

    /// When panic ends if the threshold is not passed again.
    #[must_use]
    pub(crate) fn ends_at(self, window: Duration) -> Option<Duration> {
        match self {
            Self::Calm => None,
            Self::Active { last_over, .. } => Some(last_over + window),
        }
    }
}

/// The load of the panic window against the threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// At or over the threshold.
    Over,
    /// Under it.
    Under {
        /// The stable window: that long under the threshold, and panic is over.
        window: Duration,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(60);
    const UNDER: Load = Load::Under { window: WINDOW };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn panic_ends_one_stable_window_after_the_last_time_over() {
        let state = Panic::Calm.next(Load::Over, at(10), 1).next(Load::Over, at(20), 1);
        assert_eq!(state.ends_at(WINDOW), Some(at(80)));
        assert!(state.next(UNDER, at(79), 1).is_active());
        assert_eq!(state.next(UNDER, at(80), 1), Panic::Calm);
    }

    #[test]
    fn the_number_never_falls_while_it_lasts() {
        let mut state = Panic::Calm.next(Load::Over, at(0), 4);
        let held: Vec<u32> = [2, 6, 3, 7, 1].into_iter().map(|wanted| state.hold(wanted)).collect();
        assert_eq!(held, [4, 6, 6, 7, 7]);
    }
}
