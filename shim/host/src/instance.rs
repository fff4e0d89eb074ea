//! A warm instance: connects to the autoscaler, prepares what it is told to, becomes one revision, and ends by draining.
//!
//! [`Instance`] is the shell: it gathers events from the stream, the system and the clock, and performs. What it says
//! about itself is always derived from the same few fields, so that a new stream hears the full state.

mod drain;
mod identity;
mod refusal;
mod report;
mod waiting;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::time::Instant;
use wisp_api::key::RevisionKey;
use wisp_api::wire::{self, InstanceState, InstanceUp, instance_down, instance_up};
use wisp_chassis::control::{Link, LinkEvent};

use crate::artifacts::{APPEARS_WITHIN, ArtifactError, Artifacts};
use crate::engine::Runtimes;
use crate::exit::Exit;
use crate::handler::Host;
use crate::load::Loaded;
use crate::outbound::Network;
use crate::revision::Revision;
use crate::seal::SealKey;
use crate::server::Stop;

pub use self::identity::{Identity, Token};

use self::drain::Drain;
use self::refusal::Refusal;
use self::report::Reporter;
use self::waiting::{Order, Waiting, Wanted};

/// Artifacts that a warm instance holds at most; each costs mappings and some memory.
const PREPARED_MAX: usize = 64;

/// The longest that the autoscaler may take to hear what was said last, before the process ends.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Words for [`wire::InstanceFailed::reason`].
const FAILED_TO_LOAD: &str = "ArtifactNotLoaded";
const FAILED_SPEC: &str = "SpecRefused";

/// The stream to the autoscaler, from this side.
pub type InstanceLink = Link<InstanceUp, wire::InstanceDown>;

/// What a warm instance needs to become a revision.
pub struct Means {
    /// Where compiled code is.
    pub artifacts: Artifacts,
    /// Opens it.
    pub key: SealKey,
    /// Runs them.
    pub runtimes: Runtimes,
    /// What no function may reach.
    pub network: Network,
}

/// A host with its control stream.
pub struct Instance {
    identity: Identity,
    means: Means,
    host: Arc<Host>,
    stop: Stop,
    prepared: BTreeMap<String, Loaded>,
    waiting: Waiting,
    revision: Option<String>,
    drain: Option<Drain>,
    connected: bool,
    refusal: Refusal,
}

/// What ends the wait of the loop.
#[allow(clippy::large_enum_variant, reason = "there is one, for one turn of the loop")]
enum Event {
    Link(Option<LinkEvent<wire::InstanceDown>>),
    /// An artifact that was not there may be by now.
    Look,
    Report,
    Signal,
    /// The drain has reached its next step.
    Drain,
}

impl Instance {
    /// A warm instance around `host`, whose server ends by `stop`.
    #[must_use]
    pub fn new(identity: Identity, means: Means, host: Arc<Host>, stop: Stop) -> Self {
        Self {
            identity,
            means,
            host,
            stop,
            prepared: BTreeMap::new(),
            waiting: Waiting::none(Instant::now()),
            revision: None,
            drain: None,
            connected: false,
            refusal: Refusal::default(),
        }
    }

    /// Lives until it has drained, or cannot serve what it was told to.
    pub async fn run(mut self, mut link: InstanceLink, mut term: Signal) -> Exit {
        let mut reporter = Reporter::new(Arc::clone(self.host.metrics()), Instant::now());
        let mut linked = true;
        loop {
            let event = tokio::select! {
                event = link.events.recv(), if linked => Event::Link(event),
                () = self.waiting.due() => Event::Look,
                () = reporter.due() => Event::Report,
                _ = term.recv() => Event::Signal,
                () = next_step(self.drain.as_ref(), &self.host, &self.stop) => Event::Drain,
            };
            let ended = match event {
                Event::Link(Some(event)) => self.on_link(event, &link).await,
                // The link ends only with the process: like a signal, but nobody will acknowledge.
                Event::Link(None) => {
                    linked = false;
                    self.acknowledged(0);
                    None
                }
                Event::Look => self.look_again(&link).await,
                Event::Report => {
                    self.send(&link, instance_up::Message::Report(reporter.report(Instant::now()))).await;
                    None
                }
                Event::Signal => {
                    self.on_signal(&link).await;
                    None
                }
                Event::Drain => self.on_drain_step(),
            };
            if let Some(exit) = ended {
                if exit != Exit::Drained {
                    let _late = tokio::time::timeout(LAST_WORDS, link.close()).await;
                }
                return exit;
            }
        }
    }

