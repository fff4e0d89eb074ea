//! The data of the ConfigMaps and Secrets that functions name, wherever they were read from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};

use crate::function::WasmFunctionSpec;

/// Keys and values of one ConfigMap or Secret.
pub type Data = BTreeMap<String, Vec<u8>>;

/// What data may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceKind {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

/// One ConfigMap or Secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceKey {
    /// Which of the two.
    pub kind: SourceKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// The data of ConfigMaps and Secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources(BTreeMap<SourceKey, Data>);

impl Sources {
    /// Adds one, or replaces it.
    pub fn insert(&mut self, key: SourceKey, data: Data) {
        self.0.insert(key, data);
    }

    /// The data of one, if it is there.
    #[must_use]
    pub fn get(&self, kind: SourceKind, namespace: &str, name: &str) -> Option<&Data> {
        self.0.get(&SourceKey { kind, namespace: namespace.to_owned(), name: name.to_owned() })
    }

    /// The ConfigMaps and Secrets that a function of `namespace` takes environment variables from.
    #[must_use]
    pub fn of_environment(namespace: &str, spec: &WasmFunctionSpec) -> BTreeSet<SourceKey> {
        let whole = spec.env_from.iter().flat_map(|from| {
            let map = from.config_map_ref.as_ref().map(|source| (SourceKind::ConfigMap, source.name.clone()));
            let secret = from.secret_ref.as_ref().map(|source| (SourceKind::Secret, source.name.clone()));
            map.into_iter().chain(secret)
        });
        let single = spec.env.iter().filter_map(|variable| variable.value_from.as_ref()).flat_map(|from| {
            let map = from.config_map_key_ref.as_ref().map(|source| (SourceKind::ConfigMap, source.name.clone()));
            let secret = from.secret_key_ref.as_ref().map(|source| (SourceKind::Secret, source.name.clone()));
            map.into_iter().chain(secret)
        });
        let key = |(kind, name)| SourceKey { kind, namespace: namespace.to_owned(), name };
        whole.chain(single).map(key).collect()
    }
}

/// What a ConfigMap holds.
#[must_use]
pub fn of_config_map(map: ConfigMap) -> Data {
    let text = map.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes()));
    text.chain(map.binary_data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0))).collect()
}

/// What a Secret holds.
#[must_use]
pub fn of_secret(secret: Secret) -> Data {
    let bytes = secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
    // As the API server does: plain text wins.
    let text = secret.string_data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes()));
    bytes.chain(text).collect()
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        })
    }
}
