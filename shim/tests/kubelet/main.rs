//! The shim under a real kubelet: what Kubernetes promises of pods holds for pods of components.
//!
//! All tests share one cluster, but for those that disturb theirs. They need what `tests/cluster` needs, its programs, and the static programs of
//! `make static`; where something is missing they say so and pass.

#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "what cannot go on fails the test")]

mod commands;
mod conformance;
mod crowd;
mod fixture;
mod instance;
mod lifecycle;
mod neighbours;
mod recovery;
mod resources;
mod security;
mod servers;
mod traces;
