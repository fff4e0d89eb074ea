//! The messages of the control streams, generated from `proto/wisp.proto`, which documents them.

#![allow(
    missing_docs,
    unused_qualifications,
    clippy::large_enum_variant,
    clippy::too_many_arguments,
    reason = "generated code; the proto file carries the documentation"
)]

include!(concat!(env!("OUT_DIR"), "/wisp.v1.rs"));

/// The version of the control protocol that this build speaks. A peer with another version is refused.
pub const PROTOCOL: u32 = 1;

/// How often a busy activator or host reports. A report older than three periods counts no longer.
pub const REPORT_PERIOD: std::time::Duration = std::time::Duration::from_millis(250);

/// How often an idle activator or host says that it is still there.
pub const HEARTBEAT_PERIOD: std::time::Duration = std::time::Duration::from_secs(1);
