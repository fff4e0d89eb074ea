//! What is known of one revision now, summed over everyone who reports on it.

use std::time::Duration;

use wisp_scaling::Observation;

use super::instance::Phase;
use super::{Fleet, Name};

/// The sums over one revision's instances.
#[derive(Default)]
struct Instances {
    ready: u32,
    starting: u32,
    oldest_asked: Option<Duration>,
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
            oldest_start: instances.oldest_asked.map(|asked| self.now.saturating_sub(asked)),
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
        if let Some(known) = self.revisions.get(revision) {
            seen.typical_start = known.typical_start;
        }
        seen
    }

    fn observe_instances(&self, revision: &Name) -> Instances {
        let mut sums = Instances::default();
        if let Some(known) = self.revisions.get(revision) {
            sums.starting = u32::try_from(known.requested.len()).unwrap_or(u32::MAX);
            sums.oldest_asked = known.requested.front().copied();
        }
        for name in self.members.get(revision).into_iter().flatten() {
            let Some(instance) = self.instances.get(name) else { continue };
            if instance.phase == Phase::Ready {
                sums.ready += 1;
            } else if instance.is_starting() {
                sums.starting += 1;
                let asked = instance.start.map_or(instance.born, |start| start.asked);
                sums.oldest_asked = Some(sums.oldest_asked.map_or(asked, |oldest| oldest.min(asked)));
            }
            if let Some(report) = &instance.report {
                sums.in_flight = sums.in_flight.saturating_add(report.in_flight(self.now));
                sums.cpu += report.cpu(self.now);
            }
        }
        sums
    }
}
