//! Turns functions into revisions, pods, pools, services and routes.

#![forbid(unsafe_code)]
