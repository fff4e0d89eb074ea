//! Functions, revisions and pools as the API server shows them, and the records that follow. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Resource, ResourceExt};
use wisp_api::fit::fits_pool;
use wisp_api::host_spec::{environment, host_spec, preopens};
use wisp_api::names::{DEFAULT_POOL, VOLUMES_DIR};
use wisp_api::revision::CompiledArtifact;
use wisp_api::scaling::{Class, Scaling, Start as StartWish};
use wisp_api::sources::Sources;
use wisp_api::wire::Artifact;
use wisp_api::{FunctionKey, RevisionKey, WarmPool, WasmFunction, WasmFunctionSpec, WasmRevision};
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
        let now = &self.functions[&key];
        let mut changed: BTreeSet<String> = match &before {
            Some(before) => named(before).symmetric_difference(&named(now)).cloned().collect(),
            None => named(now),
        };
        if before.is_none_or(|before| before.spec.scaling != now.spec.scaling) {
            changed.extend(self.revisions_of_function(&key));
        }
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

    /// Whether somebody else says how many instances a revision has.
    pub(crate) fn is_external(&self, key: &RevisionKey) -> bool {
        self.revisions.get(key).is_some_and(|revision| self.scaling(key, revision).class == Class::External)
    }

    /// The function of a revision, as events name it.
    pub(crate) fn function_of(&self, key: &RevisionKey) -> Option<ObjectReference> {
        let revision = self.revisions.get(key)?;
        let function = self.functions.get(&FunctionKey::new(&key.namespace, &revision.spec.function))?;
        Some(function.object_ref(&()))
    }

    pub(crate) fn all_revisions(&self) -> impl Iterator<Item = (&RevisionKey, &WasmRevision)> {
        self.revisions.iter()
    }

    /// The record of a revision that can serve; none while it is not there, being deleted, or not compiled. It cannot
    /// start while its environment names what `sources` lacks.
    pub(crate) fn record(&self, key: &RevisionKey, sources: &Sources) -> Option<RevisionRecord> {
        let revision = self.revisions.get(key).filter(|found| found.metadata.deletion_timestamp.is_none())?;
        let compiled = self.artifact(revision)?;
        let template =
            &WasmFunctionSpec { scaling: self.scaling(key, revision).clone(), ..revision.spec.template.clone() };
        let function = FunctionKey::new(&key.namespace, &revision.spec.function);
        let artifact = Artifact { digest: revision.spec.digest.clone(), path: compiled.file.clone() };
        let (env, lacks) = match environment(&function, template, sources) {
            Ok(env) => (env, None),
            Err(lacking) => (BTreeMap::new(), Some(lacking.to_string())),
        };
        let mut spec = host_spec(&function, template, artifact, env);
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
            start: self.start(key, template),
            lacks,
        };
        if !self.is_new(revision) {
            record.policy.initial = 0;
        }
        if template.scaling.class == Class::External {
            // A policy has a maximum of 1 at least: a revision that shall have none is as good as not there.
            if revision.spec.replicas == 0 {
                return None;
            }
            follow_replicas(&mut record, revision.spec.replicas);
        }
        Some(record)
    }

    fn artifact<'a>(&self, revision: &'a WasmRevision) -> Option<&'a CompiledArtifact> {
        let artifacts = &revision.status.as_ref()?.artifacts;
        // The name goes to hosts, who open it beneath a folder.
        let is_name = |artifact: &&CompiledArtifact| !artifact.file.is_empty() && !artifact.file.contains('/');
        artifacts.iter().find(|artifact| artifact.architecture == self.settings.architecture).filter(is_name)
    }

    /// The function's, as it is now: scaling is no part of a revision (decision 0002). A revision whose function is not
    /// there has what it was made with.
    fn scaling<'a>(&'a self, key: &RevisionKey, revision: &'a WasmRevision) -> &'a Scaling {
        let function = self.functions.get(&FunctionKey::new(&key.namespace, &revision.spec.function));
        function.map_or(&revision.spec.template.scaling, |function| &function.spec.scaling)
    }

    fn start(&self, key: &RevisionKey, template: &WasmFunctionSpec) -> Start {
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

    /// Their names begin with the function's.
    fn revisions_of_function(&self, key: &FunctionKey) -> BTreeSet<String> {
        let first = RevisionKey::new(&key.namespace, format!("{}-", key.name));
        let alike = self
            .revisions
            .range(first.clone()..)
            .take_while(|(found, _)| found.namespace == first.namespace && found.name.starts_with(&first.name));
        alike.filter(|(_, revision)| revision.spec.function == key.name).map(|(found, _)| found.name.clone()).collect()
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
pub(crate) fn key_of<K: Resource>(object: &K) -> FunctionKey {
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

    fn function(traffic: &[&str], more: Value) -> WasmFunction {
        let traffic: Vec<Value> = traffic.iter().map(|name| json!({"revision": name, "percent": 100})).collect();
        object("WasmFunction", "cart", template(more), json!({"traffic": traffic}))
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
        view.record(&key(), &Sources::default())
    }

    #[test]
    fn a_compiled_revision_with_traffic_is_active_and_told_all_that_its_host_needs() {
        let mut view = view();
        let volumes = json!({"volumes": [{"name": "data", "configMap": {"name": "c"}}, {"name": "tmp", "emptyDir": {}}],
            "mounts": [{"name": "data", "mountPath": "/data"}, {"name": "tmp", "mountPath": "/tmp", "readOnly": false}]});
        let scaling = json!({"scaling": {"initial": 2}});
        assert_eq!(view.apply_revision(revision(volumes, 0, "amd64", "f1")), [key()]);
        assert_eq!(record(&view).unwrap().traffic, Traffic::Inactive);
        assert_eq!(view.apply_function(function(&["cart-00001"], scaling.clone())), [key()]);
        // Its status is written often.
        assert_eq!(view.apply_function(function(&["cart-00001"], scaling)), []);
        let record = record(&view).unwrap();
        assert_eq!((record.traffic, record.start, record.artifact_bytes), (Traffic::Active, Start::Fresh, 7));
        assert_eq!((record.spec.revision.as_str(), record.policy.initial), ("cart-00001", 2));
        assert_eq!(record.spec.artifact.unwrap(), Artifact { digest: "sha256:1".to_owned(), path: "f1".to_owned() });
        let folders: Vec<_> = record.spec.preopens.iter().map(|it| (it.host_path.as_str(), it.writable)).collect();
        assert_eq!(folders, [("/mnt/data", false), ("/mnt/tmp", true)]);
        assert_eq!(view.delete_function(&FunctionKey::new("shop", "cart")), [key()]);
    }

    #[test]
    fn scaling_is_the_functions_and_a_change_reaches_the_revisions_that_exist() {
        let mut view = view();
        view.apply_revision(revision(json!({"scaling": {"min": 1, "max": 3}}), 0, "amd64", "f1"));
        let policy = |view: &View| (record(view).unwrap().policy.min, record(view).unwrap().policy.max);
        assert_eq!(policy(&view), (1, 3), "until its function is seen");
        assert_eq!(view.apply_function(function(&[], json!({"scaling": {"max": 7}}))), [key()]);
        assert_eq!(policy(&view), (0, 7));
        assert_eq!(view.apply_function(function(&[], json!({"scaling": {"max": 7}, "args": ["a"]}))), []);
        view.apply_pool(object("WarmPool", "default", json!({}), json!({})));
        assert_eq!(record(&view).unwrap().start, Start::Warm);
        assert_eq!(view.apply_function(function(&[], json!({"scaling": {"start": "fresh"}}))), [key()]);
        assert_eq!(record(&view).unwrap().start, Start::Fresh);
        assert!(!view.is_external(&key()));
        view.apply_function(function(&[], json!({"scaling": {"class": "external"}})));
        assert!(view.is_external(&key()));
    }

    #[test]
    fn another_functions_revisions_are_not_its_own() {
        let mut view = view();
        let mut other = revision(json!({}), 0, "amd64", "f1");
        other.metadata.name = Some("cart-x-00001".to_owned());
        other.spec.function = "cart-x".to_owned();
        view.apply_revision(other);
        assert_eq!(view.apply_function(function(&[], json!({"scaling": {"max": 7}}))), []);
        assert!(view.function_of(&key()).is_none());
        view.apply_revision(revision(json!({}), 0, "amd64", "f1"));
        assert_eq!(view.function_of(&key()).unwrap().kind.as_deref(), Some("WasmFunction"));
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
        let lacks = record(&view).unwrap().lacks.unwrap();
        assert!(lacks.contains("Secret \"s\" in namespace \"shop\""), "{lacks}");
    }
}
