//! The last decisions of a revision. Only a change of number or reason is worth a place.

use std::collections::VecDeque;

use wisp_scaling::Decision;

use super::{Fleet, Name};
use crate::snapshot::Explained;

/// Decisions that are kept.
const KEPT: usize = 100;

/// The last decisions of one revision, the newest last.
pub(super) type History = VecDeque<Explained>;

impl Fleet {
    pub(super) fn explain(&mut self, name: &Name, from: u32, decision: Decision) {
        let unix_millis = self.unix_millis();
        let Some(revision) = self.revisions.get_mut(name) else { return };
        let history = revision.history.get_or_insert_default();
        if history.len() == KEPT {
            history.pop_front();
        }
        history.push_back(Explained { unix_millis, from, decision });
    }

    /// The last decisions of a revision, the newest last; `None` when there is no such revision.
    pub(crate) fn explained(&self, name: &str) -> Option<Vec<Explained>> {
        let revision = self.revisions.get(name)?;
        Some(revision.history.iter().flat_map(|history| history.iter().cloned()).collect())
    }

    pub(crate) fn unix_millis(&self) -> u64 {
        u64::try_from((self.origin + self.now).as_millis()).unwrap_or(u64::MAX)
    }
}
