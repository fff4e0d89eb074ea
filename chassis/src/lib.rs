//! What every long-lived process of Wisp needs, once: logging, the admin port, and the control streams.
//!
//! It knows nothing of functions or scaling. In the order in which a process meets them:
//!
//! - [`log`] sets up tracing.
//! - [`admin`] serves `/live`, `/ready`, `/metrics` and `/dump`.
//! - [`control`] carries the messages of [`wisp_api::wire`] between activators, hosts and the autoscaler.
//! - [`backoff`] spaces out what is tried again.

#![forbid(unsafe_code)]

pub mod admin;
pub mod backoff;
pub mod control;
pub mod log;
