//! What is deployed, for those who look: the admin port reads it, only the deployer writes it.

use std::collections::VecDeque;
use std::path::PathBuf;

use dashmap::DashMap;
use wisp_api::key::FunctionKey;
use wisp_api::status::{Reason, TrafficStatus};

use super::clock;
use crate::view::{Event, Ready};

/// Events that are kept of each function.
const EVENTS_MAX: usize = 32;

/// All functions, by key.
#[derive(Debug, Default)]
pub(crate) struct Board {
    functions: DashMap<FunctionKey, Entry>,
}

/// One function.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) created_unix_seconds: u64,
    pub(crate) origin: PathBuf,
    /// Oldest first.
    pub(crate) revisions: Vec<RevisionNote>,
    pub(crate) traffic: Vec<TrafficStatus>,
    pub(crate) condition: Condition,
    pub(crate) events: VecDeque<Event>,
}

/// One revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RevisionNote {
    pub(crate) name: String,
    pub(crate) digest: String,
    pub(crate) created_unix_seconds: u64,
}

/// Whether a function can answer, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) ready: Ready,
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

impl Condition {
    pub(crate) fn ready() -> Self {
        Self { ready: Ready::True, reason: Reason::Ready, message: "answers requests".to_owned() }
    }

    pub(crate) fn progressing(message: impl Into<String>) -> Self {
        Self { ready: Ready::Unknown, reason: Reason::Progressing, message: message.into() }
    }

    pub(crate) fn failed(reason: Reason, message: impl Into<String>) -> Self {
        Self { ready: Ready::False, reason, message: message.into() }
    }
}

impl Board {
    /// All functions, by namespace and name.
    pub(crate) fn all(&self) -> Vec<(FunctionKey, Entry)> {
        let mut all: Vec<_> = self.functions.iter().map(|entry| (entry.key().clone(), entry.value().clone())).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    pub(crate) fn get(&self, key: &FunctionKey) -> Option<Entry> {
        self.functions.get(key).map(|entry| entry.clone())
    }

    pub(crate) fn keys(&self) -> Vec<FunctionKey> {
        self.functions.iter().map(|entry| entry.key().clone()).collect()
    }

    /// Changes a function, which is made if it is not there.
    pub(crate) fn change(&self, key: &FunctionKey, change: impl FnOnce(&mut Entry)) {
        change(&mut self.functions.entry(key.clone()).or_insert_with(Entry::new));
    }

    /// Sets a function's condition, with an event when it is another.
    pub(crate) fn set_condition(&self, key: &FunctionKey, condition: Condition) {
        self.change(key, |entry| {
            if entry.condition != condition {
                // Thousands that become ready as they should are no news.
                let is_news = condition.ready == Ready::False || entry.condition.ready == Ready::False;
                if is_news {
                    entry.event(format!("{:?}", condition.reason), condition.message.clone());
                }
                entry.condition = condition;
            }
        });
    }

    pub(crate) fn remove(&self, key: &FunctionKey) {
        self.functions.remove(key);
    }
}

impl Entry {
    fn new() -> Self {
        Self {
            created_unix_seconds: clock::unix_seconds(),
            origin: PathBuf::new(),
            revisions: Vec::new(),
            traffic: Vec::new(),
            condition: Condition::progressing("has just been found"),
            events: VecDeque::new(),
        }
    }

    pub(crate) fn event(&mut self, reason: impl Into<String>, message: impl Into<String>) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        let (reason, message) = (reason.into(), message.into());
        self.events.push_back(Event { unix_millis: clock::unix_millis(), reason, message });
    }
}
