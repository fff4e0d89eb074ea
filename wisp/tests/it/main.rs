//! The whole path as real processes: `wisp up` with instances of its own, and clients over TCP.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "what cannot go on fails the test")]

mod harness;

mod abuse;
mod cluster;
mod crash;
mod deploy;
mod limits;
mod outbound;
mod protocols;
mod restart;
mod routing;
mod scale;
mod streaming;
mod update;
