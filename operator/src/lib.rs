//! Turns functions into revisions, pods, pools, services and routes.

#![forbid(unsafe_code)]

pub mod bootstrap;
pub mod component;
pub mod pod;
