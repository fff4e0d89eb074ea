//! What is to be written for one revision or one instance. Pure.

use std::collections::BTreeSet;

use wisp_api::RevisionKey;
use wisp_autoscaler::Actuation;

/// Whose writes take turns.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    /// Its claims and its number.
    Revision(RevisionKey),
    /// Its end.
    Instance(String),
}

/// Writes that wait. Levels replace their like, edges are a set: it is bounded by what there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Work {
    /// Pods to be labelled.
    pub(crate) claims: BTreeSet<String>,
    /// The number to be written, after the claims: else the operator would make what was claimed once more.
    pub(crate) replicas: Option<u32>,
    /// The pod is to be marked as one that must go.
    pub(crate) stop: bool,
    /// The pod is to be marked as one that drains.
    pub(crate) leaves: bool,
}

impl Work {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Puts back what could not be written. What was asked for since is newer.
    pub(crate) fn put_back(&mut self, left: Self) {
        self.claims.extend(left.claims);
        self.replicas = self.replicas.or(left.replicas);
        self.stop |= left.stop;
        self.leaves |= left.leaves;
    }

    /// Adds what is asked for now.
    pub(crate) fn add(&mut self, newer: Self) {
        self.claims.extend(newer.claims);
        self.replicas = newer.replicas.or(self.replicas);
        self.stop |= newer.stop;
        self.leaves |= newer.leaves;
    }
}

/// What a request of the autoscaler asks to be written; none for those that the operator does by itself.
pub(crate) fn work_of(actuation: Actuation) -> Option<(Target, Work)> {
    match actuation {
        Actuation::Claimed { instance, revision } => {
            let work = Work { claims: BTreeSet::from([instance]), ..Work::default() };
            Some((Target::Revision(revision), work))
        }
        Actuation::Scaled { revision, replicas } => {
            Some((Target::Revision(revision), Work { replicas: Some(replicas), ..Work::default() }))
        }
        Actuation::Stop { instance } => Some((Target::Instance(instance), Work { stop: true, ..Work::default() })),
        // The number follows, and the operator makes the pods, those of pools too.
        Actuation::Start { .. } | Actuation::Warm { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(replicas: u32) -> Work {
        Work { replicas: Some(replicas), ..Work::default() }
    }

    fn claim(instance: &str) -> Work {
        Work { claims: BTreeSet::from([instance.to_owned()]), ..Work::default() }
    }

    #[test]
    fn the_last_number_wins_and_claims_add_up() {
        let mut work = Work::default();
        for newer in [number(1), claim("a"), number(2), claim("b"), claim("a")] {
            work.add(newer);
        }
        assert_eq!(work.claims.len(), 2);
        assert_eq!(work.replicas, Some(2));
    }

    #[test]
    fn what_failed_does_not_undo_what_was_asked_for_since() {
        let mut work = number(3);
        work.put_back(Work { replicas: Some(1), stop: true, ..claim("a") });
        assert_eq!(work, Work { replicas: Some(3), stop: true, ..claim("a") });
        let mut nothing = Work::default();
        assert!(nothing.is_empty());
        nothing.put_back(number(1));
        assert_eq!(nothing, number(1));
    }

    #[test]
    fn starts_are_the_operators() {
        let revision = RevisionKey::new("shop", "cart-00001");
        assert_eq!(work_of(Actuation::Start { revision, count: 2 }), None);
        assert_eq!(work_of(Actuation::Warm { namespace: None, count: 2 }), None);
    }
}
