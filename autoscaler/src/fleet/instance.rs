//! One instance, and the states of its life.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Name;
use super::demand::HostReport;
use crate::config::Settings;
use crate::event::{InstanceState, StartKind, StreamId};

/// An instance that should be gone is forgotten after this long, if nobody says that it is.
const STOPPING_MAX: Duration = Duration::from_secs(60);

/// A ready instance of a revision that the catalog does not have is kept this long: the catalog may come later.
const ORPHAN_GRACE: Duration = Duration::from_secs(30);

/// What a draining instance of an unknown revision gets; the default of `limits.timeout`.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// One instance.
#[derive(Debug)]
pub(super) struct Instance {
    /// What it must show when it connects.
    pub(super) token: Option<String>,
    /// The only namespace whose revisions it may get; empty for all.
    pub(super) namespace: String,
    /// Where it serves requests.
    pub(super) address: String,
    /// Requests at once.
    pub(super) slots: u32,
    /// `None` while it is not connected.
    pub(super) stream: Option<StreamId>,
    /// When it connected it said that it has no revision yet.
    pub(super) came_warm: bool,
    /// Set once, and never to another one.
    pub(super) revision: Option<Name>,
    /// Where it is in its life.
    pub(super) phase: Phase,
    /// When that began.
    pub(super) entered: Duration,
    /// When it was first heard of.
    pub(super) born: Duration,
    /// When its stream broke.
    pub(super) lost: Option<Duration>,
    /// How its start went; `None` for one that nobody asked for.
    pub(super) start: Option<StartClock>,
    /// From the decision until it was ready.
    pub(super) start_took: Duration,
    /// Digests that it holds ready.
    pub(super) prepared: BTreeSet<String>,
    /// Digests that it was told to hold ready.
    pub(super) loading: BTreeSet<String>,
    /// Digests that it could not load.
    pub(super) unloadable: BTreeSet<String>,
    /// Its last report.
    pub(super) report: Option<HostReport>,
    /// The longest that a request of its revision may take.
    pub(super) request_timeout: Duration,
}

/// Where an instance is in its life. Its transitions are in [`super::lifecycle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Started, not connected, or connected and not ready.
    Expected,
    /// Connected, without a revision.
    Warm,
    /// Told its revision.
    Claimed,
    /// An endpoint.
    Ready,
    /// Withdrawn in this update; activators have yet to confirm.
    Withdrawing { sequence: u64, cause: Withdrawal },
    /// Told to drain.
    Draining,
    /// Should be gone.
    Stopping,
}

/// Why an endpoint is withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Withdrawal {
    /// The number fell. A wake may still take it back.
    ScaleDown,
    /// Its revision is gone.
    Deleted,
    /// Its host was told to end.
    Host,
    /// Its host is not connected any more.
    Lost,
}

/// How a start went so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct StartClock {
    /// When it was decided.
    pub(super) asked: Duration,
    /// Where the instance comes from.
    pub(super) kind: StartKind,
    /// From its beginning until it connected.
    pub(super) boot: Duration,
}

impl Instance {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            token: None,
            namespace: String::new(),
            address: String::new(),
            slots: 1,
            stream: None,
            came_warm: false,
            revision: None,
            phase: Phase::Expected,
            entered: now,
            born: now,
            lost: None,
            start: None,
            start_took: Duration::ZERO,
            prepared: BTreeSet::new(),
            loading: BTreeSet::new(),
            unloadable: BTreeSet::new(),
            report: None,
            request_timeout: REQUEST_TIMEOUT,
        }
    }

    /// True while it will become ready, as far as one can tell.
    pub(super) fn is_starting(&self) -> bool {
        match self.phase {
            Phase::Expected => self.revision.is_some(),
            // An order that went into a broken stream may be lost: another instance is asked for at once.
            Phase::Claimed => self.stream.is_some(),
            _ => false,
        }
    }

    /// True for one that is there and has yet to be told what it serves.
    pub(super) fn awaits_order(&self) -> bool {
        self.phase == Phase::Expected && self.came_warm && self.stream.is_some()
    }

    /// True for a warm instance that can be told its revision now.
    pub(super) fn is_claimable_by(&self, namespace: &str) -> bool {
        let fits = self.namespace.is_empty() || self.namespace == namespace;
        self.phase == Phase::Warm && self.revision.is_none() && self.stream.is_some() && fits
    }

    /// When something has to happen in its present state; see [`super::Fleet::instance_overdue`].
    pub(super) fn deadline(&self, settings: &Settings, catalog: Catalog) -> Option<Duration> {
        let lost = self.lost.map(|lost| lost + settings.instance_grace);
        match self.phase {
            Phase::Expected => Some(self.entered + settings.start_deadline),
            Phase::Claimed => Some(self.entered + settings.specialize_deadline),
            Phase::Warm => lost,
            Phase::Ready => match catalog {
                Catalog::Knows => lost,
                Catalog::Misses => Some(lost.unwrap_or(self.entered + settings.settle + ORPHAN_GRACE)),
            },
            Phase::Withdrawing { .. } => Some(self.entered + settings.withdrawal_deadline),
            Phase::Draining => Some(self.entered + self.request_timeout + settings.drain_margin),
            Phase::Stopping => Some(self.entered + STOPPING_MAX),
        }
    }
}

/// Whether an instance's revision is in the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Catalog {
    Knows,
    Misses,
}

impl Phase {
    pub(super) fn state(self) -> InstanceState {
        match self {
            Self::Expected => InstanceState::Expected,
            Self::Warm => InstanceState::Warm,
            Self::Claimed => InstanceState::Claimed,
            Self::Ready => InstanceState::Ready,
            Self::Withdrawing { .. } => InstanceState::Withdrawing,
            Self::Draining => InstanceState::Draining,
            Self::Stopping => InstanceState::Stopping,
        }
    }
}
