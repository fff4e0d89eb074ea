//! How Wisp comes to a cluster, changes and goes: the README's words, Helm, and plain manifests.
//!
//! All tests share one cluster, one at a time: each begins on a cluster without Wisp. They need what the tests in `it` need.

#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "what cannot go on fails the test")]

mod bare;
mod manifests;
mod readme;
mod release;
