//! Watches the API server, for as long as somebody listens.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use wisp_api::names::LABEL_INSTANCE;
use wisp_api::{FunctionKey, WarmPool, WasmFunction, WasmRevision};
use wisp_chassis::backoff::Backoff;

use super::view::key_of;

/// Changes that wait; a slow reader slows the watches down.
const CHANGES_WAITING: usize = 256;
/// The first wait after a watch broke.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// The longest: pods that end are to be noticed soon after the API server is back.
const RETRY_CAP: Duration = Duration::from_secs(3);

/// A change that was seen.
#[derive(Debug)]
pub(crate) enum Seen {
    Function(Change<WasmFunction>),
    Revision(Change<WasmRevision>),
    Pool(Change<WarmPool>),
    Pod(Change<Pod>),
}

/// A change of one kind of object.
#[derive(Debug)]
pub(crate) enum Change<K> {
    Apply(Box<K>),
    Delete(Box<K>),
    /// All that there is was named since the watch began anew: what is not among these is gone.
    Listed(Listed),
}

/// The objects of one kind, by both of their names.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    pub(crate) keys: BTreeSet<FunctionKey>,
    pub(crate) uids: BTreeSet<String>,
}

/// Begins all watches. They end when the receiver is dropped.
pub(crate) fn watch_all(client: &Client) -> mpsc::Receiver<Seen> {
    let (sender, seen) = mpsc::channel(CHANGES_WAITING);
    let everything = watcher::Config::default();
    let instances = watcher::Config::default().labels(&format!("{LABEL_INSTANCE}=true"));
    tokio::spawn(watch(Api::all(client.clone()), everything.clone(), Seen::Function, sender.clone()));
    tokio::spawn(watch(Api::all(client.clone()), everything.clone(), Seen::Revision, sender.clone()));
    tokio::spawn(watch(Api::all(client.clone()), everything, Seen::Pool, sender.clone()));
    tokio::spawn(watch(Api::all(client.clone()), instances, Seen::Pod, sender));
    seen
}

async fn watch<K>(objects: Api<K>, config: watcher::Config, wrap: fn(Change<K>) -> Seen, seen: mpsc::Sender<Seen>)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let (mut backoff, mut listed) = (Backoff::new(RETRY_FIRST, RETRY_CAP), Listed::default());
    let mut events = std::pin::pin!(watcher(objects, config));
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = seen.closed() => return,
        };
        let change = match event {
            Some(Ok(event)) => {
                backoff.reset();
                change(event, &mut listed)
            }
            Some(Err(error)) => {
                tracing::warn!(kind = %K::kind(&()), %error, "a watch broke; it begins anew");
                tokio::time::sleep(backoff.wait()).await;
                continue;
            }
            None => return,
        };
        if let Some(change) = change
            && seen.send(wrap(change)).await.is_err()
        {
            return;
        }
    }
}

fn change<K: Resource>(event: Event<K>, listed: &mut Listed) -> Option<Change<K>> {
    match event {
        Event::Init => {
            *listed = Listed::default();
            None
        }
        Event::InitApply(object) => {
            listed.keys.insert(key_of(&object));
            listed.uids.extend(object.uid());
            Some(Change::Apply(Box::new(object)))
        }
        Event::InitDone => Some(Change::Listed(std::mem::take(listed))),
        Event::Apply(object) => Some(Change::Apply(Box::new(object))),
        Event::Delete(object) => Some(Change::Delete(Box::new(object))),
    }
}
