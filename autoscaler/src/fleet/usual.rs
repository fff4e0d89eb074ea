//! What starts usually take, by where the instance comes from.

use std::time::Duration;

use crate::config::Settings;
use crate::event::StartKind;

/// From a warm instance, before one was seen.
pub(super) const FROM_WARM: Duration = Duration::from_millis(20);

/// Averages of what was seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct UsualStarts {
    from_warm: Option<Duration>,
    fresh: Option<Duration>,
}

impl UsualStarts {
    /// What is taken for usual before anything was seen.
    pub(super) fn expected(settings: &Settings) -> Self {
        Self { from_warm: Some(FROM_WARM), fresh: Some(settings.fresh_start) }
    }

    pub(super) fn of(&self, kind: StartKind) -> Option<Duration> {
        match kind {
            StartKind::Prepared | StartKind::Warm => self.from_warm,
            StartKind::Fresh => self.fresh,
        }
    }

    pub(super) fn learn(&mut self, kind: StartKind, took: Duration) {
        let usual = match kind {
            StartKind::Prepared | StartKind::Warm => &mut self.from_warm,
            StartKind::Fresh => &mut self.fresh,
        };
        *usual = Some(usual.map_or(took, |usual| moved(usual, took)));
    }
}

/// A quarter for the newest: one slow start among many says little.
pub(super) fn moved(usual: Duration, newest: Duration) -> Duration {
    (usual * 3 + newest) / 4
}
