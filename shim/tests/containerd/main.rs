//! The shim under a real containerd, in mount and process namespaces of its own.
//!
//! Needs root, and the programs of `tests/cluster` (containerd, ctr). Where they are missing the tests say so and pass.

#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "what cannot go on fails the test")]

mod crash;
mod cycles;
mod linux;
mod node;
mod task;
mod traces;
mod wasm;
