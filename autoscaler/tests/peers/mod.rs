//! The other ends of the autoscaler's streams.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wisp_api::RevisionKey;
use wisp_api::wire::{
    DemandDown, DemandHello, DemandReport, DemandUp, EndpointsApplied, HostSpec, InstanceDown, InstanceHello,
    InstanceReady, InstanceState, InstanceUp, PROTOCOL, RevisionDemand, Wake, demand_down, demand_up, instance_down,
    instance_up,
};
use wisp_autoscaler::{Actuation, Autoscaler, Config, Handle, Metrics, RevisionRecord, Settings, Start, Traffic};
use wisp_chassis::control::{Incoming, Link, LinkEvent, pair};
use wisp_scaling::Policy;

/// A running autoscaler.
pub(crate) struct Rig {
    pub(crate) handle: Handle,
    actuations: mpsc::Receiver<Actuation>,
    registry: Registry,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

pub(crate) struct Activator {
    link: Link<DemandUp, DemandDown>,
}

pub(crate) struct Host {
    link: Link<InstanceUp, InstanceDown>,
}

pub(crate) fn key(function: &str) -> RevisionKey {
    RevisionKey::new("default", format!("{function}-00001"))
}

pub(crate) fn name(function: &str) -> String {
    key(function).to_string()
}

pub(crate) fn record(function: &str) -> RevisionRecord {
    let key = key(function);
    RevisionRecord {
        spec: HostSpec { namespace: key.namespace.clone(), revision: key.name.clone(), ..HostSpec::default() },
        key,
        artifact_bytes: 0,
        policy: Policy::default(),
        schedule: Vec::new(),
        traffic: Traffic::Active,
        start: Start::Warm,
        lacks: None,
    }
}

impl Rig {
    pub(crate) fn start() -> Self {
        let mut registry = Registry::default();
        let (sender, actuations) = mpsc::channel(64);
        let metrics = Metrics::register(&mut registry);
        let config = Config { settings: Settings::default(), actuations: sender, metrics };
        let (autoscaler, handle) = Autoscaler::build(config);
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(autoscaler.run(shutdown.clone()));
        Self { handle, actuations, registry, shutdown, task }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }

    pub(crate) async fn next_actuation(&mut self, wanted: fn(&Actuation) -> bool) -> Actuation {
        loop {
            let actuation = self.actuations.recv().await.expect("the autoscaler runs");
            if wanted(&actuation) {
                return actuation;
            }
        }
    }

    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }
}

impl Activator {
    pub(crate) async fn connect(rig: &Rig, name: &str) -> Self {
        let (link, peer) = pair();
        rig.handle.incoming().send(Incoming::Activator(peer)).await.unwrap();
        Self::hello(link, name).await
    }

    pub(crate) async fn hello(mut link: Link<DemandUp, DemandDown>, name: &str) -> Self {
        assert_eq!(link.events.recv().await, Some(LinkEvent::Connected));
        let mut activator = Self { link };
        let hello = DemandHello { protocol: PROTOCOL, activator: name.into(), token: String::new() };
        activator.say(demand_up::Message::Hello(hello)).await;
        activator
    }

    pub(crate) async fn wake(&mut self, function: &str, waiting: u32) {
        self.say(demand_up::Message::Wake(Wake { revision: name(function), waiting })).await;
    }

    pub(crate) async fn message(&mut self, wanted: fn(&demand_down::Message) -> bool) -> demand_down::Message {
        loop {
            match self.link.events.recv().await {
                Some(LinkEvent::Message(DemandDown { message: Some(message) })) if wanted(&message) => return message,
                Some(LinkEvent::Message(_)) => {}
                other => panic!("the stream ended: {other:?}"),
            }
        }
    }

    /// The endpoints of a revision, as soon as an update names it; confirmed at once.
    pub(crate) async fn endpoints_of(&mut self, function: &str) -> Vec<String> {
        loop {
            let message = self.message(|message| matches!(message, demand_down::Message::Endpoints(_))).await;
            let demand_down::Message::Endpoints(update) = message else { unreachable!("it was asked for") };
            let applied = EndpointsApplied { sequence: update.sequence };
            self.say(demand_up::Message::Applied(applied)).await;
            if let Some(named) = update.revisions.into_iter().find(|revision| revision.revision == name(function)) {
                return named.endpoints.into_iter().map(|endpoint| endpoint.instance).collect();
            }
        }
    }

    pub(crate) async fn drain_until(&mut self, function: &str, instance: &str) {
        while !self.endpoints_of(function).await.iter().any(|endpoint| endpoint == instance) {}
    }

    /// Reports no demand, each second, until the endpoints of the revision are gone.
    pub(crate) async fn idle_until_withdrawn(&mut self, function: &str) {
        let demand = RevisionDemand { revision: name(function), ..RevisionDemand::default() };
        self.say(demand_up::Message::Report(DemandReport { full: true, revisions: vec![demand] })).await;
        for _ in 0..120 {
            let withdrawn = tokio::time::timeout(Duration::from_secs(1), self.endpoints_of(function)).await;
            if withdrawn.is_ok_and(|endpoints| endpoints.is_empty()) {
                return;
            }
            self.say(demand_up::Message::Report(DemandReport::default())).await;
        }
        panic!("nothing was withdrawn in two minutes of idleness");
    }

    pub(crate) fn is_dropped(&self) -> bool {
        self.link.up.is_closed()
    }

    async fn say(&mut self, message: demand_up::Message) {
        self.link.up.send(DemandUp { message: Some(message) }).await.unwrap();
    }
}

impl Host {
    pub(crate) async fn connect(rig: &Rig, instance: &str, state: InstanceState, revision: &str) -> Self {
        let (link, peer) = pair();
        rig.handle.incoming().send(Incoming::Instance(peer)).await.unwrap();
        Self::hello(link, instance, state, revision).await
    }

    pub(crate) async fn hello(
        mut link: Link<InstanceUp, InstanceDown>,
        instance: &str,
        state: InstanceState,
        revision: &str,
    ) -> Self {
        assert_eq!(link.events.recv().await, Some(LinkEvent::Connected));
        let hello = InstanceHello {
            protocol: PROTOCOL,
            instance: instance.into(),
            token: "secret".into(),
            state: state.into(),
            address: format!("unix:/run/{instance}"),
            revision: revision.into(),
            slots: 100,
            ..InstanceHello::default()
        };
        let host = Self { link };
        host.say(instance_up::Message::Hello(hello)).await;
        host
    }

    pub(crate) async fn order(&mut self, wanted: fn(&instance_down::Message) -> bool) -> instance_down::Message {
        loop {
            match self.link.events.recv().await {
                Some(LinkEvent::Message(InstanceDown { message: Some(order) })) if wanted(&order) => return order,
                Some(LinkEvent::Message(_)) => {}
                other => panic!("the stream ended: {other:?}"),
            }
        }
    }

    /// The revision that it is told to become.
    pub(crate) async fn revision(&mut self) -> String {
        let order = self.order(|order| matches!(order, instance_down::Message::Specialize(_))).await;
        let instance_down::Message::Specialize(specialize) = order else { unreachable!("it was asked for") };
        let spec = specialize.spec.expect("a spec");
        format!("{}/{}", spec.namespace, spec.revision)
    }

    pub(crate) async fn ready(&self, function: &str) {
        let ready = InstanceReady { revision: name(function), slots: 100, specialize_micros: 300 };
        self.say(instance_up::Message::Ready(ready)).await;
    }

    async fn say(&self, message: instance_up::Message) {
        self.link.up.send(InstanceUp { message: Some(message) }).await.unwrap();
    }
}
