//! What `wisp up` tells on its admin port, and what the other commands and the status page show. A cluster's objects are
//! brought into the same form; what only `wisp up` knows is left out there.

use serde::{Deserialize, Serialize};
use wisp_api::function::WasmFunctionSpec;
use wisp_api::status::{Reason, TrafficStatus};

/// `GET /api/overview`: everything at one time.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Overview {
    /// The program's version.
    pub(crate) version: String,
    /// When it was taken.
    pub(crate) unix_millis: u64,
    /// Where requests arrive, such as `127.0.0.1:8080`.
    pub(crate) listen: String,
    /// What hosts end in.
    pub(crate) domain: String,
    /// By namespace and name.
    pub(crate) functions: Vec<Function>,
    /// Warm instances that wait for a revision.
    pub(crate) warm: u32,
    /// How long starts took, as the autoscaler counts them.
    pub(crate) cold_starts: serde_json::Value,
}

/// One function.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Function {
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
    /// Where it answers.
    pub(crate) url: String,
    /// Whether requests can be answered.
    pub(crate) ready: Ready,
    /// Why it is ready or not.
    pub(crate) reason: Reason,
    /// The same in a sentence that says what to do.
    pub(crate) message: String,
    /// The newest revision, ready or not; empty when there is none yet.
    pub(crate) latest_revision: String,
    /// Where the traffic goes.
    pub(crate) traffic: Vec<TrafficStatus>,
    /// Instances that serve.
    pub(crate) replicas: u32,
    /// Instances on their way.
    pub(crate) starting: u32,
    /// Instances on their way out.
    pub(crate) draining: u32,
    /// Its requests, where they are counted in one place.
    #[serde(flatten)]
    pub(crate) requests: Option<Requests>,
    /// When it was first deployed, in seconds since the Unix epoch.
    pub(crate) created_unix_seconds: u64,
}

/// The requests of a function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Requests {
    /// Those that wait for a slot.
    pub(crate) waiting: u32,
    /// Those at instances.
    pub(crate) in_flight: u32,
    /// All since `wisp up` started.
    pub(crate) requests_total: u64,
    /// Of these, those that an instance failed.
    pub(crate) failed_total: u64,
}

/// Whether a function can answer requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ready {
    /// It can.
    True,
    /// It cannot, and `message` says what to do.
    False,
    /// It is being worked on.
    Unknown,
}

/// `GET /api/functions/<namespace>/<name>`: one function with all that belongs to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Detail {
    /// The function.
    pub(crate) function: Function,
    /// The file that it came from.
    pub(crate) origin: String,
    /// Its spec, defaults filled in; none when its manifest cannot be read.
    pub(crate) spec: Option<WasmFunctionSpec>,
    /// Newest first.
    pub(crate) revisions: Vec<Revision>,
    /// Instances of any of its revisions.
    pub(crate) instances: Vec<Instance>,
    /// What happened lately, oldest first.
    pub(crate) events: Vec<Event>,
}

/// One revision.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Revision {
    /// `<function>-00001`.
    pub(crate) name: String,
    /// `sha256:<hex>` of its component.
    pub(crate) digest: String,
    /// When it was made, in seconds since the Unix epoch.
    pub(crate) created_unix_seconds: u64,
    /// Share of the traffic.
    pub(crate) percent: u8,
    /// Instances that are wanted.
    pub(crate) wanted: u32,
    /// Instances that serve.
    pub(crate) ready: u32,
}

/// One instance.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Instance {
    /// Its name.
    pub(crate) name: String,
    /// The process, when it is one of this machine.
    pub(crate) pid: Option<u32>,
    /// Its revision.
    pub(crate) revision: String,
    /// Where it is in its life: `starting`, `ready`, `draining` and so on.
    pub(crate) state: String,
    /// Requests in flight, where they are known.
    pub(crate) in_flight: Option<u32>,
    /// Since it was first heard of.
    pub(crate) age_millis: u64,
}

/// Something that happened to a function.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Event {
    /// When.
    pub(crate) unix_millis: u64,
    /// Why, as a word.
    pub(crate) reason: String,
    /// What, as a sentence.
    pub(crate) message: String,
}

/// One line of `GET /api/functions/<namespace>/<name>/logs`, which is newline-delimited JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LogLine {
    /// When it was read.
    pub(crate) unix_millis: u64,
    /// Which instance wrote it.
    pub(crate) instance: String,
    /// That instance's revision.
    pub(crate) revision: String,
    /// Which of its two streams.
    pub(crate) stream: Stream,
    /// The line without its end.
    pub(crate) text: String,
}

/// A standard stream of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}
