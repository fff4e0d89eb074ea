//! Functions behind ingress controllers and a Gateway: what `docs/kubernetes.md` says of them.
//!
//! All tests share one cluster with Traefik and Skipper, which `tests/cluster/build ingress` makes. Where something is
//! missing they say so and pass.

#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "what cannot go on fails the test")]

mod certificate;
mod controllers;
mod exchange;
mod protocols;
mod reached;
mod routing;
