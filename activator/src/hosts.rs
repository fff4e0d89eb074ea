//! Who answers for one host. Pure.
//!
//! A host belongs to the namespace of the oldest function that claims it; functions of that namespace may share it by
//! path, and the oldest claim of a path wins. So nobody can take a path under another tenant's host.

use std::sync::Arc;

use wisp_api::key::FunctionKey;
use wisp_api::route::{FunctionRoute, HostClaim};

use crate::revision::Revision;
use crate::route;
use crate::snapshot::Conflict;

/// A function, ready to be routed to.
#[derive(Debug)]
pub(crate) struct Function {
    /// What was applied.
    pub route: FunctionRoute,
    /// The revision of each target, in the same order.
    pub revisions: Box<[Arc<Revision>]>,
}

/// One claim of a function.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    /// Who claims.
    pub function: Arc<Function>,
    index: usize,
}

/// All claims to one host.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostClaims {
    /// Those that are served, in the order of their prefixes.
    serving: Vec<Claim>,
    /// Those that lost.
    losing: Vec<Claim>,
    longest_prefix_bytes: usize,
}

impl Claim {
    fn claim(&self) -> &HostClaim {
        &self.function.route.claims[self.index]
    }

    /// The tag that it leads to.
    pub(crate) fn tag(&self) -> Option<&str> {
        self.claim().tag.as_deref()
    }

    fn prefix(&self) -> &str {
        route::normal_prefix(&self.claim().path)
    }

    /// The lower one has the older right.
    fn age(&self) -> (u64, &FunctionKey) {
        (self.function.route.created_unix_seconds, &self.function.route.function)
    }

    fn namespace(&self) -> &str {
        &self.function.route.function.namespace
    }
}

impl HostClaims {
    /// The claim with the longest prefix of `path`.
    pub(crate) fn find(&self, path: &str) -> Option<&Claim> {
        route::prefixes(path, self.longest_prefix_bytes).find_map(|prefix| {
            let at = self.serving.binary_search_by(|claim| claim.prefix().cmp(prefix)).ok()?;
            self.serving.get(at)
        })
    }

    /// The same host without the claims of this function, and with those of `new` if there is one.
    pub(crate) fn replaced(&self, key: &FunctionKey, host: &str, new: Option<&Arc<Function>>) -> Self {
        let others = self.serving.iter().chain(&self.losing).filter(|claim| claim.function.route.function != *key);
        let mut claims: Vec<Claim> = others.cloned().collect();
        if let Some(function) = new {
            let claimed = function.route.claims.iter().enumerate().filter(|(_, claim)| claim.host == host);
            claims.extend(claimed.map(|(index, _)| Claim { function: Arc::clone(function), index }));
        }
        Self::arrange(claims)
    }

    /// Whether nobody claims the host.
    pub(crate) fn is_empty(&self) -> bool {
        self.serving.is_empty()
    }

    /// Claims that lost, each with the one that has what it wants.
    pub(crate) fn conflicts(&self) -> impl Iterator<Item = Conflict> {
        self.losing.iter().filter_map(|claim| {
            let same_path = self.serving.iter().find(|other| other.prefix() == claim.prefix());
            let owner = same_path.or_else(|| self.serving.iter().min_by(|a, b| a.age().cmp(&b.age())))?;
            Some(Conflict {
                host: claim.claim().host.clone(),
                path: claim.claim().path.clone(),
                function: claim.function.route.function.clone(),
                owner: owner.function.route.function.clone(),
            })
        })
    }

    fn arrange(mut claims: Vec<Claim>) -> Self {
        claims.sort_by(|a, b| (a.prefix(), a.age()).cmp(&(b.prefix(), b.age())));
        let Some(oldest) = claims.iter().min_by(|a, b| a.age().cmp(&b.age())).cloned() else {
            return Self::default();
        };
        let mut arranged = Self::default();
        for claim in claims {
            let is_taken = arranged.serving.last().is_some_and(|last| last.prefix() == claim.prefix());
            if is_taken || claim.namespace() != oldest.namespace() {
                arranged.losing.push(claim);
            } else {
                arranged.longest_prefix_bytes = arranged.longest_prefix_bytes.max(claim.prefix().len());
                arranged.serving.push(claim);
            }
        }
        arranged.serving.shrink_to_fit();
        arranged
    }
}
