//! What the fleet is told, and what it asks for. The shell turns streams, handles and the clock into events, and
//! performs the effects.

use std::time::Duration;

use serde::Serialize;
use wisp_api::RevisionKey;
use wisp_api::wire::{DemandDown, DemandUp, InstanceDown, InstanceUp};
use wisp_scaling::Reason;

use crate::actuation::Actuation;
use crate::catalog::Checked;

/// One control stream. Never used again after it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StreamId(pub(crate) u64);

/// One thing that happened outside the fleet.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// Nothing but time has passed.
    Tick,
    /// A revision exists, with these properties.
    Apply(Box<Checked>),
    /// A revision exists no longer.
    Delete(RevisionKey),
    /// Whoever runs instances has started one.
    Expected { instance: String, token: String, revision: Option<RevisionKey> },
    /// An instance is gone.
    Exited { instance: String, cause: String },
    /// Whoever runs instances could not start one.
    StartFailed { revision: RevisionKey, reason: String, message: String },
    /// A stream begins; its hello is to follow.
    Opened(StreamId),
    /// An activator's message.
    Activator(StreamId, DemandUp),
    /// A host's message.
    Instance(StreamId, InstanceUp),
    /// A stream ended.
    Closed(StreamId),
}

/// One thing that the shell has to do.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    ToActivator(StreamId, DemandDown),
    ToInstance(StreamId, InstanceDown),
    /// End this stream; the fleet has forgotten it already.
    Close(StreamId),
    Actuate(Actuation),
    /// Count it and tell whoever watches.
    Note(Fact),
}

/// Something that happened in the fleet, for metrics and live views.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Fact {
    /// A revision's number changed, or its reason did.
    Decision {
        /// Which revision.
        revision: String,
        /// The number before.
        from: u32,
        /// The number now.
        to: u32,
        /// Why.
        reason: Reason,
    },
    /// Demand appeared where there is no capacity.
    Wake {
        /// Which revision.
        revision: String,
        /// Requests that wait.
        waiting: u32,
    },
    /// An instance went from one state to another.
    Instance {
        /// Which instance.
        instance: String,
        /// Its revision, once it has one.
        revision: Option<String>,
        /// `None` when it has just been heard of.
        from: Option<InstanceState>,
        /// `None` when it is gone.
        to: Option<InstanceState>,
        /// In a few words.
        cause: String,
    },
    /// An instance that was asked for is ready.
    ColdStart(ColdStart),
    /// A start failed.
    StartFailed {
        /// Which revision.
        revision: String,
        /// A word.
        reason: String,
        /// A sentence.
        message: String,
    },
    /// An activator or a host came back on a new stream.
    Reconnected {
        /// Which of the two.
        peer: PeerKind,
        /// Its name.
        name: String,
    },
    /// A stream was closed because of what its peer said.
    Refused {
        /// Which of the two.
        peer: PeerKind,
        /// What was wrong and what to do.
        message: String,
    },
}

/// Who is at the other end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PeerKind {
    /// An activator.
    Activator,
    /// The host of an instance.
    Instance,
}

/// How an instance's readiness came about.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ColdStart {
    /// Which revision.
    pub revision: String,
    /// Which instance.
    pub instance: String,
    /// Claimed or made.
    pub start: StartKind,
    /// From the decision until the instance was ready.
    pub total: Duration,
    /// From its beginning until the host connected; zero for a warm one.
    pub boot: Duration,
    /// What the host says that specializing took; zero when it did not say.
    pub specialize: Duration,
}

/// Where an instance came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum StartKind {
    /// A warm instance that had the compiled code prepared.
    Prepared,
    /// A warm instance that had to load the code first.
    Warm,
    /// A new instance.
    Fresh,
}

/// Where an instance is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum InstanceState {
    /// It was started and has not connected.
    Expected,
    /// It waits for a revision.
    Warm,
    /// It was given its revision and is not ready yet.
    Claimed,
    /// It is an endpoint.
    Ready,
    /// It is no longer an endpoint; activators have yet to confirm.
    Withdrawing,
    /// It finishes what is in flight.
    Draining,
    /// It should be gone.
    Stopping,
}