    async fn on_link(&mut self, event: LinkEvent<wire::InstanceDown>, link: &InstanceLink) -> Option<Exit> {
        match event {
            LinkEvent::Connected => {
                self.connected = true;
                // Nobody expects an answer from us but to the hello that follows.
                self.waiting.clear();
                let hello = self.hello();
                self.send(link, instance_up::Message::Hello(hello)).await;
                if self.drain.is_some() {
                    self.send(link, draining()).await;
                }
                None
            }
            LinkEvent::Disconnected { reason } => {
                // Each failed attempt to connect again is one of these, too.
                if std::mem::take(&mut self.connected) {
                    tracing::info!(reason, "control stream lost; serving goes on");
                }
                None
            }
            LinkEvent::Message(message) => self.on_order(message.message?, link).await,
        }
    }

    async fn on_order(&mut self, order: instance_down::Message, link: &InstanceLink) -> Option<Exit> {
        if !matches!(order, instance_down::Message::Refused(_)) {
            self.refusal.forget();
        }
        match order {
            instance_down::Message::Prepare(wire::Prepare { artifact }) => {
                let wanted = Wanted::Prepare(artifact.unwrap_or_default());
                self.perform(Order { wanted, asked: Instant::now() }, link).await
            }
            instance_down::Message::Specialize(wire::Specialize { spec }) => {
                let wanted = Wanted::Specialize(Box::new(spec.unwrap_or_default()));
                self.perform(Order { wanted, asked: Instant::now() }, link).await
            }
            instance_down::Message::Forget(wire::Forget { digest }) => {
                self.waiting.forget(&digest);
                self.prepared.remove(&digest);
                None
            }
            instance_down::Message::Drain(wire::Drain { deadline_millis }) => {
                self.acknowledged(deadline_millis);
                None
            }
            instance_down::Message::Refused(wire::Refused { reason }) => {
                self.refusal.hear(&reason);
                if self.refusal.is_final() {
                    self.acknowledged(0);
                }
                None
            }
        }
    }

    async fn look_again(&mut self, link: &InstanceLink) -> Option<Exit> {
        for order in self.waiting.take() {
            if let Some(exit) = self.perform(order, link).await {
                return Some(exit);
            }
        }
        None
    }

    /// Does what is wanted and says so, or lets it wait for its artifact.
    async fn perform(&mut self, order: Order, link: &InstanceLink) -> Option<Exit> {
        let Order { wanted, asked } = order;
        match wanted {
            Wanted::Prepare(artifact) => match self.prepare(&artifact, asked) {
                Some(prepared) => self.send(link, instance_up::Message::Prepared(prepared)).await,
                None => self.waiting.add(Order { wanted: Wanted::Prepare(artifact), asked }, Instant::now()),
            },
            Wanted::Specialize(spec) => match self.code_of(&spec, asked) {
                Ok(None) => self.waiting.add(Order { wanted: Wanted::Specialize(spec), asked }, Instant::now()),
                Ok(Some(code)) => match self.specialize(*spec, code) {
                    Ok(slots) => self.say_ready(slots, asked, link).await,
                    Err(message) => return Some(self.fail(Exit::Spec, failed(FAILED_SPEC, message), link).await),
                },
                Err(error) => {
                    let failed = failed(FAILED_TO_LOAD, error.to_string());
                    return Some(self.fail(Exit::Artifact, failed, link).await);
                }
            },
        }
        None
    }

    /// None: the artifact is not there yet. Loading blocks this thread for a moment, which is what a warm instance is
    /// there for: it has no requests.
    fn prepare(&mut self, artifact: &wire::Artifact, asked: Instant) -> Option<wire::Prepared> {
        let error = if self.prepared.contains_key(&artifact.digest) {
            String::new()
        } else if self.prepared.len() + self.waiting.len() >= PREPARED_MAX {
            format!("{PREPARED_MAX} artifacts are prepared already; forget one")
        } else {
            match self.load(artifact, asked) {
                Ok(Some(loaded)) => {
                    self.prepared.insert(artifact.digest.clone(), loaded);
                    String::new()
                }
                Ok(None) => return None,
                Err(error) => error.to_string(),
            }
        };
        Some(wire::Prepared { digest: artifact.digest.clone(), error })
    }

    /// The code of `spec`, prepared or loaded now; none when its artifact is not there yet.
    fn code_of(&mut self, spec: &wire::HostSpec, asked: Instant) -> Result<Option<Loaded>, ArtifactError> {
        let artifact = spec.artifact.clone().unwrap_or_default();
        let slots = spec.concurrency.unwrap_or_default().slots;
        if slots > self.means.runtimes.slots() {
            // Rare, and worth a few milliseconds: a larger pool, for which nothing is prepared.
            self.means.runtimes = Runtimes::new(slots);
            self.prepared.clear();
        }
        match self.prepared.remove(&artifact.digest) {
            Some(loaded) => Ok(Some(loaded)),
            None => self.load(&artifact, asked),
        }
    }

