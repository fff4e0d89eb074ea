//! The activator as its users meet it: real clients before it, real servers behind it, and a scripted autoscaler.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "clippy knows tests, and not what they are made of")]

mod failing;
mod limits;
mod protocols;
mod rig;
mod streaming;
mod traces;
mod waiting;
mod workers;
