//! Routes from the API server: what the functions say of themselves, and the limits of their revisions.
//!
//! `known` keeps what was seen and says what follows for the routes; here is what watches and applies. While the API
//! server is away everything stays as it is.

mod known;

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::runtime::WatchStreamExt;
use kube::runtime::utils;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use tokio::sync::watch;
use wisp_activator::Index;
use wisp_api::{WasmFunction, WasmRevision};
use wisp_chassis::backoff::Backoff;

use self::known::{Change, Known};

const RETRY_FIRST: Duration = Duration::from_millis(100);
/// A function that is new is not found here until the API server is asked again; a few activators are no load on it.
const RETRY_CAP: Duration = Duration::from_secs(3);

/// Between a watch that broke and the next, as kube asks for them.
struct Pauses(Backoff);

/// What hosts end in.
#[derive(Clone, Debug)]
pub(crate) struct Domains {
    /// Public ones.
    pub(crate) public: String,
    /// Names of Services.
    pub(crate) cluster: String,
}

/// Follows functions and revisions, and keeps `index` true. `synced` becomes true when all have been seen once. Runs
/// until it is dropped.
pub(crate) async fn follow(client: Client, domains: Domains, index: Arc<Index>, synced: watch::Sender<bool>) {
    let mut functions = std::pin::pin!(stream::<WasmFunction>(&client));
    let mut revisions = std::pin::pin!(stream::<WasmRevision>(&client));
    let mut known = Known::new(domains);
    loop {
        let changes = tokio::select! {
            event = functions.next() => event.map(|event| known.function(event)),
            event = revisions.next() => event.map(|event| known.revision(event)),
        };
        let Some(changes) = changes else { return };
        // Until all have been seen, a function whose revision has not been would get limits that are not its own.
        if !known.is_complete() {
            continue;
        }
        if !*synced.borrow() {
            let routes = known.routes();
            tracing::info!(functions = routes.len(), "routes are known");
            index.reset(routes);
            synced.send_replace(true);
            continue;
        }
        for change in changes {
            match change {
                Change::Apply(route) => index.apply(*route),
                Change::Delete(function) => index.delete(&function),
            }
        }
    }
}

/// Events without end: what breaks is begun anew, with a growing pause.
fn stream<K>(client: &Client) -> impl Stream<Item = Event<K>> + Send + use<K>
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + Sync + 'static,
{
    let kind = K::kind(&()).into_owned();
    let events = watcher::watcher(Api::<K>::all(client.clone()), watcher::Config::default());
    let events = events.backoff(Pauses(Backoff::new(RETRY_FIRST, RETRY_CAP)));
    events.filter_map(move |event| {
        if let Err(error) = &event {
            tracing::warn!(kind, %error, "the watch broke; routes stay as they are, trying again");
        }
        std::future::ready(event.ok())
    })
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.0.wait())
    }
}

impl utils::Backoff for Pauses {
    fn reset(&mut self) {
        self.0.reset();
    }
}
