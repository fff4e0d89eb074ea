//! What activators and hosts report, and how long it counts.

use std::collections::HashMap;
use std::time::Duration;

use wisp_api::wire::{DemandReport, HEARTBEAT_PERIOD, InstanceReport, REPORT_PERIOD, RevisionDemand};

use super::Name;
use crate::event::StreamId;

/// A report counts for this many periods.
const PERIODS: u32 = 3;

/// Revisions that one activator may report on. Five times what an autoscaler is made for.
const REVISIONS_MAX: usize = 50_000;

/// One activator.
#[derive(Debug)]
pub(super) struct Activator {
    /// `None` while it is disconnected.
    pub(super) stream: Option<StreamId>,
    /// When it last said anything.
    pub(super) heard: Duration,
    /// The last endpoints update that it has applied.
    pub(super) applied: u64,
    demand: HashMap<Name, Demand>,
    // How many in `demand` are not zero.
    busy: usize,
}

/// One activator's demand for one revision.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Demand {
    /// Requests that wait.
    pub(super) waiting: u32,
    /// Requests that it has forwarded and that have not ended.
    pub(super) in_flight: u32,
    rate: Rate,
}

/// What one host reports.
#[derive(Clone, Copy, Debug)]
pub(super) struct HostReport {
    at: Duration,
    in_flight: u32,
    cpu: Rate,
}

/// A counter's slope.
#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    total: u64,
    since: Duration,
    per_second: f64,
}

// === impl Activator ===

impl Activator {
    pub(super) fn new(stream: StreamId, now: Duration) -> Self {
        Self { stream: Some(stream), heard: now, applied: 0, demand: HashMap::new(), busy: 0 }
    }

    /// Takes a report, and gives back the revisions whose demand it may have changed.
    pub(super) fn report(&mut self, report: DemandReport, now: Duration) -> Vec<Name> {
        self.heard = now;
        let mut named: Vec<Name> = report.revisions.into_iter().map(|demand| self.update(&demand, now)).collect();
        if report.full {
            let kept: std::collections::HashSet<Name> = named.iter().cloned().collect();
            named.extend(self.demand.keys().filter(|name| !kept.contains(*name)).cloned());
            self.demand.retain(|name, _| kept.contains(name));
            self.busy = self.demand.values().filter(|demand| !demand.is_zero()).count();
        }
        named
    }

    /// Takes a wake.
    pub(super) fn wake(&mut self, name: &Name, waiting: u32, now: Duration) {
        self.heard = now;
        let before = self.demand.get(name).copied().unwrap_or_default();
        self.put(name.clone(), Demand { waiting: waiting.max(1), ..before });
    }

    fn update(&mut self, report: &RevisionDemand, now: Duration) -> Name {
        let (name, before) = match self.demand.get_key_value(report.revision.as_str()) {
            Some((name, demand)) => (name.clone(), Some(*demand)),
            None => (Name::from(report.revision.as_str()), None),
        };
        let mut rate = before.map_or(Rate::starting(report.requests_total, now), |demand| demand.rate);
        rate.advance(report.requests_total, now);
        self.put(name.clone(), Demand { waiting: report.waiting, in_flight: report.in_flight, rate });
        name
    }

    fn put(&mut self, name: Name, demand: Demand) {
        if self.demand.len() >= REVISIONS_MAX && !self.demand.contains_key(&name) {
            return;
        }
        self.busy += usize::from(!demand.is_zero());
        if let Some(before) = self.demand.insert(name, demand) {
            self.busy -= usize::from(!before.is_zero());
        }
    }

    /// Its demand for a revision, while its reports count.
    pub(super) fn demand(&self, name: &str, now: Duration) -> Option<&Demand> {
        self.demand.get(name).filter(|_| now < self.counts_until())
    }

    /// The revisions that it has said anything of.
    pub(super) fn revisions(&self) -> impl Iterator<Item = &Name> {
        self.demand.keys()
    }

    /// Until when its last report counts.
    pub(super) fn counts_until(&self) -> Duration {
        let period = if self.busy > 0 { REPORT_PERIOD } else { HEARTBEAT_PERIOD };
        self.heard + period * PERIODS
    }

    /// True when its silence may hide demand.
    pub(super) fn is_out_of_touch(&self, now: Duration) -> bool {
        self.stream.is_none() || now >= self.counts_until()
    }

    /// Those who wait at it have been answered. True when somebody waited.
    pub(super) fn answered(&mut self, name: &Name) -> bool {
        match self.demand.get(name).copied().filter(|demand| demand.waiting > 0) {
            Some(demand) => {
                self.put(name.clone(), Demand { waiting: 0, ..demand });
                true
            }
            None => false,
        }
    }

    /// Forgets a revision that was deleted.
    pub(super) fn forget(&mut self, name: &str) {
        if let Some(demand) = self.demand.remove(name) {
            self.busy -= usize::from(!demand.is_zero());
        }
    }
}

