//! When which revisions' demand is told to the autoscaler: at once when it leaves or reaches zero, else while it lasts.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use wisp_api::wire::{DemandReport, HEARTBEAT_PERIOD, REPORT_PERIOD, RevisionDemand};

use crate::revision::Revision;

/// Edges closer than this are told together: a client with one request after the other makes thousands each second.
const EDGE_GAP: Duration = Duration::from_millis(10);

/// What is to be reported, and when.
#[derive(Debug)]
pub(crate) struct Reports {
    /// Revisions that had demand when they were last told.
    busy: HashMap<Box<str>, Arc<Revision>>,
    /// Revisions whose demand left or reached zero since.
    edges: Vec<Arc<Revision>>,
    edges_due_at: Instant,
    busy_due_at: Instant,
    heartbeat_due_at: Instant,
}

/// What is due.
#[derive(Debug, Default)]
pub(crate) struct Due {
    /// To be sent.
    pub report: Option<DemandReport>,
    /// Revisions that have come to rest.
    pub rested: Vec<Arc<Revision>>,
}

impl Reports {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            busy: HashMap::new(),
            edges: Vec::new(),
            edges_due_at: now,
            busy_due_at: now + REPORT_PERIOD,
            heartbeat_due_at: now + HEARTBEAT_PERIOD,
        }
    }

    /// A revision's demand left or reached zero.
    pub(crate) fn edge(&mut self, revision: Arc<Revision>) {
        self.edges.push(revision);
    }

    /// Requests that waited may have been given to new endpoints: told at once, so that nothing more is started for them.
    pub(crate) fn served<'a>(&mut self, revisions: impl Iterator<Item = &'a str>, now: Instant) {
        let told = self.edges.len();
        self.edges.extend(revisions.filter_map(|name| self.busy.get(name).cloned()));
        if self.edges.len() > told {
            self.edges_due_at = now;
        }
    }

    /// All that there is to tell, after a connection was made.
    pub(crate) fn full(&mut self, revisions: &[Arc<Revision>], now: Instant) -> DemandReport {
        self.heartbeat_due_at = now + HEARTBEAT_PERIOD;
        let known = revisions.iter().map(|revision| demand(revision)).filter(|demand| demand.requests_total > 0);
        DemandReport { full: true, revisions: known.collect() }
    }

    /// What is due now.
    pub(crate) fn due(&mut self, now: Instant) -> Due {
        let mut due = Due::default();
        if self.busy_due_at <= now {
            self.busy_due_at = now + REPORT_PERIOD;
            self.edges.drain(..).for_each(|edge| see(&mut self.busy, edge));
            let told = tell(self.busy.values());
            self.busy.retain(|_, revision| {
                let is_busy = !revision.demand().is_zero();
                due.rested.extend((!is_busy).then(|| Arc::clone(revision)));
                is_busy
            });
            due.report = told;
        } else if self.edges_due().is_some_and(|at| at <= now) {
            let edges = std::mem::take(&mut self.edges);
            edges.iter().for_each(|edge| see(&mut self.busy, Arc::clone(edge)));
            self.edges_due_at = now + EDGE_GAP;
            due.report = tell(edges.iter());
        } else if self.heartbeat_due_at <= now {
            due.report = Some(DemandReport::default());
        }
        if due.report.is_some() {
            self.heartbeat_due_at = now + HEARTBEAT_PERIOD;
        }
        due
    }

    /// When something is due next.
    pub(crate) fn next(&self) -> Instant {
        let next = if self.busy.is_empty() { self.heartbeat_due_at } else { self.busy_due_at };
        let next = next.min(self.heartbeat_due_at);
        self.edges_due().map_or(next, |at| next.min(at))
    }

    fn edges_due(&self) -> Option<Instant> {
        (!self.edges.is_empty()).then_some(self.edges_due_at)
    }
}

/// From here on the revision signals its next edge again, so that no later one is lost.
fn see(busy: &mut HashMap<Box<str>, Arc<Revision>>, revision: Arc<Revision>) {
    revision.edge_seen();
    busy.insert(revision.name.clone(), revision);
}

fn tell<'a>(revisions: impl Iterator<Item = &'a Arc<Revision>>) -> Option<DemandReport> {
    let revisions: Vec<_> = revisions.map(|revision| demand(revision)).collect();
    (!revisions.is_empty()).then_some(DemandReport { full: false, revisions })
}

fn demand(revision: &Revision) -> RevisionDemand {
    let now = revision.demand();
    RevisionDemand {
        revision: revision.name.to_string(),
        waiting: now.waiting,
        in_flight: now.in_flight,
        requests_total: revision.totals.requests.load(Ordering::Relaxed),
        failed_total: revision.totals.failed.load(Ordering::Relaxed),
        refused_total: revision.totals.refused.load(Ordering::Relaxed),
    }
}
