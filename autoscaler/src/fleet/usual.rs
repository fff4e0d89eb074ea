//! What starts usually take, by where the instance comes from.

use std::time::Duration;

use crate::config::Settings;
use crate::event::StartKind;

/// From a warm instance, before one was seen.
const FROM_WARM: Duration = Duration::from_millis(20);

/// Averages of what was seen, by [`source`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct UsualStarts([Option<Duration>; 2]);

impl UsualStarts {
    /// What is taken for usual before anything was seen.
    pub(super) fn expected(settings: &Settings) -> Self {
        let mut usual = Self::default();
        usual.learn(StartKind::Warm, FROM_WARM, None);
        usual.learn(StartKind::Fresh, settings.fresh_start, None);
        usual
    }

    pub(super) fn of(&self, kind: StartKind) -> Option<Duration> {
        self.0[source(kind)]
    }

    /// Takes in that a start took so long. The first one is averaged with `expected`.
    pub(super) fn learn(&mut self, kind: StartKind, took: Duration, expected: Option<Duration>) {
        let usual = &mut self.0[source(kind)];
        // A quarter for the newest: one start among many says little, be it slow or quick.
        *usual = Some(usual.or(expected).map_or(took, |usual| (usual * 3 + took) / 4));
    }
}

/// Whether the instance was warm or is a new one: that is what tells their times apart.
fn source(kind: StartKind) -> usize {
    match kind {
        StartKind::Prepared | StartKind::Warm => 0,
        StartKind::Fresh => 1,
    }
}
