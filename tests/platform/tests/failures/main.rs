//! What goes on while something is lost: the table in docs/kubernetes.md, each line on a real cluster under load.
//!
//! All tests share one cluster, and take turns. They need what the tests in `it` need.

#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "what cannot go on fails the test")]

mod control_plane;
mod node;
mod programs;
mod turn;
