//! Functions, revisions and pools as the API server shows them, and the records that follow. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use jiff::Timestamp;
use kube::ResourceExt;
use wisp_api::fit::fits_pool;
use wisp_api::host_spec::{SourceError, host_spec, preopens};
use wisp_api::names::{DEFAULT_POOL, VOLUMES_DIR};
use wisp_api::revision::CompiledArtifact;
use wisp_api::scaling::{Class, Start as StartWish};
use wisp_api::sources::Sources;
use wisp_api::wire::Artifact;
use wisp_api::{FunctionKey, RevisionKey, WarmPool, WasmFunction, WasmRevision};
use wisp_autoscaler::{RevisionRecord, Start, Traffic, policy};

/// What is known of functions, revisions and pools.
#[derive(Debug)]
pub(crate) struct View {
    settings: Settings,
    functions: HashMap<FunctionKey, WasmFunction>,
    revisions: BTreeMap<RevisionKey, WasmRevision>,
    pools: HashMap<FunctionKey, WarmPool>,
}

/// What does not change while the process lives.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// As `status.artifacts` names it.
    pub(crate) architecture: &'static str,
    /// A revision that is older than this has had its initial instances.
    pub(crate) new_since: Timestamp,
}

impl View {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings, functions: HashMap::new(), revisions: BTreeMap::new(), pools: HashMap::new() }
    }

    /// Each method that changes something says which revisions may be another record now.
    pub(crate) fn apply_function(&mut self, function: WasmFunction) -> Vec<RevisionKey> {
        let key = key_of(&function);
        let before = self.functions.insert(key.clone(), function);
        let (before, now) = (before.map(|before| named(&before)), named(&self.functions[&key]));
        let changed: BTreeSet<String> = match before {
            Some(before) => before.symmetric_difference(&now).cloned().collect(),
            None => now,
        };
        changed.into_iter().map(|name| RevisionKey::new(&key.namespace, name)).collect()
    }

    pub(crate) fn delete_function(&mut self, key: &FunctionKey) -> Vec<RevisionKey> {
        let gone = self.functions.remove(key);
        let names = gone.map(|function| named(&function)).unwrap_or_default();
        names.into_iter().map(|name| RevisionKey::new(&key.namespace, name)).collect()
    }

    pub(crate) fn apply_revision(&mut self, revision: WasmRevision) -> Vec<RevisionKey> {
        let FunctionKey { namespace, name } = key_of(&revision);
        let key = RevisionKey { namespace, name };
        self.revisions.insert(key.clone(), revision);
        vec![key]
    }

    pub(crate) fn delete_revision(&mut self, key: &RevisionKey) -> Vec<RevisionKey> {
        self.revisions.remove(key).map(|_| key.clone()).into_iter().collect()
    }

    pub(crate) fn apply_pool(&mut self, pool: WarmPool) -> Vec<RevisionKey> {
        let key = key_of(&pool);
        let before = self.pools.insert(key.clone(), pool);
        // Its status changes with every claim, and says nothing about what fits.
        match before {
            Some(before) if before.spec == self.pools[&key].spec => Vec::new(),
            _ => self.revisions_of(&key.namespace),
        }
    }

    pub(crate) fn delete_pool(&mut self, key: &FunctionKey) -> Vec<RevisionKey> {
        self.pools.remove(key).map(|_| self.revisions_of(&key.namespace)).unwrap_or_default()
    }

    /// Keys of a kind that are not in `listed`: they went while nobody watched.
    pub(crate) fn functions_besides(&self, listed: &BTreeSet<FunctionKey>) -> Vec<FunctionKey> {
        self.functions.keys().filter(|key| !listed.contains(key)).cloned().collect()
    }

    pub(crate) fn revisions_besides(&self, listed: &BTreeSet<FunctionKey>) -> Vec<RevisionKey> {
        let is_listed = |key: &RevisionKey| listed.contains(&FunctionKey::new(&key.namespace, &key.name));
        self.revisions.keys().filter(|key| !is_listed(key)).cloned().collect()
    }

    pub(crate) fn pools_besides(&self, listed: &BTreeSet<FunctionKey>) -> Vec<FunctionKey> {
        self.pools.keys().filter(|key| !listed.contains(key)).cloned().collect()
    }

    pub(crate) fn revision(&self, key: &RevisionKey) -> Option<&WasmRevision> {
        self.revisions.get(key)
    }

    pub(crate) fn all_revisions(&self) -> impl Iterator<Item = (&RevisionKey, &WasmRevision)> {
        self.revisions.iter()
    }

    /// The record of a revision that can serve; none while it is not there, being deleted, or not compiled.
    ///
    /// # Errors
    /// What its environment names and `sources` lacks.
    pub(crate) fn record(&self, key: &RevisionKey, sources: &Sources) -> Result<Option<RevisionRecord>, SourceError> {
        let Some(revision) = self.revisions.get(key).filter(|found| found.metadata.deletion_timestamp.is_none()) else {
            return Ok(None);
        };
        let Some(compiled) = self.artifact(revision) else { return Ok(None) };
        let template = &revision.spec.template;
        let function = FunctionKey::new(&key.namespace, &revision.spec.function);
        let artifact = Artifact { digest: revision.spec.digest.clone(), path: compiled.file.clone() };
        let mut spec = host_spec(&function, template, artifact, sources)?;
        spec.revision.clone_from(&key.name);
        spec.preopens = preopens(template, |volume| Path::new(VOLUMES_DIR).join(&volume.name).display().to_string());
        let has_traffic = self.functions.get(&function).is_some_and(|found| named(found).contains(&key.name));
        let mut record = RevisionRecord {
            key: key.clone(),
            spec,
            artifact_bytes: compiled.bytes,
            policy: policy(template),
            schedule: template.scaling.schedule.clone(),
            traffic: if has_traffic { Traffic::Active } else { Traffic::Inactive },
            start: self.start(key, revision),
        };
        if !self.is_new(revision) {
            record.policy.initial = 0;
        }
        if template.scaling.class == Class::External {
            // A policy has a maximum of 1 at least: a revision that shall have none is as good as not there.
            if revision.spec.replicas == 0 {
                return Ok(None);
            }
            follow_replicas(&mut record, revision.spec.replicas);
        }
        Ok(Some(record))
    }

    fn artifact<'a>(&self, revision: &'a WasmRevision) -> Option<&'a CompiledArtifact> {
        let artifacts = &revision.status.as_ref()?.artifacts;
        // The name goes to hosts, who open it beneath a folder.
        let is_name = |artifact: &&CompiledArtifact| !artifact.file.is_empty() && !artifact.file.contains('/');
        artifacts.iter().find(|artifact| artifact.architecture == self.settings.architecture).filter(is_name)
    }

    fn start(&self, key: &RevisionKey, revision: &WasmRevision) -> Start {
        let template = &revision.spec.template;
        let pool = self.pools.get(&FunctionKey::new(&key.namespace, DEFAULT_POOL));
        let fits = pool.is_some_and(|pool| fits_pool(template, &pool.spec).is_ok());
        match template.scaling.start {
            StartWish::Warm if fits => Start::Warm,
            StartWish::Warm | StartWish::Fresh => Start::Fresh,
        }
    }

    fn is_new(&self, revision: &WasmRevision) -> bool {
        let created = revision.metadata.creation_timestamp.as_ref();
        created.is_some_and(|created| created.0 >= self.settings.new_since)
    }

    fn revisions_of(&self, namespace: &str) -> Vec<RevisionKey> {
        self.revisions.keys().filter(|key| key.namespace == namespace).cloned().collect()
    }
}

