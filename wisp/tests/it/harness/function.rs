//! Manifests that read as sentences.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// A function's manifest.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    name: String,
    spec: Value,
    /// Further objects of the same file.
    others: Vec<Value>,
}

/// `guests.wasm` with default settings: change what the test is about.
pub(crate) fn function(name: &str) -> Function {
    let spec = json!({"component": {"path": guests()}});
    Function { name: name.to_owned(), spec, others: Vec::new() }
}

/// The component with a behaviour for each path; see tests/guests/README.md.
pub(crate) fn guests() -> PathBuf {
    prebuilt("guests.wasm")
}

pub(crate) fn prebuilt(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("tests/guests/prebuilt").join(name)
}

/// A component of `samples/`.
pub(crate) fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("samples/prebuilt").join(name)
}

impl Function {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The same under another name.
    pub(crate) fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Another component; relative paths are beside the manifest.
    pub(crate) fn component(self, path: impl AsRef<Path>) -> Self {
        self.with("component.path", path.as_ref().to_str().unwrap())
    }

    /// Time without demand before the last instance goes.
    pub(crate) fn idle(self, idle: &str) -> Self {
        self.with("scaling.idle", idle)
    }

    /// Requests at once in one instance.
    pub(crate) fn slots(self, slots: u32) -> Self {
        self.with("concurrency.slots", slots)
    }

    /// Instances at most.
    pub(crate) fn max(self, max: u32) -> Self {
        self.with("scaling.max", max)
    }

    pub(crate) fn timeout(self, timeout: &str) -> Self {
        self.with("limits.timeout", timeout)
    }

    /// Sets a field of the spec, such as `scaling.min`.
    pub(crate) fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        let at = field.split('.').fold(&mut self.spec, |at, name| &mut at[name]);
        *at = value.into();
        self
    }

    /// A ConfigMap or a Secret in the same file.
    pub(crate) fn beside(mut self, object: Value) -> Self {
        self.others.push(object);
        self
    }

    /// Without those that [`Function::beside`] added.
    pub(crate) fn without_others(mut self) -> Self {
        self.others.clear();
        self
    }

    pub(crate) fn yaml(&self) -> String {
        let metadata = json!({"name": self.name});
        let function =
            json!({"apiVersion": "wisp.dev/v1alpha1", "kind": "WasmFunction", "metadata": metadata, "spec": self.spec});
        let documents: Vec<String> = std::iter::once(&function).chain(&self.others).map(Value::to_string).collect();
        documents.join("\n---\n")
    }
}
