//! Puts the shim on a node: two programs in a folder of their own, one table in containerd's configuration, one label on
//! the node. All of it can be done again without effect, and undone. And keeps there the compiled code of the cluster's
//! revisions, which functions start from. It starts no pods, compiles nothing, and checks no seals.
//!
//! In the order of the data: [`cli`] reads what to do; [`installer`] does it step by step with `programs` (files),
//! [`containerd`] (the configuration as text, pure), `restart` and `label` (which talks to Kubernetes). [`agent`] is the
//! part that stays. [`check`] asks, from within a cluster, whether an installation answers.

#![forbid(unsafe_code)]

pub mod agent;
pub mod check;
pub mod cli;
pub mod containerd;
pub mod installer;
mod label;
mod programs;
mod restart;
mod trust;
