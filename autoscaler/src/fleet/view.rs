//! The fleet as others may see it.

use wisp_scaling::Observation;

use super::instance::{Instance, Phase};
use super::revision::Revision;
use super::{Fleet, Name};
use crate::snapshot::{InstanceView, RevisionView, Snapshot};

impl Fleet {
    /// Everything, for people.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut revisions: Vec<RevisionView> =
            self.revisions.iter().map(|(name, revision)| self.view_revision(name, revision)).collect();
        revisions.sort_by(|a, b| a.revision.cmp(&b.revision));
        let mut instances: Vec<InstanceView> =
            self.instances.iter().map(|(name, instance)| self.view_instance(name, instance)).collect();
        instances.sort_by(|a, b| a.instance.cmp(&b.instance));
        Snapshot {
            unix_millis: self.unix_millis(),
            settling: self.settling,
            warm: self.warm.len(),
            activators: self.activators.values().filter(|activator| activator.stream.is_some()).count(),
            cold_starts: self.cold_starts.clone(),
            revisions,
            instances,
        }
    }

    fn view_revision(&self, name: &Name, revision: &Revision) -> RevisionView {
        let Observation { waiting, in_flight, rps, ready, starting, .. } = self.observe(name);
        let members = self.members.get(name).into_iter().flatten().filter_map(|member| self.instances.get(member));
        let draining =
            members.filter(|member| matches!(member.phase, Phase::Withdrawing { .. } | Phase::Draining)).count();
        RevisionView {
            revision: name.to_string(),
            traffic: revision.record.traffic,
            wanted: revision.wanted(),
            reason: revision.last.map(|last| last.reason),
            ready,
            starting,
            draining,
            waiting,
            in_flight,
            rps,
        }
    }

    fn view_instance(&self, name: &Name, instance: &Instance) -> InstanceView {
        InstanceView {
            instance: name.to_string(),
            state: instance.phase.state(),
            connected: instance.stream.is_some(),
            revision: instance.revision.as_ref().map(ToString::to_string),
            address: instance.address.clone(),
            slots: instance.slots,
            in_flight: instance.report.map_or(0, |report| report.in_flight(self.now)),
            prepared: instance.prepared.len(),
            age: self.now.saturating_sub(instance.born),
        }
    }
}
