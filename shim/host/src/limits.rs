//! What one request and one wasm instance may use: the spec's limits, and those that are the same for everybody.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use wasmtime::ResourceLimiter;
use wisp_api::wire::{HostConcurrency, HostLimits};

use crate::engine::POOL_SLOTS_MAX;
use crate::metrics::Metrics;

/// Resources (streams, bodies, fields, pollables) that a guest may hold at once: more is a leak or an attack.
pub const RESOURCES_MAX: usize = 10_000;
/// Bytes that one host call may copy out of a guest, as lists and strings; bodies are streamed in smaller pieces.
pub const HOSTCALL_BYTES_MAX: usize = 16 << 20;
/// Random bytes that one call may ask for.
pub const RANDOM_BYTES_MAX: u64 = 1 << 20;
/// Elements of one table; C# in debug builds has over ten thousand.
const TABLE_ELEMENTS_MAX: usize = 20_000;
/// Of a whole component: what the pool allows per component.
const INSTANCES_MAX: usize = 64;
const TABLES_MAX: usize = 32;
const MEMORIES_MAX: usize = 4;

/// A revision's limits. A zero in the spec means the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The whole request, from its head to the last byte of the answer.
    pub timeout: Duration,
    /// Time that the guest may compute for one request.
    pub cpu_time: Duration,
    /// Linear memory of one wasm instance.
    pub memory_bytes: u64,
    /// Largest request body.
    pub request_body_bytes: u64,
    /// Requests at once.
    pub slots: u32,
    /// Requests that one wasm instance serves in its life.
    pub reuse_requests: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            cpu_time: Duration::from_secs(5),
            memory_bytes: 64 << 20,
            request_body_bytes: 10 << 20,
            slots: 100,
            reuse_requests: 1,
        }
    }
}

impl Limits {
    /// The limits of a spec.
    #[must_use]
    pub fn new(limits: &HostLimits, concurrency: &HostConcurrency) -> Self {
        let default = Self::default();
        let millis = |value, default| if value == 0 { default } else { Duration::from_millis(value) };
        let number = |value, default| if value == 0 { default } else { value };
        let count = |value, default| if value == 0 { default } else { value };
        Self {
            timeout: millis(limits.timeout_millis, default.timeout),
            cpu_time: millis(limits.cpu_time_millis, default.cpu_time),
            memory_bytes: number(limits.memory_bytes, default.memory_bytes),
            request_body_bytes: number(limits.request_body_bytes, default.request_body_bytes),
            slots: count(concurrency.slots, default.slots).min(POOL_SLOTS_MAX),
            reuse_requests: count(concurrency.reuse_requests, default.reuse_requests),
        }
    }
}

/// Counts and bounds the memory of one wasm instance.
pub struct MemoryLimiter {
    bytes_max: u64,
    bytes: u64,
    metrics: Arc<Metrics>,
}

impl MemoryLimiter {
    /// Allows `bytes_max` in all memories of an instance together.
    #[must_use]
    pub fn new(bytes_max: u64, metrics: Arc<Metrics>) -> Self {
        Self { bytes_max, bytes: 0, metrics }
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let grown = desired.saturating_sub(current) as u64;
        if self.bytes + grown > self.bytes_max {
            // The guest sees its memory.grow fail, as on a machine with less memory.
            return Ok(false);
        }
        self.bytes += grown;
        self.metrics.guest_memory_bytes.fetch_add(grown, Relaxed);
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}

impl Drop for MemoryLimiter {
    fn drop(&mut self) {
        self.metrics.guest_memory_bytes.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_over_all_memories_and_given_back() {
        let metrics = Arc::new(Metrics::default());
        let mut limiter = MemoryLimiter::new(100, Arc::clone(&metrics));
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(!limiter.memory_growing(0, 60, None).unwrap());
        assert!(limiter.memory_growing(60, 100, None).unwrap());
        assert_eq!(metrics.guest_memory_bytes.load(Relaxed), 100);
        drop(limiter);
        assert_eq!(metrics.guest_memory_bytes.load(Relaxed), 0);
    }

    #[test]
    fn zero_means_the_default_and_slots_fit_the_pool() {
        let concurrency = HostConcurrency { slots: 1_000_000, reuse_requests: 0 };
        let limits = Limits::new(&HostLimits { timeout_millis: 7, ..HostLimits::default() }, &concurrency);
        assert_eq!(limits.timeout, Duration::from_millis(7));
        assert_eq!(limits.cpu_time, Limits::default().cpu_time);
        assert_eq!((limits.slots, limits.reuse_requests), (POOL_SLOTS_MAX, 1));
    }
}
