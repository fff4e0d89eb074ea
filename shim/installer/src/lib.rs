//! Puts the shim on a node: two programs in a folder of their own, one table in containerd's configuration, one label on
//! the node. All of it can be done again without effect, and undone. It starts no pods and knows no functions.
//!
//! In the order of the data: [`cli`] reads what to do; [`installer`] does it step by step with `programs` (files),
//! [`containerd`] (the configuration as text, pure), `restart` and `label` (the only one that talks to Kubernetes).

#![forbid(unsafe_code)]

pub mod cli;
pub mod containerd;
pub mod installer;
mod label;
mod programs;
mod restart;
