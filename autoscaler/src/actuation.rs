//! What the autoscaler asks of whoever runs instances: a process fleet (embedded) or the API server (cluster).

use serde::Serialize;
use wisp_api::RevisionKey;

/// One request to whoever runs instances. It answers through [`crate::Handle`]: `instance_expected` for each instance
/// that it starts, **before** that instance can connect; `start_failed` for each that it cannot; `instance_exited` for
/// each that is gone, whatever the cause.
///
/// `Warm` and `Scaled` are levels: the last one counts. The others are edges: each is one thing to do. They arrive in
/// the order in which they were decided, and none is lost while the receiver lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Actuation {
    /// Keep this many warm instances that nobody has claimed. Sent again whenever one was claimed or lost, so that a
    /// receiver that compares `count` with what it runs, less what was [`Actuation::Claimed`], starts the difference.
    Warm {
        /// Whose they are; `None`: any namespace may use them, since each is used once.
        namespace: Option<String>,
        /// How many to keep.
        count: u32,
    },
    /// This warm instance belongs to the revision from now on: it is no longer one of the warm ones. On a cluster this
    /// is the claim on the pod.
    Claimed {
        /// The instance.
        instance: String,
        /// Its revision.
        revision: RevisionKey,
    },
    /// No warm instance fits: start this many new ones for the revision.
    Start {
        /// Which revision.
        revision: RevisionKey,
        /// How many more.
        count: u32,
    },
    /// The instance had its time to drain, or cannot be reached: make sure that it goes. Killing it is right.
    Stop {
        /// The instance.
        instance: String,
    },
    /// The revision should have this many instances, claimed ones included. On a cluster this is `/scale`; a process
    /// fleet has no use for it. Sent after the claims and starts of the same decision.
    Scaled {
        /// Which revision.
        revision: RevisionKey,
        /// How many in all.
        replicas: u32,
    },
}
