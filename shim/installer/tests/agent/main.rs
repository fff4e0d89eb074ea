//! The node's agent against a real API server, and an operator's side that this test plays: as a process here, and as the
//! DaemonSet of `deploy/node`.

#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "what cannot go on fails the test")]

mod daemonset;
mod operator;
mod process;
mod revisions;

use std::time::Duration;

/// What is asked for here takes about a second on an idle machine; this one may be building next door.
const PATIENCE: Duration = Duration::from_secs(120);
