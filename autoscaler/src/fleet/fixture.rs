//! A world around the fleet: activators and hosts that do what real ones do, and time that only moves when told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wisp_api::RevisionKey;
use wisp_api::scaling::ScheduledMinimum;
use wisp_api::wire::{
    Artifact, DemandHello, DemandReport, DemandUp, Draining, EndpointsApplied, EndpointsUpdate, HostLimits, HostSpec,
    InstanceFailed, InstanceHello, InstanceReady, InstanceReport, InstanceState, InstanceUp, PROTOCOL, Prepared,
    RevisionDemand, StartFailed, Wake, demand_down, demand_up, instance_down, instance_up,
};
use wisp_scaling::Policy;

use super::Fleet;
use crate::actuation::Actuation;
use crate::catalog::{RevisionRecord, Start, Traffic};
use crate::config::{Admission, Settings};
use crate::event::{Effect, Event, Fact, StreamId};

/// A Tuesday, 12:00 UTC.
const ORIGIN: Duration = Duration::from_secs(1_795_521_600);

pub(super) struct World {
    pub(super) fleet: Fleet,
    settings: Settings,
    /// When the fleet began.
    began: Duration,
    pub(super) now: Duration,
    pub(super) activators: BTreeMap<String, ModelActivator>,
    pub(super) hosts: BTreeMap<String, ModelHost>,
    pub(super) actuations: Vec<Actuation>,
    pub(super) facts: Vec<Fact>,
    streams: BTreeMap<StreamId, String>,
    last_stream: u64,
}

#[derive(Default)]
pub(super) struct ModelActivator {
    pub(super) stream: Option<StreamId>,
    pub(super) endpoints: BTreeMap<String, Vec<String>>,
    pub(super) slots: BTreeMap<String, u32>,
    pub(super) failures: Vec<StartFailed>,
    pub(super) confirms: Confirms,
    demand: BTreeMap<String, (u32, u32)>,
    sequence: u64,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Confirms {
    #[default]
    AtOnce,
    Never,
}

#[derive(Default)]
pub(super) struct ModelHost {
    pub(super) stream: Option<StreamId>,
    /// Every revision that it was ever told.
    pub(super) given: BTreeSet<String>,
    pub(super) ready: bool,
    pub(super) namespace: String,
    pub(super) drains: u32,
    pub(super) prepared: BTreeSet<String>,
    pub(super) preparing: Vec<String>,
    pub(super) forgot: Vec<String>,
}

pub(super) fn revision(function: &str) -> RevisionRecord {
    RevisionRecord {
        key: key(function),
        spec: HostSpec {
            namespace: "default".into(),
            function: function.into(),
            revision: format!("{function}-00001"),
            artifact: Some(Artifact { digest: format!("sha256:{function}"), path: format!("/store/{function}") }),
            limits: Some(HostLimits { timeout_millis: 30_000, ..HostLimits::default() }),
            ..HostSpec::default()
        },
        artifact_bytes: 1 << 20,
        policy: Policy::default(),
        schedule: Vec::new(),
        traffic: Traffic::Active,
        start: Start::Warm,
        lacks: None,
    }
}

impl RevisionRecord {
    pub(super) fn min(mut self, min: u32) -> Self {
        self.policy.min = min;
        self
    }

    pub(super) fn max(mut self, max: u32) -> Self {
        self.policy.max = max;
        self
    }

    pub(super) fn initial(mut self, initial: u32) -> Self {
        self.policy.initial = initial;
        self
    }

    pub(super) fn inactive(mut self) -> Self {
        self.traffic = Traffic::Inactive;
        self
    }

    pub(super) fn fresh(mut self) -> Self {
        self.start = Start::Fresh;
        self
    }

    pub(super) fn in_namespace(mut self, namespace: &str) -> Self {
        self.key.namespace = namespace.into();
        self.spec.namespace = namespace.into();
        self
    }

