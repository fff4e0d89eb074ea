//! The slow part of Wisp: it turns functions into revisions, pods, pools, services and routes, and says how they are.
//!
//! It talks to the API server and to registries, and to nobody else; no request waits for it. It decides no numbers: a
//! revision's scale is the autoscaler's, and which of its running pods goes is too.
//!
//! In the order of the data:
//!
//! - [`controllers`] says who is looked at when what changes, with the [`context`] that all share. [`functions`] knows what
//!   a change of one function means for others, [`hosts`] which of two has a host.
//! - [`function`] brings one function closer to its spec: [`component`] finds and compiles what it runs, [`plan`] says
//!   which revisions it should have, [`children`] are the objects by which it is reached, [`reach`] applies
//!   those that are not as [`known`] shows them (`applied` compares), [`status`] is what is said of it, and [`events`] what
//!   is told when that changes.
//! - What is there is seen in watches, and listed only where it must be certain, as before a revision's pods are created
//!   (decision 0010): `watched` is one kind in one store, `grouped` the same by owner, with what was written a moment ago;
//!   `spread` tells all whose business a change is.
//! - [`revision`] and [`pool`] create and delete [`pod`]s; [`instances`] sorts those that are there, [`surge`] says how
//!   large a pool is for the moment. [`policy`] keeps the NetworkPolicy of a namespace.
//! - [`bootstrap`] makes the installation's own secrets, [`renewal`] keeps them fresh; [`artifacts`] hands compiled code to
//!   the nodes.
//! - [`metrics`] counts, [`dump`] shows what the operator sees.

#![forbid(unsafe_code)]

mod applied;
pub mod artifacts;
pub mod bootstrap;
pub mod children;
pub mod component;
pub mod context;
pub mod controllers;
pub mod dump;
pub mod events;
pub mod function;
pub mod functions;
mod grouped;
pub mod hosts;
pub mod instances;
pub mod known;
pub mod metrics;
pub mod plan;
pub mod pod;
pub mod policy;
pub mod pool;
pub mod reach;
pub mod renewal;
pub mod revision;
mod spread;
pub mod status;
pub mod surge;
mod watched;
