//! All counters of the autoscaler.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use wisp_scaling::Reason;

use crate::actuation::Actuation;
use crate::event::{Fact, InstanceState, PeerKind, StartKind};
use crate::snapshot::COLD_START_MICROS;

type ColdStartFamily = Family<ColdStartLabels, Histogram, fn() -> Histogram>;

/// All counters of the autoscaler.
#[derive(Clone, Debug)]
pub struct Metrics {
    decisions: Family<ReasonLabel, Counter>,
    wakes: Counter,
    cold_start: ColdStartFamily,
    start_failures: Counter,
    instances: Family<StateLabel, Gauge>,
    streams: Family<PeerLabel, Gauge>,
    reconnects: Family<PeerLabel, Counter>,
    refused: Family<PeerLabel, Counter>,
    dropped: Family<PeerLabel, Counter>,
    actuations: Family<ActuationLabel, Counter>,
    turn_seconds: Counter<f64, AtomicU64>,
    turns: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: Word,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ColdStartLabels {
    start: Word,
    step: Word,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: Word,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PeerLabel {
    peer: Word,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ActuationLabel {
    kind: Word,
}

/// A label value of one of the closed enums below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Word(&'static str);

// === impl Metrics ===

impl Metrics {
    /// Registers all of them under `wisp_autoscaler`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            decisions: Family::default(),
            wakes: Counter::default(),
            cold_start: Family::new_with_constructor(cold_start_histogram as fn() -> Histogram),
            start_failures: Counter::default(),
            instances: Family::default(),
            streams: Family::default(),
            reconnects: Family::default(),
            refused: Family::default(),
            dropped: Family::default(),
            actuations: Family::default(),
            turn_seconds: Counter::default(),
            turns: Counter::default(),
        };
        metrics.register_decisions(registry.sub_registry_with_prefix("wisp_autoscaler"));
        metrics.register_peers(registry.sub_registry_with_prefix("wisp_autoscaler"));
        metrics
    }

    fn register_decisions(&self, registry: &mut Registry) {
        registry.register(
            "decisions",
            "Decisions that changed the number or the reason, by reason",
            self.decisions.clone(),
        );
        registry.register("wakes", "Wakes received from activators", self.wakes.clone());
        registry.register(
            "cold_start_seconds",
            "Time of starts by kind of start and step: total, boot, specialize",
            self.cold_start.clone(),
        );
        registry.register("start_failures", "Starts that failed", self.start_failures.clone());
        registry.register("actuations", "Requests to whoever runs instances, by kind", self.actuations.clone());
        registry.register("turn_seconds", "Time spent in turns of the loop", self.turn_seconds.clone());
        registry.register("turns", "Turns of the loop", self.turns.clone());
    }

    fn register_peers(&self, registry: &mut Registry) {
        registry.register("instances", "Instances by state", self.instances.clone());
        registry.register("streams", "Open control streams by peer", self.streams.clone());
        registry.register("reconnects", "Peers that came back on a new stream", self.reconnects.clone());
        registry.register("refused_streams", "Streams closed because of what the peer said", self.refused.clone());
        registry.register("dropped_streams", "Streams closed because the peer did not read", self.dropped.clone());
    }

    pub(crate) fn fact(&self, fact: &Fact) {
        match fact {
            Fact::Decision { reason, .. } => {
                self.decisions.get_or_create(&ReasonLabel { reason: reason_word(*reason) }).inc();
            }
            Fact::Wake { .. } => {
                self.wakes.inc();
            }
            Fact::Instance { from, to, .. } => self.moved(*from, *to),
            Fact::ColdStart(cold_start) => {
                let start = start_word(cold_start.start);
                self.cold_start_step(start, "total", cold_start.total);
                self.cold_start_step(start, "boot", cold_start.boot);
                self.cold_start_step(start, "specialize", cold_start.specialize);
            }
            Fact::StartFailed { .. } => {
                self.start_failures.inc();
            }
            Fact::Reconnected { peer, .. } => {
                self.reconnects.get_or_create(&PeerLabel::of(*peer)).inc();
            }
            Fact::Refused { peer, .. } => {
                self.refused.get_or_create(&PeerLabel::of(*peer)).inc();
            }
        }
    }

    fn moved(&self, from: Option<InstanceState>, to: Option<InstanceState>) {
        if let Some(from) = from {
            self.instances.get_or_create(&StateLabel { state: state_word(from) }).dec();
        }
        if let Some(to) = to {
            self.instances.get_or_create(&StateLabel { state: state_word(to) }).inc();
        }
    }

    // A step that did not happen is not one that took no time.
    fn cold_start_step(&self, start: Word, step: &'static str, took: Duration) {
        if !took.is_zero() {
            let labels = ColdStartLabels { start, step: Word(step) };
            self.cold_start.get_or_create(&labels).observe(took.as_secs_f64());
        }
    }

    pub(crate) fn actuation(&self, actuation: &Actuation) {
        let kind = match actuation {
            Actuation::Warm { .. } => "warm",
            Actuation::Claimed { .. } => "claimed",
            Actuation::Start { .. } => "start",
            Actuation::Stop { .. } => "stop",
            Actuation::Scaled { .. } => "scaled",
        };
        self.actuations.get_or_create(&ActuationLabel { kind: Word(kind) }).inc();
    }

    pub(crate) fn stream_opened(&self, peer: PeerKind) {
        self.streams.get_or_create(&PeerLabel::of(peer)).inc();
    }

    pub(crate) fn stream_closed(&self, peer: PeerKind) {
        self.streams.get_or_create(&PeerLabel::of(peer)).dec();
    }

    pub(crate) fn stream_dropped(&self, peer: PeerKind) {
        self.dropped.get_or_create(&PeerLabel::of(peer)).inc();
    }

    pub(crate) fn turn(&self, took: Duration) {
        self.turns.inc();
        self.turn_seconds.inc_by(took.as_secs_f64());
    }
}

impl PeerLabel {
    fn of(peer: PeerKind) -> Self {
        let word = match peer {
            PeerKind::Activator => "activator",
            PeerKind::Instance => "instance",
        };
        Self { peer: Word(word) }
    }
}

impl EncodeLabelValue for Word {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.0.encode(encoder)
    }
}