// === impl Demand ===

impl Demand {
    /// Requests per second.
    pub(super) fn rps(&self, now: Duration) -> f64 {
        self.rate.at_most(1.0, now)
    }

    fn is_zero(&self) -> bool {
        self.waiting == 0 && self.in_flight == 0
    }
}

// === impl HostReport ===

impl HostReport {
    /// Takes a host's report after the one before.
    pub(super) fn after(before: Option<Self>, report: &InstanceReport, now: Duration) -> Self {
        let mut cpu = before.map_or(Rate::starting(report.cpu_micros_total, now), |before| before.cpu);
        cpu.advance(report.cpu_micros_total, now);
        Self { at: now, in_flight: report.in_flight, cpu }
    }

    /// Requests in flight, while the report counts.
    pub(super) fn in_flight(&self, now: Duration) -> u32 {
        if now < self.counts_until() { self.in_flight } else { 0 }
    }

    /// Busy processors, while the report counts.
    pub(super) fn cpu(&self, now: Duration) -> f64 {
        if now < self.counts_until() { self.cpu.per_second / 1e6 } else { 0.0 }
    }

    fn counts_until(&self) -> Duration {
        let period = if self.in_flight > 0 { REPORT_PERIOD } else { HEARTBEAT_PERIOD };
        self.at + period * PERIODS
    }
}

// === impl Rate ===

impl Rate {
    fn starting(total: u64, now: Duration) -> Self {
        Self { total, since: now, per_second: 0.0 }
    }

    /// Measures over at least half a period: reports on edges come much closer, and would make it jump.
    fn advance(&mut self, total: u64, now: Duration) {
        let elapsed = now.saturating_sub(self.since);
        if elapsed < REPORT_PERIOD / 2 {
            return;
        }
        // A counter that fell belongs to a process that began anew.
        let gained = total.checked_sub(self.total).unwrap_or(total);
        *self = Self { total, since: now, per_second: gained as f64 / elapsed.as_secs_f64() };
    }

    /// The slope, given that less than `unit` was gained since it was measured. An idle reporter is silent: its last
    /// slope fades as that becomes unlikely.
    fn at_most(&self, unit: f64, now: Duration) -> f64 {
        let silent = now.saturating_sub(self.since);
        if silent <= REPORT_PERIOD { self.per_second } else { self.per_second.min(unit / silent.as_secs_f64()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Duration = Duration::from_secs(100);

    fn report(waiting: u32, in_flight: u32, requests_total: u64) -> DemandReport {
        let revision = "default/hello-00001".to_owned();
        let demand = RevisionDemand { revision, waiting, in_flight, requests_total, ..Default::default() };
        DemandReport { full: false, revisions: vec![demand] }
    }

    fn activator() -> Activator {
        Activator::new(StreamId(1), T0)
    }

    #[test]
    fn a_busy_report_counts_for_three_periods() {
        let mut activator = activator();
        activator.report(report(0, 3, 0), T0);
        let last = T0 + REPORT_PERIOD * 3 - Duration::from_millis(1);
        assert_eq!(activator.demand("default/hello-00001", last).unwrap().in_flight, 3);
        assert!(!activator.is_out_of_touch(last));
        assert!(activator.demand("default/hello-00001", T0 + REPORT_PERIOD * 3).is_none());
        assert!(activator.is_out_of_touch(T0 + REPORT_PERIOD * 3));
    }

    #[test]
    fn an_idle_activator_may_be_silent_for_three_heartbeats() {
        let mut activator = activator();
        activator.report(report(0, 3, 0), T0);
        activator.report(report(0, 0, 3), T0);
        assert!(!activator.is_out_of_touch(T0 + REPORT_PERIOD * 4));
        assert!(activator.is_out_of_touch(T0 + HEARTBEAT_PERIOD * 3));
    }

    #[test]
    fn a_full_report_replaces_all_that_was_said_before() {
        let mut activator = activator();
        activator.report(report(1, 0, 0), T0);
        let named = activator.report(DemandReport { full: true, revisions: Vec::new() }, T0);
        assert_eq!(named, [Name::from("default/hello-00001")]);
        assert!(activator.demand("default/hello-00001", T0).is_none());
    }

    #[test]
    fn the_request_rate_is_the_counters_slope_and_fades_in_silence() {
        let mut activator = activator();
        activator.report(report(0, 1, 1000), T0);
        let later = T0 + Duration::from_millis(500);
        activator.report(report(0, 0, 1100), later);
        let demand = *activator.demand("default/hello-00001", later).unwrap();
        assert!((demand.rps(later) - 200.0).abs() < 1e-9);
        assert!((demand.rps(later + Duration::from_secs(2)) - 0.5).abs() < 1e-9);
    }
}
