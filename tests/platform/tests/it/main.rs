//! Wisp on a real Kubernetes when all goes well.
//!
//! All tests share one cluster. They need what `tests/cluster` needs, its programs, and the static programs of
//! `make static`; where something is missing they say so and pass.

#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "what cannot go on fails the test")]

mod changing;
mod external;
mod metrics;
mod platform;
mod rights;
mod waking;
