//! A map for many readers: each key belongs to one of several shards, and each shard has its own lock.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{PoisonError, RwLock};

/// More than the cores that read at once, so that two seldom meet.
const SHARDS: usize = 32;

/// A concurrent map with text keys.
#[derive(Debug)]
pub(crate) struct Shards<V> {
    hasher: RandomState,
    shards: Box<[RwLock<HashMap<String, V>>]>,
}

impl<V> Default for Shards<V> {
    fn default() -> Self {
        Self { hasher: RandomState::new(), shards: (0..SHARDS).map(|_| RwLock::default()).collect() }
    }
}

impl<V> Shards<V> {
    /// Looks at a value, if there is one, with the shard locked for reading.
    pub(crate) fn read<R>(&self, key: &str, look: impl FnOnce(&V) -> R) -> Option<R> {
        self.shard(key).read().unwrap_or_else(PoisonError::into_inner).get(key).map(look)
    }

    /// Sets a value, or removes it.
    pub(crate) fn set(&self, key: &str, value: Option<V>) {
        let mut shard = self.shard(key).write().unwrap_or_else(PoisonError::into_inner);
        match value {
            Some(value) => _ = shard.insert(key.to_owned(), value),
            None => _ = shard.remove(key),
        }
    }

    /// Looks at all values, one shard after the other.
    pub(crate) fn for_each(&self, mut look: impl FnMut(&V)) {
        for shard in &self.shards {
            shard.read().unwrap_or_else(PoisonError::into_inner).values().for_each(&mut look);
        }
    }

    fn shard(&self, key: &str) -> &RwLock<HashMap<String, V>> {
        let hash = self.hasher.hash_one(key);
        &self.shards[(hash % SHARDS as u64) as usize]
    }
}
