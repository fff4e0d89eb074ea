//! The host with real components: in process on port 0, and as processes of its own.

#![allow(clippy::unwrap_used, reason = "what cannot go on fails the test")]

mod admin;
mod contained;
mod ensure;
mod failing;
mod folders;
mod limits;
mod outbound;
mod pod;
mod pooled;
mod process;
mod serving;
mod store;
mod support;
mod tls;
