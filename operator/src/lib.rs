//! The slow part of Wisp: it turns functions into revisions, pods, pools, services and routes, and says how they are.
//!
//! It talks to the API server and to registries, and to nobody else; no request waits for it. It decides no numbers: a
//! revision's scale is the autoscaler's, and which of its running pods goes is too.
//!
//! In the order of the data:
//!
//! - [`controllers`] says who is looked at when what changes, with the [`context`] that all share.
//! - [`function`] brings one function closer to its spec: [`component`] finds and compiles what it runs, [`plan`] says
//!   which revisions it should have, [`children`] are the objects by which it is reached, [`status`] is what is said of
//!   it.
//! - [`revision`] and [`pool`] create and delete [`pod`]s; [`instances`] sorts those that are there.
//! - [`bootstrap`] makes the installation's own secrets; [`artifacts`] hands compiled code to the nodes.
//! - [`metrics`] counts.

#![forbid(unsafe_code)]

pub mod artifacts;
pub mod bootstrap;
pub mod children;
pub mod component;
pub mod context;
pub mod controllers;
pub mod function;
pub mod instances;
pub mod metrics;
pub mod plan;
pub mod pod;
pub mod pool;
pub mod revision;
pub mod status;