/// Somebody else says how many instances there are.
fn follow_replicas(record: &mut RevisionRecord, replicas: u32) {
    record.schedule.clear();
    record.traffic = Traffic::Active;
    record.policy.max = replicas;
    record.policy.min = replicas;
    record.policy.initial = 0;
    record.policy.activation = record.policy.activation.min(replicas);
}

/// The names of the revisions that a function sends traffic to.
fn named(function: &WasmFunction) -> BTreeSet<String> {
    let traffic = function.status.iter().flat_map(|status| &status.traffic);
    traffic.filter(|target| target.percent > 0 || target.tag.is_some()).map(|target| target.revision.clone()).collect()
}

/// Namespace and name of an object; those of functions, revisions and pools look alike.
pub(crate) fn key_of<K: kube::Resource>(object: &K) -> FunctionKey {
    FunctionKey::new(object.namespace().unwrap_or_default(), object.name_any())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn view() -> View {
        let new_since = "2026-01-01T12:00:00Z".parse().unwrap();
        View::new(Settings { architecture: "amd64", new_since })
    }

    fn object<K: serde::de::DeserializeOwned>(kind: &str, name: &str, spec: Value, status: Value) -> K {
        let metadata = json!({"name": name, "namespace": "shop", "creationTimestamp": "2026-01-01T12:00:01Z"});
        let object = json!({"apiVersion": "wisp.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec, "status": status});
        serde_json::from_value(object).unwrap()
    }

    fn template(more: Value) -> Value {
        let mut template = json!({"component": {"image": "a/b:1"}});
        template.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        template
    }

    fn function(traffic: &[&str]) -> WasmFunction {
        let traffic: Vec<Value> = traffic.iter().map(|name| json!({"revision": name, "percent": 100})).collect();
        object("WasmFunction", "cart", template(json!({})), json!({"traffic": traffic}))
    }

    fn revision(more: Value, replicas: u32, architecture: &str, file: &str) -> WasmRevision {
        let spec = json!({"function": "cart", "digest": "sha256:1", "replicas": replicas, "template": template(more)});
        let artifacts = json!([{"architecture": architecture, "file": file, "bytes": 7}]);
        object("WasmRevision", "cart-00001", spec, json!({"artifacts": artifacts}))
    }

    fn key() -> RevisionKey {
        RevisionKey::new("shop", "cart-00001")
    }

    fn record(view: &View) -> Option<RevisionRecord> {
        view.record(&key(), &Sources::default()).unwrap()
    }

    #[test]
    fn a_compiled_revision_with_traffic_is_active_and_told_all_that_its_host_needs() {
        let mut view = view();
        let volumes = json!({"volumes": [{"name": "data", "configMap": {"name": "c"}}, {"name": "tmp", "emptyDir": {}}],
            "mounts": [{"name": "data", "mountPath": "/data"}, {"name": "tmp", "mountPath": "/tmp", "readOnly": false}],
            "scaling": {"initial": 2}});
        assert_eq!(view.apply_revision(revision(volumes, 0, "amd64", "f1")), [key()]);
        assert_eq!(record(&view).unwrap().traffic, Traffic::Inactive);
        assert_eq!(view.apply_function(function(&["cart-00001"])), [key()]);
        // Its status is written often.
        assert_eq!(view.apply_function(function(&["cart-00001"])), []);
        let record = record(&view).unwrap();
        assert_eq!((record.traffic, record.start, record.artifact_bytes), (Traffic::Active, Start::Fresh, 7));
        assert_eq!((record.spec.revision.as_str(), record.policy.initial), ("cart-00001", 2));
        assert_eq!(record.spec.artifact.unwrap(), Artifact { digest: "sha256:1".to_owned(), path: "f1".to_owned() });
        let folders: Vec<_> = record.spec.preopens.iter().map(|it| (it.host_path.as_str(), it.writable)).collect();
        assert_eq!(folders, [("/mnt/data", false), ("/mnt/tmp", true)]);
        assert_eq!(view.delete_function(&FunctionKey::new("shop", "cart")), [key()]);
    }

    #[test]
    fn what_cannot_serve_here_has_no_record() {
        let external = json!({"scaling": {"class": "external"}});
        for (why, revision) in [
            ("another architecture", revision(json!({}), 0, "arm64", "f1")),
            ("no file", revision(json!({}), 0, "amd64", "")),
            ("a path", revision(json!({}), 0, "amd64", "../f1")),
            ("none wanted from outside", revision(external, 0, "amd64", "f1")),
        ] {
            let mut view = view();
            view.apply_revision(revision);
            assert_eq!(record(&view), None, "{why}");
        }
        let mut view = view();
        let mut deleted = revision(json!({}), 0, "amd64", "f1");
        deleted.metadata.deletion_timestamp = deleted.metadata.creation_timestamp.clone();
        view.apply_revision(deleted);
        assert_eq!(record(&view), None);
    }

    #[test]
    fn somebody_else_scales_an_external_one() {
        let mut view = view();
        let scaling = json!({"scaling": {"class": "external", "initial": 1, "activation": 5}});
        view.apply_revision(revision(scaling, 3, "amd64", "f1"));
        let policy = record(&view).unwrap().policy;
        assert_eq!((policy.min, policy.max, policy.initial, policy.activation), (3, 3, 0, 3));
        assert!(policy.validate().is_ok());
    }

    #[test]
    fn one_that_fits_the_namespaces_pool_starts_warm() {
        let mut view = view();
        view.apply_revision(revision(json!({}), 0, "amd64", "f1"));
        assert_eq!(record(&view).unwrap().start, Start::Fresh);
        assert_eq!(view.apply_pool(object("WarmPool", "default", json!({}), json!({"ready": 0}))), [key()]);
        assert_eq!(view.apply_pool(object("WarmPool", "default", json!({}), json!({"ready": 1}))), []);
        assert_eq!(record(&view).unwrap().start, Start::Warm);
        view.apply_revision(revision(json!({"scaling": {"start": "fresh"}}), 0, "amd64", "f1"));
        assert_eq!(record(&view).unwrap().start, Start::Fresh);
    }

    #[test]
    fn an_old_revision_had_its_initial_instances() {
        let mut view = view();
        let mut old = revision(json!({"scaling": {"initial": 2}}), 0, "amd64", "f1");
        old.metadata.creation_timestamp = serde_json::from_value(json!("2026-01-01T11:00:00Z")).unwrap();
        view.apply_revision(old);
        assert_eq!(record(&view).unwrap().policy.initial, 0);
    }

    #[test]
    fn what_its_environment_names_must_be_there() {
        let mut view = view();
        let env = json!({"env": [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]});
        view.apply_revision(revision(env, 0, "amd64", "f1"));
        let error = view.record(&key(), &Sources::default()).unwrap_err();
        assert!(error.to_string().contains("Secret \"s\" in namespace \"shop\""), "{error}");
    }
}
