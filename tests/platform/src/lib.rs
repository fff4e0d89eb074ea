//! Wisp on a real Kubernetes, installed with Helm as its users do, in the hands of tests. It knows what a user knows: the
//! chart, kubectl, and HTTP.
//!
//! In the order of the data:
//! - [`SharedPlatform`] starts a cluster and installs Wisp once for all tests of a program; [`Platform`] is one test's view
//! - [`Function`] is a manifest as a sentence
//! - [`Client`] asks a function, [`Load`] goes on asking, and says what became of each request

#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "what cannot go on fails the test")]

mod client;
mod function;
mod load;
mod platform;

pub use client::{Answer, Client};
pub use function::{Function, function, hello};
pub use load::{Load, Outcomes};
pub use platform::{
    DOMAIN, PATIENCE, Platform, SYSTEM, SharedPlatform, installable, look, push_components, static_programs,
};
pub use wisp_cluster::repository;
