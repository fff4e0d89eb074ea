//! Names of functions and revisions, with their namespace.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A function's identity: `<namespace>/<name>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FunctionKey {
    /// The Kubernetes namespace.
    pub namespace: String,
    /// The name of the `WasmFunction`.
    pub name: String,
}

/// A revision's identity: `<namespace>/<function>-00001`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RevisionKey {
    /// The Kubernetes namespace.
    pub namespace: String,
    /// The name of the `WasmRevision`.
    pub name: String,
}

/// A key that is not of the form `<namespace>/<name>`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not of the form <namespace>/<name>")]
pub struct KeyError(String);

impl FunctionKey {
    /// The key of `name` in `namespace`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of this function's revision number `generation`: `<function>-00001`, as in Knative.
    #[must_use]
    pub fn revision(&self, generation: u32) -> RevisionKey {
        RevisionKey { namespace: self.namespace.clone(), name: format!("{}-{generation:05}", self.name) }
    }
}

impl RevisionKey {
    /// The key of `name` in `namespace`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The function of a revision that is named as [`FunctionKey::revision`] names them.
    #[must_use]
    pub fn function(&self) -> FunctionKey {
        let name = self.name.rsplit_once('-').map_or(self.name.as_str(), |(function, _)| function);
        FunctionKey::new(&self.namespace, name)
    }
}

fn split(text: &str) -> Result<(String, String), KeyError> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok((namespace.to_owned(), name.to_owned()))
        }
        _ => Err(KeyError(text.to_owned())),
    }
}

impl FromStr for FunctionKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        split(text).map(|(namespace, name)| Self { namespace, name })
    }
}

impl FromStr for RevisionKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        split(text).map(|(namespace, name)| Self { namespace, name })
    }
}

impl TryFrom<String> for FunctionKey {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl TryFrom<String> for RevisionKey {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl From<FunctionKey> for String {
    fn from(key: FunctionKey) -> Self {
        key.to_string()
    }
}

impl From<RevisionKey> for String {
    fn from(key: RevisionKey) -> Self {
        key.to_string()
    }
}

impl fmt::Display for FunctionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Display for RevisionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_are_numbered_with_five_digits() {
        assert_eq!(FunctionKey::new("shop", "cart").revision(7).to_string(), "shop/cart-00007");
    }

    #[test]
    fn a_revision_tells_its_function() {
        assert_eq!(RevisionKey::new("shop", "a-b-00012").function(), FunctionKey::new("shop", "a-b"));
    }

    #[test]
    fn a_key_needs_exactly_one_slash() {
        for bad in ["", "a", "/a", "a/", "a/b/c"] {
            assert!(bad.parse::<RevisionKey>().is_err(), "{bad:?}");
        }
        assert_eq!("a/b".parse(), Ok(RevisionKey::new("a", "b")));
    }
}
