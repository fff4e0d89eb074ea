//! The shell around the fleet: one task that gathers what happens, lets the fleet decide, and performs what follows.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wisp_chassis::control::Incoming;

use crate::config::Config;
use crate::event::{Effect, Event, Fact};
use crate::fleet::Fleet;
use crate::handle::{Command, Handle, Happened};
use crate::metrics::Metrics;
use crate::outbox::Outbox;
use crate::peers::Peers;

/// Requests of the program itself that may wait. A start applies thousands of revisions one after the other.
const COMMANDS_WAITING: usize = 1024;

/// New streams that may wait: a reconnecting installation comes in one wave.
const INCOMING_WAITING: usize = 1024;

/// What a live view may fall behind.
const FACTS_KEPT: usize = 1024;

/// The deciding loop. Made by [`Autoscaler::build`], does its work in [`Autoscaler::run`].
pub struct Autoscaler {
    fleet: Fleet,
    peers: Peers,
    outbox: Outbox,
    metrics: Metrics,
    commands: mpsc::Receiver<Command>,
    incoming: mpsc::Receiver<Incoming>,
    facts: broadcast::Sender<Happened>,
    // Event times count from here.
    origin: Instant,
}

impl Autoscaler {
    /// An autoscaler that knows nothing yet, and the way to talk to it.
    #[must_use]
    pub fn build(config: Config) -> (Self, Handle) {
        let (command_sender, commands) = mpsc::channel(COMMANDS_WAITING);
        let (incoming_sender, incoming) = mpsc::channel(INCOMING_WAITING);
        let (facts, _) = broadcast::channel(FACTS_KEPT);
        let Config { settings, actuations, metrics } = config;
        let handle = Handle { commands: command_sender, incoming: incoming_sender, facts: facts.clone() };
        let autoscaler = Self {
            fleet: Fleet::new(settings, since_epoch()),
            peers: Peers::new(metrics.clone()),
            outbox: Outbox::new(actuations),
            metrics,
            commands,
            incoming,
            facts,
            origin: Instant::now(),
        };
        (autoscaler, handle)
    }

    /// Decides until `shutdown`. Streams end with it; instances and activators go on with what they have.
    pub async fn run(mut self, shutdown: CancellationToken) {
        self.turn(Event::Tick);
        loop {
            let due = self.fleet.next_due().map(|due| self.origin + due);
            // In this order: an instance is announced before it connects, and a busy stream cannot keep the rest away.
            // Timers come last because each turn looks at them too.
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                Some(command) = self.commands.recv() => self.obey(command),
                () = self.outbox.flush_one(), if !self.outbox.is_empty() => {}
                Some(incoming) = self.incoming.recv() => {
                    let stream = self.peers.open(incoming);
                    self.turn(Event::Opened(stream));
                }
                Some(event) = self.peers.next() => self.turn(event),
                () = sleep_until(due) => self.turn(Event::Tick),
            }
        }
    }

    fn obey(&mut self, command: Command) {
        // Who no longer waits for an answer has dropped the other end, and needs none.
        match command {
            Command::Tell(event) => self.turn(event),
            Command::Explain(revision, reply) => {
                let _gone = reply.send(self.fleet.explained(&revision));
            }
            Command::Snapshot(reply) => {
                let _gone = reply.send(self.fleet.snapshot());
            }
        }
    }

    fn turn(&mut self, event: Event) {
        let begun = Instant::now();
        let now = begun - self.origin;
        self.fleet.set_origin(since_epoch().saturating_sub(now));
        // A peer that had to be dropped is an event of its own.
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let effects = self.fleet.apply(event, now);
            events.extend(effects.into_iter().filter_map(|effect| self.perform(effect)));
        }
        self.metrics.turn(begun.elapsed());
    }

    fn perform(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::ToActivator(stream, message) => return self.peers.tell_activator(stream, message),
            Effect::ToInstance(stream, message) => return self.peers.tell_instance(stream, message),
            Effect::Close(stream) => self.peers.close(stream),
            Effect::Actuate(actuation) => {
                self.metrics.actuation(&actuation);
                self.outbox.push(actuation);
            }
            Effect::Note(fact) => self.note(fact),
        }
        None
    }

    fn note(&self, fact: Fact) {
        match &fact {
            Fact::StartFailed { revision, reason, message } => {
                tracing::warn!(revision, reason, message, "a start failed");
            }
            Fact::Refused { peer, message } => tracing::warn!(?peer, message, "a stream was refused"),
            Fact::Reconnected { peer, name } => tracing::info!(?peer, name, "a peer came back"),
            Fact::Decision { revision, from, to, reason } => {
                tracing::debug!(revision, from, to, ?reason, "decided");
            }
            Fact::Instance { instance, revision, to, cause, .. } => {
                tracing::debug!(instance, revision, ?to, cause, "an instance moved");
            }
            Fact::ColdStart(cold_start) => tracing::debug!(?cold_start, "an instance is ready"),
            Fact::Wake { .. } => {}
        }
        self.metrics.fact(&fact);
        // Fails when nobody listens, which is the usual case.
        let _unheard = self.facts.send(Happened { unix_millis: self.fleet.unix_millis(), fact });
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

fn since_epoch() -> Duration {
    // Before 1970 schedules have no meaning: zero is as good as any time.
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
