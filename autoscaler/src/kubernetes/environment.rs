//! The Secrets and ConfigMaps that environments are made from. They are asked for, not watched: a watch of all Secrets
//! would hold the whole cluster's in memory.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};
use tokio::time::{Instant, timeout};
use wisp_api::sources::{Data, SourceKey, SourceKind, Sources, of_config_map, of_secret};

/// Values are asked for again after this long.
pub(crate) const REFRESH: Duration = Duration::from_secs(60);
/// Calls at once.
const CALLS_MAX: usize = 16;
/// One call of the API server.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// What was asked for and is still wanted.
pub(crate) struct Environment {
    client: Client,
    known: HashMap<SourceKey, Known>,
}

struct Known {
    /// None: there is no such object.
    data: Option<Data>,
    /// None: to be asked for anew.
    asked: Option<Instant>,
}

impl Environment {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, known: HashMap::new() }
    }

    /// Asks for those of `wanted` that were not asked for of late. Returns which cannot be asked for and were never
    /// seen, and why.
    pub(crate) async fn refresh(&mut self, wanted: &BTreeSet<SourceKey>) -> HashMap<SourceKey, String> {
        let now = Instant::now();
        let asked = |key: &SourceKey| self.known.get(key)?.asked;
        let is_fresh = |key: &&SourceKey| asked(key).is_some_and(|asked| asked + REFRESH > now);
        let stale: Vec<SourceKey> = wanted.iter().filter(|key| !is_fresh(key)).cloned().collect();
        let calls = stale.into_iter().map(|key| {
            let client = self.client.clone();
            async move {
                let data = ask(client, &key).await;
                (key, data)
            }
        });
        let answers: Vec<_> = stream::iter(calls).buffer_unordered(CALLS_MAX).collect().await;
        let mut unknown = HashMap::new();
        for (key, answer) in answers {
            match answer {
                Ok(data) => {
                    self.known.insert(key, Known { data, asked: Some(now) });
                }
                // What was known is better than nothing.
                Err(error) if self.known.contains_key(&key) => {
                    tracing::warn!(kind = %key.kind, key.namespace, key.name, error, "cannot be asked for; the old one stays");
                }
                Err(error) => {
                    let why = format!("{} {}/{} cannot be asked for: {error}", key.kind, key.namespace, key.name);
                    unknown.insert(key, why);
                }
            }
        }
        unknown
    }

    /// Those of `wanted` that are there.
    pub(crate) fn get(&self, wanted: &BTreeSet<SourceKey>) -> Sources {
        let mut sources = Sources::default();
        for key in wanted {
            if let Some(data) = self.known.get(key).and_then(|known| known.data.clone()) {
                sources.insert(key.clone(), data);
            }
        }
        sources
    }

    /// Asks for these anew at the next refresh.
    pub(crate) fn doubt(&mut self, keys: &BTreeSet<SourceKey>) {
        for key in keys {
            if let Some(known) = self.known.get_mut(key) {
                known.asked = None;
            }
        }
    }

    /// Forgets what nobody wants, so that nothing secret is held for longer than it is used.
    pub(crate) fn keep(&mut self, wanted: &BTreeSet<SourceKey>) {
        self.known.retain(|key, _| wanted.contains(key));
    }
}

async fn ask(client: Client, key: &SourceKey) -> Result<Option<Data>, String> {
    let call = async {
        match key.kind {
            SourceKind::ConfigMap => {
                let maps: Api<ConfigMap> = Api::namespaced(client, &key.namespace);
                Ok(maps.get_opt(&key.name).await?.map(of_config_map))
            }
            SourceKind::Secret => {
                let secrets: Api<Secret> = Api::namespaced(client, &key.namespace);
                Ok(secrets.get_opt(&key.name).await?.map(of_secret))
            }
        }
    };
    match timeout(CALL_TIMEOUT, call).await {
        Ok(answer) => answer.map_err(|error: kube::Error| error.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}
