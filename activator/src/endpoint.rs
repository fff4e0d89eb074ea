//! One instance, as requests are sent to it.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::http1::Pool;
use crate::http2::Shared;
use crate::socket::Address;

/// An address that is of no known form.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no endpoint address; it must be unix:/path or tcp:host:port")]
pub(crate) struct EndpointError(String);

/// An instance's address, and the connections to it.
pub(crate) struct Endpoint {
    text: Box<str>,
    /// How long its start took, when requests waited for it; zero otherwise.
    pub start: Duration,
    /// Where it listens.
    pub address: Address,
    /// Requests that have a slot here and were not sent yet.
    pub unsent: AtomicU32,
    /// Connections for HTTP/1.1 requests.
    pub http1: Pool,
    /// The connection for HTTP/2 requests.
    pub http2: Shared,
}

impl Endpoint {
    /// An instance at `unix:/path` or `tcp:host:port`; nothing is connected yet.
    pub(crate) fn new(address: &str, start: Duration) -> Result<Self, EndpointError> {
        let parsed = Address::parse(address).ok_or_else(|| EndpointError(address.to_owned()))?;
        Ok(Self {
            text: address.into(),
            start,
            address: parsed,
            unsent: AtomicU32::new(0),
            http1: Pool::default(),
            http2: Shared::default(),
        })
    }

    /// Where it listens, as text.
    pub(crate) fn address(&self) -> &str {
        &self.text
    }

    /// Whether this is its address.
    pub(crate) fn is_at(&self, address: &str) -> bool {
        &*self.text == address
    }

    /// Whether a request is about to be sent to it.
    pub(crate) fn has_unsent(&self) -> bool {
        self.unsent.load(Ordering::Acquire) > 0
    }

    /// Closes connections that are not needed while no requests come.
    pub(crate) fn rest(&self) {
        self.http1.rest();
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Endpoint").field(&self.text).finish()
    }
}
