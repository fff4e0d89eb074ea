//! The activator's end of the control stream: tells demand and wakes, applies endpoints.
//!
//! When the stream is lost, the endpoints stay as they are and requests go on.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use wisp_api::wire::{self, DemandDown, DemandHello, DemandUp, EndpointsApplied, Wake, demand_down, demand_up};
use wisp_chassis::control::{Link, LinkEvent};

use crate::endpoint::Endpoint;
use crate::index::Index;
use crate::metrics::Metrics;
use crate::report::Reports;
use crate::revision::{Revision, Signal};
use crate::wake::{Opened, Wakes};

/// How often to look whether requests that were about to go to a withdrawn endpoint have gone. It is a matter of
/// microseconds, or of a connection being made.
const UNSENT_LOOK: Duration = Duration::from_millis(1);

/// What the control stream needs to know and to change.
pub(crate) struct Control {
    identity: Identity,
    index: Arc<Index>,
    metrics: Arc<Metrics>,
    link: Link<DemandUp, DemandDown>,
    stream: Stream,
    reports: Reports,
    wakes: Wakes,
    applied: VecDeque<Applied>,
}

/// How this activator says who it is.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) token_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Up,
    Down,
}

/// What became of a message. What is dropped is state that is sent again, but for an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Sent,
    Dropped,
}

/// An update to be acknowledged, as soon as nothing is about to be sent to what it withdrew.
struct Applied {
    sequence: u64,
    unsent: Vec<Arc<Endpoint>>,
}

impl Control {
    pub(crate) fn new(
        identity: Identity,
        index: Arc<Index>,
        metrics: Arc<Metrics>,
        link: Link<DemandUp, DemandDown>,
    ) -> Self {
        Self {
            identity,
            index,
            metrics,
            link,
            stream: Stream::Down,
            reports: Reports::new(Instant::now()),
            wakes: Wakes::default(),
            applied: VecDeque::new(),
        }
    }

    /// Runs until it is dropped.
    pub(crate) async fn run(mut self, mut signals: mpsc::UnboundedReceiver<Signal>) {
        let mut is_linked = true;
        loop {
            let next = self.next();
            tokio::select! {
                event = self.link.events.recv(), if is_linked => match event {
                    Some(event) => self.heard(event),
                    None => is_linked = false,
                },
                Some(signal) = signals.recv() => self.signalled(signal),
                () = sleep_until(next) => {}
            }
            self.act(Instant::now());
        }
    }

    fn heard(&mut self, event: LinkEvent<DemandDown>) {
        match event {
            LinkEvent::Connected => self.connected(),
            LinkEvent::Message(message) => match message.message {
                Some(demand_down::Message::Endpoints(update)) => self.apply(&update),
                Some(demand_down::Message::StartFailed(failed)) => {
                    tracing::warn!(revision = failed.revision, reason = failed.reason, "no instance can start");
                    self.index.start_failed(failed);
                    self.wakes.close_served();
                }
                // A later version's message: this one has no use for it.
                None => {}
            },
            LinkEvent::Disconnected { reason } => {
                if self.stream == Stream::Up {
                    tracing::warn!(reason, "the autoscaler is out of reach; endpoints stay as they are");
                }
                self.stream = Stream::Down;
                self.applied.clear();
            }
        }
    }

    /// Says hello, then all that the autoscaler must know.
    fn connected(&mut self) {
        self.stream = Stream::Up;
        self.say(demand_up::Message::Hello(self.identity.hello()));
        let report = self.reports.full(&self.index.all_revisions(), Instant::now());
        self.say(demand_up::Message::Report(report));
        self.wakes.close_served();
        let open: Vec<_> = self.wakes.all().cloned().collect();
        for revision in open {
            self.wake(&revision);
        }
    }

    fn apply(&mut self, update: &wire::EndpointsUpdate) {
        let unsent = self.index.endpoints(update);
        self.reports.served(update.revisions.iter().map(|named| &*named.revision), Instant::now());
        self.applied.push_back(Applied { sequence: update.sequence, unsent });
        self.wakes.close_served();
    }

    fn signalled(&mut self, signal: Signal) {
        match signal {
            Signal::Edge(revision) => {
                self.wakes.close_if_served(&revision);
                self.reports.edge(revision);
            }
            Signal::Wake(revision) => {
                revision.wake_seen();
                if revision.wants_wake() && self.wakes.open(&revision, Instant::now()) == Opened::New {
                    self.wake(&revision);
                }
            }
        }
    }

    /// Does what is due.
    fn act(&mut self, now: Instant) {
        let due = self.reports.due(now);
        if let Some(report) = due.report {
            self.say(demand_up::Message::Report(report));
        }
        // After the report: who has heard of the acknowledgement knows the demand that the update left.
        self.acknowledge();
        for revision in due.rested {
            revision.rest();
            self.index.forget_if_unused(&revision);
        }
        if self.wakes.next().is_some_and(|at| at <= now) {
            self.wakes.close_served();
            for revision in self.wakes.due(now) {
                // Nobody said anything of the instances that are set aside: perhaps they are well by now.
                revision.trust_again();
                if revision.wants_wake() {
                    self.wake(&revision);
                }
            }
        }
    }

    /// Acknowledges updates in their order.
    fn acknowledge(&mut self) {
        while self.applied.front_mut().is_some_and(Applied::is_settled) {
            let Some(first) = self.applied.front() else { return };
            let applied = EndpointsApplied { sequence: first.sequence };
            if self.say(demand_up::Message::Applied(applied)) == Said::Dropped {
                return;
            }
            self.applied.pop_front();
        }
    }

    fn next(&self) -> Instant {
        let mut next = self.reports.next();
        if let Some(wake) = self.wakes.next() {
            next = next.min(wake);
        }
        if !self.applied.is_empty() {
            next = next.min(Instant::now() + UNSENT_LOOK);
        }
        next
    }

    fn wake(&self, revision: &Revision) {
        self.metrics.wakes.inc();
        let waiting = revision.demand().waiting;
        self.say(demand_up::Message::Wake(Wake { revision: revision.name.to_string(), waiting }));
    }

    /// Sends a message, if the autoscaler listens and is not too far behind.
    fn say(&self, message: demand_up::Message) -> Said {
        if self.stream == Stream::Down {
            return Said::Dropped;
        }
        if let Err(error) = self.link.up.try_send(DemandUp { message: Some(message) }) {
            tracing::debug!(%error, "a message to the autoscaler was dropped");
            return Said::Dropped;
        }
        Said::Sent
    }
}

impl Identity {
    fn hello(&self) -> DemandHello {
        let token = self.token_file.as_ref().map_or_else(String::new, |path| match std::fs::read_to_string(path) {
            Ok(token) => token.trim().to_owned(),
            Err(error) => {
                tracing::error!(%error, path = %path.display(), "cannot read the token; the autoscaler will refuse us");
                String::new()
            }
        });
        DemandHello { protocol: wire::PROTOCOL, activator: self.name.clone(), token }
    }
}

impl Applied {
    fn is_settled(&mut self) -> bool {
        self.unsent.retain(|endpoint| endpoint.has_unsent());
        self.unsent.is_empty()
    }
}
