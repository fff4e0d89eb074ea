//! The deciding part of Wisp: demand comes in, instances come out.
//!
//! It holds a stream to every activator and every host. It decides at once on every wake and whenever a timer says that
//! time alone may change a decision, and it alone says which instance serves which revision. It runs no instance, sees
//! no request, and knows no Kubernetes: what it wants done leaves as [`Actuation`]s.
//!
//! In the order of the data:
//!
//! - `autoscaler` is the one task: [`Handle`] and the streams in `peers` bring events, effects go out.
//! - `event` lists both; [`RevisionRecord`] is what the catalog says of a revision, [`policy()`] how one
//!   scales, [`Settings`] are the numbers.
//! - `fleet` is all state and every decision, without a clock or a channel. Its files are listed there.
//! - [`Actuation`] is what leaves, through the `outbox`; [`Snapshot`] and [`Happened`] are what is shown; [`Metrics`]
//!   counts.

#![forbid(unsafe_code)]

mod actuation;
mod autoscaler;
mod catalog;
mod config;
mod event;
mod fleet;
mod handle;
mod metrics;
mod outbox;
mod peers;
mod policy;
mod snapshot;

pub use actuation::Actuation;
pub use autoscaler::Autoscaler;
pub use catalog::{RecordError, RevisionRecord, Start, Traffic};
pub use config::{Admission, Config, Settings};
pub use event::{ColdStart, Fact, InstanceState, PeerKind, StartKind};
pub use handle::{Handle, HandleError, Happened};
pub use metrics::Metrics;
pub use policy::policy;
pub use snapshot::{ColdStarts, DurationCounts, Explained, InstanceView, RevisionView, Snapshot};