fn cold_start_histogram() -> Histogram {
    Histogram::new(COLD_START_MICROS.map(|micros| Duration::from_micros(micros).as_secs_f64()))
}

fn start_word(start: StartKind) -> Word {
    Word(match start {
        StartKind::Prepared => "prepared",
        StartKind::Warm => "warm",
        StartKind::Fresh => "fresh",
    })
}

fn state_word(state: InstanceState) -> Word {
    Word(match state {
        InstanceState::Expected => "expected",
        InstanceState::Warm => "warm",
        InstanceState::Claimed => "claimed",
        InstanceState::Ready => "ready",
        InstanceState::Withdrawing => "withdrawing",
        InstanceState::Draining => "draining",
        InstanceState::Stopping => "stopping",
    })
}

fn reason_word(reason: Reason) -> Word {
    Word(match reason {
        Reason::Stable => "stable",
        Reason::Panic => "panic",
        Reason::RateUp => "rate_up",
        Reason::RateDown => "rate_down",
        Reason::Wake => "wake",
        Reason::QueueGrowth => "queue_growth",
        Reason::QueueHold => "queue_hold",
        Reason::Demand => "demand",
        Reason::IdleWait => "idle_wait",
        Reason::Idle => "idle",
        Reason::Activation => "activation",
        Reason::Initial => "initial",
        Reason::Inherited => "inherited",
        Reason::ScaleDownDelay => "scale_down_delay",
        Reason::OutOfTouch => "out_of_touch",
        Reason::AtMin => "at_min",
        Reason::AtMax => "at_max",
        Reason::Lacking => "lacking",
    })
}