    pub(super) fn at_least_from_one_past_noon_for_an_hour(mut self, min: u32) -> Self {
        self.schedule.push(ScheduledMinimum {
            cron: "1 12 * * *".into(),
            time_zone: "UTC".into(),
            min,
            duration: Duration::from_secs(3600).into(),
        });
        self
    }
}

pub(super) fn key(function: &str) -> RevisionKey {
    RevisionKey::new("default", format!("{function}-00001"))
}

pub(super) fn name(function: &str) -> String {
    key(function).to_string()
}

pub(super) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(Settings::default())
    }

    pub(super) fn with(settings: Settings) -> Self {
        let mut world = Self {
            fleet: Fleet::new(settings.clone(), ORIGIN),
            settings,
            began: Duration::ZERO,
            now: Duration::ZERO,
            activators: BTreeMap::new(),
            hosts: BTreeMap::new(),
            actuations: Vec::new(),
            facts: Vec::new(),
            streams: BTreeMap::new(),
            last_stream: 0,
        };
        world.tell(Event::Tick);
        world
    }

    // ---- what happens ----

    /// Another leader takes over, which knows nothing yet. All streams end.
    pub(super) fn new_leader(&mut self) {
        self.fleet = Fleet::new(self.settings.clone(), ORIGIN);
        self.began = self.now;
        self.streams.clear();
        for host in self.hosts.values_mut() {
            (host.stream, host.preparing) = (None, Vec::new());
        }
        for activator in self.activators.values_mut() {
            (activator.stream, activator.sequence) = (None, 0);
            activator.endpoints.clear();
        }
        self.tell(Event::Tick);
    }

    pub(super) fn apply(&mut self, record: RevisionRecord) {
        let checked = record.check().expect("fixtures are valid");
        self.tell(Event::Apply(Box::new(checked)));
    }

    pub(super) fn delete(&mut self, function: &str) {
        self.tell(Event::Delete(key(function)));
    }

    /// Time passes; connected activators report as they must.
    pub(super) fn after(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.now = (self.now + Duration::from_millis(250)).min(end);
            let names: Vec<String> = self.activators.keys().cloned().collect();
            names.iter().for_each(|name| self.report(name));
            self.tell(Event::Tick);
        }
    }

    /// Time passes, and activators are silent.
    pub(super) fn after_silent(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(due) = self.fleet.next_due().map(|due| self.began + due).filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.tell(Event::Tick);
        }
        self.now = end;
        self.tell(Event::Tick);
    }

    pub(super) fn activator(&mut self, name: &str) {
        let stream = self.open(name);
        self.activators.entry(name.into()).or_default().stream = Some(stream);
        let hello = DemandHello { protocol: PROTOCOL, activator: name.into(), token: String::new() };
        self.activator_says(name, demand_up::Message::Hello(hello));
    }

    pub(super) fn wake(&mut self, activator: &str, function: &str, waiting: u32) {
        self.activator_mut(activator).demand.insert(name(function), (waiting, 0));
        self.activator_says(activator, demand_up::Message::Wake(Wake { revision: name(function), waiting }));
    }

    /// Nobody waits, and so many requests are in flight.
    pub(super) fn in_flight(&mut self, activator: &str, function: &str, in_flight: u32) {
        self.activator_mut(activator).demand.insert(name(function), (0, in_flight));
        self.report(activator);
    }

    pub(super) fn report(&mut self, activator: &str) {
        let demand = &self.activator_mut(activator).demand;
        let revisions = demand.iter().map(|(revision, (waiting, in_flight))| RevisionDemand {
            revision: revision.clone(),
            waiting: *waiting,
            in_flight: *in_flight,
            ..RevisionDemand::default()
        });
        let report = DemandReport { full: true, revisions: revisions.collect() };
        self.activator_says(activator, demand_up::Message::Report(report));
    }

    pub(super) fn confirm(&mut self, activator: &str) {
        let sequence = self.activator_mut(activator).sequence;
        self.activator_says(activator, demand_up::Message::Applied(EndpointsApplied { sequence }));
    }

    pub(super) fn lose_activator(&mut self, activator: &str) {
        if let Some(stream) = self.activator_mut(activator).stream.take() {
            self.tell(Event::Closed(stream));
        }
    }

    pub(super) fn expect(&mut self, instance: &str, function: Option<&str>) {
        let (instance, token, revision) = (instance.into(), format!("token-{instance}"), function.map(key));
        self.tell(Event::Expected { instance, token, revision });
    }

    /// A warm instance is started and connects.
    pub(super) fn warm(&mut self, instance: &str) {
        self.expect(instance, None);
        self.hello(instance, InstanceState::Warm, "");
    }

    /// A fresh instance is started for a function and announces itself.
    pub(super) fn fresh(&mut self, instance: &str, function: &str) {
        self.expect(instance, Some(function));
        self.hello(instance, InstanceState::Ready, &name(function));
    }

    pub(super) fn hello(&mut self, instance: &str, state: InstanceState, revision: &str) {
        let stream = self.open(instance);
        let is_forgotten = !self.fleet.instances.contains_key(instance);
        let host = self.hosts.entry(instance.into()).or_default();
        host.stream = Some(stream);
        if is_forgotten && state == InstanceState::Warm {
            // An order that was lost with its stream never arrived, and nobody remembers that it was given.
            host.given.clear();
        }
        if !revision.is_empty() {
            host.given.insert(revision.into());
        }
        let hello = InstanceHello {
            protocol: PROTOCOL,
            instance: instance.into(),
            token: format!("token-{instance}"),
            state: state.into(),
            address: format!("unix:/run/{instance}"),
            revision: revision.into(),
            slots: 100,
            prepared: host.prepared.iter().cloned().collect(),
            namespace: host.namespace.clone(),
        };
        self.instance_says(instance, instance_up::Message::Hello(hello));
    }

    /// The host has become the revision that it was told.
    pub(super) fn ready(&mut self, instance: &str) {
        let host = self.hosts.get_mut(instance).expect("the host exists");
        host.ready = true;
        let revision = host.given.first().cloned().unwrap_or_default();
        let ready = InstanceReady { revision, slots: 100, specialize_micros: 400 };
        self.instance_says(instance, instance_up::Message::Ready(ready));
    }

    pub(super) fn fail(&mut self, instance: &str, reason: &str) {
        let failed = InstanceFailed { reason: reason.into(), message: "the component has no export".into() };
        self.instance_says(instance, instance_up::Message::Failed(failed));
    }

    pub(super) fn host_drains(&mut self, instance: &str) {
        self.instance_says(instance, instance_up::Message::Draining(Draining { cause: "SIGTERM".into() }));
    }

    pub(super) fn host_report(&mut self, instance: &str, in_flight: u32) {
        let report = InstanceReport { in_flight, ..InstanceReport::default() };
        self.instance_says(instance, instance_up::Message::Report(report));
    }

    pub(super) fn prepared(&mut self, instance: &str) {
        let host = self.hosts.get_mut(instance).expect("the host exists");
        let digests = std::mem::take(&mut host.preparing);
        host.prepared.extend(digests.iter().cloned());
        for digest in digests {
            self.instance_says(instance, instance_up::Message::Prepared(Prepared { digest, error: String::new() }));
        }
    }

    pub(super) fn lose_host(&mut self, instance: &str) {
        if let Some(stream) = self.hosts.get_mut(instance).and_then(|host| host.stream.take()) {
            self.tell(Event::Closed(stream));
        }
    }

    pub(super) fn exit(&mut self, instance: &str) {
        self.lose_host(instance);
        self.tell(Event::Exited { instance: instance.into(), cause: "signal 9".into() });
    }

    pub(super) fn start_failed(&mut self, function: &str) {
        let (reason, message) = ("NoRoom".into(), "no room".into());
        self.tell(Event::StartFailed { revision: key(function), reason, message });
    }

    // ---- what can be seen ----

    pub(super) fn admission(&self) -> Admission {
        self.settings.admission
    }

    pub(super) fn endpoints(&self, activator: &str, function: &str) -> Vec<&str> {
        let endpoints = self.activators[activator].endpoints.get(&name(function));
        endpoints.into_iter().flatten().map(String::as_str).collect()
    }

    pub(super) fn is_given(&self, instance: &str, function: &str) -> bool {
        self.hosts[instance].given.contains(&name(function))
    }

    pub(super) fn drains(&self, instance: &str) -> u32 {
        self.hosts[instance].drains
    }

    pub(super) fn failures(&self, activator: &str) -> usize {
        self.activators[activator].failures.len()
    }

    /// What was asked of whoever runs instances since the last look, but for the levels.
    pub(super) fn asked(&mut self) -> Vec<Actuation> {
        let mut asked = std::mem::take(&mut self.actuations);
        asked.retain(|actuation| !matches!(actuation, Actuation::Warm { .. } | Actuation::Scaled { .. }));
        asked
    }

    pub(super) fn activator_mut(&mut self, activator: &str) -> &mut ModelActivator {
        self.activators.get_mut(activator).expect("the activator exists")
    }

    // ---- how it works ----

    pub(super) fn activator_says(&mut self, activator: &str, message: demand_up::Message) {
        if let Some(stream) = self.activators[activator].stream {
            self.tell(Event::Activator(stream, DemandUp { message: Some(message) }));
        }
    }

    pub(super) fn instance_says(&mut self, instance: &str, message: instance_up::Message) {
        if let Some(stream) = self.hosts[instance].stream {
            self.tell(Event::Instance(stream, InstanceUp { message: Some(message) }));
        }
    }

    fn open(&mut self, name: &str) -> StreamId {
        self.last_stream += 1;
        let stream = StreamId(self.last_stream);
        self.streams.insert(stream, name.into());
        self.tell(Event::Opened(stream));
        stream
    }

    pub(super) fn tell(&mut self, event: Event) {
        for effect in self.fleet.apply(event, self.now - self.began) {
            match effect {
                Effect::ToActivator(stream, message) => {
                    let Some(name) = self.streams.get(&stream).cloned() else { continue };
                    match message.message.expect("a message") {
                        demand_down::Message::Endpoints(update) => self.update(&name, update),
                        demand_down::Message::StartFailed(failed) => {
                            let activator = self.activator_mut(&name);
                            // Those who wait are answered.
                            if let Some(demand) = activator.demand.get_mut(&failed.revision) {
                                demand.0 = 0;
                            }
                            activator.failures.push(failed);
                        }
                    }
                }
                Effect::ToInstance(stream, message) => {
                    let host = self.streams.get(&stream).and_then(|name| self.hosts.get_mut(name));
                    let host = host.expect("orders go to hosts that are there");
                    match message.message.expect("a message") {
                        instance_down::Message::Specialize(specialize) => {
                            let spec = specialize.spec.expect("a spec");
                            host.given.insert(format!("{}/{}", spec.namespace, spec.revision));
                        }
                        instance_down::Message::Drain(_) => host.drains += 1,
                        instance_down::Message::Prepare(prepare) => {
                            host.preparing.push(prepare.artifact.expect("an artifact").digest);
                        }
                        instance_down::Message::Forget(forget) => {
                            host.prepared.remove(&forget.digest);
                            host.forgot.push(forget.digest);
                        }
                        instance_down::Message::Refused(_) => panic!("proofs are the gate's business"),
                    }
                }
                Effect::Close(stream) => {
                    if let Some(name) = self.streams.remove(&stream) {
                        self.hosts.get_mut(&name).map(|host| host.stream.take_if(|open| *open == stream));
                        self.activators.get_mut(&name).map(|peer| peer.stream.take_if(|open| *open == stream));
                    }
                }
                Effect::Actuate(actuation) => self.actuations.push(actuation),
                Effect::Note(fact) => self.facts.push(fact),
            }
        }
    }

    fn update(&mut self, name: &str, update: EndpointsUpdate) {
        let activator = self.activator_mut(name);
        assert!(update.sequence > activator.sequence || update.full, "updates come in order");
        activator.sequence = update.sequence;
        if update.full {
            activator.endpoints.clear();
        }
        for revision in update.revisions {
            activator.slots.extend(revision.endpoints.iter().map(|end| (end.instance.clone(), end.slots)));
            let instances = revision.endpoints.into_iter().map(|endpoint| endpoint.instance).collect();
            activator.endpoints.insert(revision.revision, instances);
        }
        if activator.confirms == Confirms::AtOnce {
            self.confirm(name);
        }
    }
}
