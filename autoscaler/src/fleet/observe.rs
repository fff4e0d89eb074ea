//! What is known of one revision now, summed over everyone who reports on it.

use std::time::Duration;

use wisp_scaling::{Observation, StartInProgress};

use super::instance::Phase;
use super::revision::Revision;
use super::{Fleet, Name};
use crate::event::StartKind;

/// The sums over one revision's instances.
#[derive(Default)]
struct Instances {
    ready: u32,
    starting: u32,
    slowest_start: Option<StartInProgress>,
    in_flight: u32,
    cpu: f64,
}

impl Fleet {
    pub(super) fn observe(&self, revision: &Name) -> Observation {
        let instances = self.observe_instances(revision);
        let mut seen = Observation {
            ready: instances.ready,
            starting: instances.starting,
            cpu: instances.cpu,
            slowest_start: instances.slowest_start,
            out_of_touch: self.activators.values().any(|activator| activator.is_out_of_touch(self.now)),
            ..Observation::default()
        };
        let announced = self.revisions.get(revision).map_or(0, |revision| revision.announced);
        let is_dirty = self.dirty.contains(revision);
        for activator in self.activators.values() {
            let Some(demand) = activator.demand(revision, self.now) else { continue };
            seen.unannounced |= demand.waiting > 0 && (is_dirty || activator.applied < announced);
            seen.waiting = seen.waiting.saturating_add(demand.waiting);
            seen.in_flight = seen.in_flight.saturating_add(demand.in_flight);
            seen.rps += demand.rps(self.now);
        }
        // Both count the same requests; the one that knows of more is right, since a silent one counts as zero.
        seen.in_flight = seen.in_flight.max(instances.in_flight);
        // Only a queue is measured by it.
        if seen.waiting > 0
            && let Some(known) = self.revisions.get(revision)
        {
            seen.usual_start = self.usual_start(Some(known), self.next_start(known));
        }
        seen
    }

    fn observe_instances(&self, revision: &Name) -> Instances {
        let mut sums = Instances::default();
        let known = self.revisions.get(revision);
        let in_progress = |kind, asked: Duration| StartInProgress {
            age: self.now.saturating_sub(asked),
            usual: self.usual_start(known, kind),
        };
        if let Some(known) = known {
            sums.starting = u32::try_from(known.requested.len()).unwrap_or(u32::MAX);
            sums.slowest_start = known.requested.front().map(|asked| in_progress(StartKind::Fresh, *asked));
        }
        for name in self.members.get(revision).into_iter().flatten() {
            let Some(instance) = self.instances.get(name) else { continue };
            if instance.phase == Phase::Ready {
                sums.ready += 1;
            } else if instance.is_starting() {
                sums.starting += 1;
                let (kind, asked) =
                    instance.start.map_or((StartKind::Fresh, instance.born), |start| (start.kind, start.asked));
                let start = in_progress(kind, asked);
                sums.slowest_start = Some(sums.slowest_start.map_or(start, |slowest| slowest.slower(start)));
            }
            if let Some(report) = &instance.report {
                sums.in_flight = sums.in_flight.saturating_add(report.in_flight(self.now));
                sums.cpu += report.cpu(self.now);
            }
        }
        sums
    }

    /// What the revision's own starts of this kind took, or those of all.
    fn usual_start(&self, revision: Option<&Revision>, kind: StartKind) -> Duration {
        let own = revision.and_then(|known| known.usual_starts.of(kind));
        own.or(self.usual_starts.of(kind)).unwrap_or_default()
    }
}
