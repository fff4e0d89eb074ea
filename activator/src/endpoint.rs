//! One instance, as requests are sent to it.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::http1::Pool;
use crate::http2::Shared;
use crate::socket::Address;
use crate::workers::WorkerId;

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
    /// By worker.
    lanes: Box<[Lane]>,
}

/// The connections of one worker to an instance.
#[derive(Default)]
pub(crate) struct Lane {
    /// For HTTP/1.1 requests.
    pub http1: Pool,
    /// For HTTP/2 requests.
    pub http2: Shared,
}

impl Endpoint {
    /// An instance at `unix:/path` or `tcp:host:port`, for so many workers; nothing is connected yet.
    pub(crate) fn new(address: &str, start: Duration, workers: usize) -> Result<Self, EndpointError> {
        let parsed = Address::parse(address).ok_or_else(|| EndpointError(address.to_owned()))?;
        Ok(Self {
            text: address.into(),
            start,
            address: parsed,
            unsent: AtomicU32::new(0),
            lanes: (0..workers).map(|_| Lane::default()).collect(),
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

    /// A worker's own connections.
    pub(crate) fn lane(&self, worker: WorkerId) -> &Lane {
        &self.lanes[worker.0]
    }

    /// Whether a request is about to be sent to it.
    pub(crate) fn has_unsent(&self) -> bool {
        self.unsent.load(Ordering::Acquire) > 0
    }

    /// Closes connections that are not needed while no requests come.
    pub(crate) fn rest(&self) {
        self.lanes.iter().for_each(|lane| lane.http1.rest());
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Endpoint").field(&self.text).finish()
    }
}
