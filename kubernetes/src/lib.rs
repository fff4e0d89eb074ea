//! What the parts of Wisp that run on a cluster share: a client of the API server, the lease of a leader, the identity
//! behind a token, and applying objects under a name of one's own. It knows no functions and decides nothing.
//!
//! - [`client()`] connects as the pod that this is, or as the user of a kubeconfig.
//! - [`Lease`] makes one of several replicas the leader; `term` is what it goes by.
//! - [`review_token`] tells whose token somebody showed.
//! - [`apply()`] writes objects without taking over foreign ones.

#![forbid(unsafe_code)]

pub mod apply;
pub mod client;
pub mod identity;
pub mod lease;
mod term;

pub use apply::{ApplyError, apply};
pub use client::{bounded_client, client};
pub use identity::{Identity, ReviewError, review_token};
pub use lease::{Lease, LeaseOf, LeaseSettings, Lost, Tenure};