    fn load(&self, artifact: &wire::Artifact, asked: Instant) -> Result<Option<Loaded>, ArtifactError> {
        let Means { artifacts, key, runtimes, .. } = &self.means;
        match artifacts.load(&artifact.path, key, runtimes)? {
            None if asked.elapsed() >= APPEARS_WITHIN => Err(ArtifactError::Missing(artifact.path.clone())),
            found => Ok(found),
        }
    }

    // Warm => (Ready | failed)
    fn specialize(&mut self, spec: wire::HostSpec, code: Loaded) -> Result<u32, String> {
        let name = RevisionKey::new(&*spec.namespace, &*spec.revision).to_string();
        let metrics = Arc::clone(self.host.metrics());
        let revision = Revision::new(spec, code, metrics, &self.means.network).map_err(|error| error.to_string())?;
        let slots = revision.limits.slots;
        self.host.specialize(revision).map_err(|error| error.to_string())?;
        // It will never become another: what was prepared for that is let go.
        self.prepared.clear();
        self.waiting.clear();
        self.revision = Some(name);
        Ok(slots)
    }

    async fn say_ready(&self, slots: u32, asked: Instant, link: &InstanceLink) {
        let took = asked.elapsed();
        tracing::info!(revision = self.revision, ?took, "serving");
        let ready = wire::InstanceReady {
            revision: self.revision.clone().unwrap_or_default(),
            slots,
            specialize_micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        };
        self.send(link, instance_up::Message::Ready(ready)).await;
    }

    async fn fail(&self, exit: Exit, failed: wire::InstanceFailed, link: &InstanceLink) -> Exit {
        tracing::error!(reason = failed.reason, message = failed.message, "cannot become the revision");
        self.send(link, instance_up::Message::Failed(failed)).await;
        exit
    }

    fn hello(&self) -> wire::InstanceHello {
        let state = match (&self.drain, &self.revision) {
            (Some(_), _) => InstanceState::Draining,
            (None, Some(_)) => InstanceState::Ready,
            (None, None) => InstanceState::Warm,
        };
        wire::InstanceHello {
            protocol: wire::PROTOCOL,
            instance: self.identity.instance.clone(),
            token: self.identity.token.read(),
            state: state.into(),
            address: self.identity.address.clone(),
            revision: self.revision.clone().unwrap_or_default(),
            slots: self.host.revision().map_or(0, |revision| revision.limits.slots),
            prepared: self.prepared.keys().cloned().collect(),
            namespace: self.identity.namespace.clone(),
        }
    }

    // (Warm | Ready) => Announced
    async fn on_signal(&mut self, link: &InstanceLink) {
        if self.drain.is_none() {
            self.drain = Some(Drain::announced(Instant::now()));
            self.host.leave();
            self.send(link, draining()).await;
            if self.revision.is_none() {
                // Nobody sends requests to a warm instance: there is nothing to withdraw.
                self.acknowledged(0);
            }
        }
    }

    // (Warm | Ready | Announced) => Withdrawn
    fn acknowledged(&mut self, deadline_millis: u64) {
        if matches!(self.drain, None | Some(Drain::Announced { .. })) {
            self.host.leave();
            self.stop.drain.cancel();
            let timeout = self.host.revision().map(|revision| revision.limits.timeout);
            self.drain = Some(Drain::withdrawn(Instant::now(), deadline_millis, timeout));
        }
    }

    fn on_drain_step(&mut self) -> Option<Exit> {
        match self.drain.as_ref()? {
            Drain::Announced { .. } => {
                tracing::info!("nobody acknowledged the drain; going on without");
                self.acknowledged(0);
                None
            }
            &Drain::Withdrawn { until } => {
                self.host.drain();
                self.drain = Some(Drain::Refusing { until });
                None
            }
            Drain::Refusing { .. } if self.host.metrics().in_flight() == 0 => {
                Some(if self.refusal.is_final() { Exit::Refused } else { Exit::Drained })
            }
            Drain::Refusing { .. } => {
                tracing::warn!(in_flight = self.host.metrics().in_flight(), "drain deadline passed; cutting requests");
                self.stop.cut.cancel();
                Some(Exit::Cut)
            }
        }
    }

    /// A closed link is noticed by its events; there is nothing to do about it here.
    async fn send(&self, link: &InstanceLink, message: instance_up::Message) {
        let _ = link.up.send(InstanceUp { message: Some(message) }).await;
    }
}

/// Waits for the end of the present step of the drain; for ever when there is none.
async fn next_step(drain: Option<&Drain>, host: &Host, stop: &Stop) {
    match drain {
        Some(drain) => drain.step(host.metrics(), stop).await,
        None => std::future::pending().await,
    }
}

fn failed(reason: &str, message: String) -> wire::InstanceFailed {
    wire::InstanceFailed { reason: reason.to_owned(), message }
}

fn draining() -> instance_up::Message {
    instance_up::Message::Draining(wire::Draining { cause: "SIGTERM".to_owned() })
}
