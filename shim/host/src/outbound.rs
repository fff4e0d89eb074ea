//! Outgoing HTTP: nothing is allowed until the spec grants it, and a granted name must not lead to an address that no
//! function should reach.
//!
//! [`Policy`] decides by scheme, host and port; [`Network`] decides by the address that the name turned out to have;
//! [`Upstreams`] connects, to exactly the addresses that were checked, and keeps connections; [`OutboundHooks`] is what
//! wasmtime calls. Redirects are answers like any other: the guest follows them, and each hop is checked anew.

mod connect;
mod hooks;
mod network;
mod policy;
mod undelivered;

pub use self::connect::Upstreams;
pub use self::hooks::OutboundHooks;
pub use self::network::{Network, NetworkError};
pub use self::policy::{Policy, PolicyError};
