//! What an activator knows, as plain data: for `/dump`, and for the program that embeds it.

use serde::Serialize;
use wisp_api::key::FunctionKey;

use crate::admission::Trust;

/// All that an activator knows.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    /// Functions, in the order of their names.
    pub functions: Vec<FunctionSnapshot>,
    /// Revisions, in the order of their names.
    pub revisions: Vec<RevisionSnapshot>,
    /// Claims that lost.
    pub conflicts: Vec<Conflict>,
}

/// A function, and where it leads.
#[derive(Clone, Debug, Serialize)]
pub struct FunctionSnapshot {
    /// The function.
    pub function: FunctionKey,
    /// `host/path` of each of its claims.
    pub claims: Vec<String>,
    /// `<namespace>/<revision>` and percent of each of its targets.
    pub targets: Vec<(String, u8)>,
}

/// The demand of a revision, and its endpoints.
#[derive(Clone, Debug, Serialize)]
pub struct RevisionSnapshot {
    /// `<namespace>/<revision>`.
    pub revision: String,
    /// Requests in line.
    pub waiting: u32,
    /// Requests at instances.
    pub in_flight: u32,
    /// Requests since the activator started.
    pub requests_total: u64,
    /// Of these, those that an instance failed.
    pub failed_total: u64,
    /// Of these, those that were refused: the line was full, or no instance could be started.
    pub refused_total: u64,
    /// Its instances.
    pub endpoints: Vec<EndpointSnapshot>,
}

/// An instance, as an activator sees it.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointSnapshot {
    /// Its name.
    pub instance: String,
    /// `unix:/path` or `tcp:host:port`.
    pub address: String,
    /// Requests at once.
    pub slots: u32,
    /// Requests now.
    pub in_flight: u32,
    /// Whether it gets requests.
    pub trust: EndpointTrust,
}

/// Whether an endpoint gets requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum EndpointTrust {
    /// It does.
    Ready,
    /// It was not reachable: not until the autoscaler speaks of it again.
    Suspect,
    /// It was withdrawn, and finishes what it has.
    Withdrawn,
}

/// A claim that another function has an older right to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Conflict {
    /// The host.
    pub host: String,
    /// The path prefix.
    pub path: String,
    /// Who does not get it.
    pub function: FunctionKey,
    /// Who has it.
    pub owner: FunctionKey,
}

impl From<Trust> for EndpointTrust {
    fn from(trust: Trust) -> Self {
        match trust {
            Trust::Ready => Self::Ready,
            Trust::Suspect => Self::Suspect,
            Trust::Withdrawn => Self::Withdrawn,
        }
    }
}
