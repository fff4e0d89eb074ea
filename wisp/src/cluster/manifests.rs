//! What manifests mean for a cluster: objects in the order in which they are applied. Pure.
//!
//! They are applied as they are written, without the defaults, so that a field that nobody wrote stays nobody's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::core::ApiResource;
use serde_json::Value;
use wisp_api::function::Component;
use wisp_api::sources::{SourceKey, SourceKind, Sources, of_secret};
use wisp_api::validate::{Target, validate, validate_component};
use wisp_api::{FunctionKey, WarmPool, WasmFunction, WasmFunctionSpec};

use crate::up::manifest::{Document, typed};

/// Stands for an image that is yet to be pushed, where a manifest is checked.
const PUSHED: &str = "registry.example/pushed:1";

/// An object to be applied.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Planned {
    pub(crate) kind: Kind,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) object: Value,
    /// The file that has to become an image before.
    pub(crate) component: Option<ComponentFile>,
    /// ConfigMaps and Secrets that it needs.
    names: BTreeSet<SourceKey>,
}

/// A component that is a file of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ComponentFile {
    pub(crate) path: PathBuf,
    /// Its SHA-256, when the manifest gives it.
    pub(crate) sha256: Option<String>,
}

/// What is applied, in this order: what functions name comes before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    ConfigMap,
    Secret,
    WarmPool,
    WasmFunction,
}

/// What the command line says of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wishes<'a> {
    /// The namespace of what names none.
    pub(crate) default_namespace: &'a str,
    /// The namespace that was asked for, and the only one then.
    pub(crate) namespace: Option<&'a str>,
    /// What the one function is to run, whatever its manifest says.
    pub(crate) component: Option<&'a Path>,
}

/// Objects in the order in which they are applied.
///
/// # Errors
/// All that is wrong with them.
pub(crate) fn plan(documents: Vec<Document>, wishes: Wishes<'_>) -> Result<Vec<Planned>, String> {
    let (mut all, mut problems) = (Vec::new(), Vec::new());
    for document in documents {
        let file = document.file.display().to_string();
        match planned(document, wishes) {
            Ok(planned) => all.push(planned),
            Err(problem) => problems.push(format!("{file}: {problem}")),
        }
    }
    let mut seen = BTreeSet::new();
    for object in &all {
        if !seen.insert((object.kind, object.namespace.clone(), object.name.clone())) {
            problems.push(format!("{object} is there twice"));
        }
    }
    // A folder may hold many that are nobody's business here.
    let named: BTreeSet<_> = all.iter().flat_map(|planned| planned.names.iter().cloned()).collect();
    all.retain(|planned| planned.source().is_none_or(|source| named.contains(&source)));
    let functions = all.iter().filter(|planned| planned.kind == Kind::WasmFunction).count();
    if functions == 0 && problems.is_empty() {
        problems.push("there is no WasmFunction in what was given".to_owned());
    }
    if wishes.component.is_some() && functions > 1 {
        problems.push(format!("--component is for a single function, and here are {functions}"));
    }
    if !problems.is_empty() {
        return Err(problems.join("\n"));
    }
    all.sort_by_key(|planned| planned.kind);
    Ok(all)
}

fn planned(document: Document, wishes: Wishes<'_>) -> Result<Planned, String> {
    let Document { file, mut object } = document;
    let kind = match object["kind"].as_str() {
        Some("ConfigMap") => Kind::ConfigMap,
        Some("Secret") => Kind::Secret,
        Some("WarmPool") => Kind::WarmPool,
        _ => Kind::WasmFunction,
    };
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    if name.is_empty() {
        return Err("metadata.name is missing".to_owned());
    }
    let namespace = namespace(&object, wishes)?;
    object["metadata"]["namespace"] = namespace.as_str().into();
    let mut planned = Planned { kind, namespace, name, object, component: None, names: BTreeSet::new() };
    match kind {
        Kind::WasmFunction => planned.check_function(&file, wishes.component)?,
        Kind::Secret => planned.encode_text()?,
        Kind::ConfigMap | Kind::WarmPool => {}
    }
    Ok(planned)
}

fn namespace(object: &Value, wishes: Wishes<'_>) -> Result<String, String> {
    let own = &object["metadata"]["namespace"];
    if !own.is_null() && !own.is_string() {
        return Err(format!("metadata.namespace: {own} is no name; write it in quotes"));
    }
    match (own.as_str(), wishes.namespace) {
        (Some(own), Some(given)) if own != given => {
            Err(format!("metadata.namespace is {own:?}, and --namespace is {given:?}; leave one out"))
        }
        (Some(own), _) => Ok(own.to_owned()),
        (None, given) => Ok(given.unwrap_or(wishes.default_namespace).to_owned()),
    }
}

impl Planned {
    /// Its component, and all rules of a cluster as if that were pushed.
    fn check_function(&mut self, file: &Path, component: Option<&Path>) -> Result<(), String> {
        if !self.object["spec"].is_object() {
            return Err("spec is missing".to_owned());
        }
        if let Some(path) = component {
            self.component = Some(ComponentFile { path: path.to_owned(), sha256: None });
        } else if let Some(path) = self.object["spec"]["component"]["path"].as_str() {
            let path = file.parent().unwrap_or(Path::new(".")).join(path);
            let sha256 = self.object["spec"]["component"]["sha256"].as_str().map(str::to_owned);
            self.component = Some(ComponentFile { path, sha256 });
        }
        let mut function: WasmFunction = typed(self.object.clone())?;
        // A component that is written must make sense, though another is run.
        let problems = validate_component(&function.spec.component, Target::Embedded);
        if self.component.is_some() {
            function.spec.component = Component { image: Some(PUSHED.to_owned()), ..Component::default() };
        }
        let problems = problems.into_iter().chain(validate(&self.name, &function.spec, Target::Cluster));
        let problems: BTreeSet<String> = problems.map(|problem| problem.to_string()).collect();
        if !problems.is_empty() {
            return Err(problems.into_iter().collect::<Vec<_>>().join("; "));
        }
        self.names = names(&self.namespace, &function.spec);
        Ok(())
    }

    /// Puts `stringData` into `data`, as the API server does: it forgets who applied the former.
    fn encode_text(&mut self) -> Result<(), String> {
        let secret: Secret = typed(self.object.clone())?;
        if secret.string_data.is_some() {
            let data = of_secret(secret).into_iter().map(|(key, value)| (key, ByteString(value)));
            self.object["data"] = serde_json::json!(data.collect::<BTreeMap<_, _>>());
            self.object.as_object_mut().map(|object| object.remove("stringData"));
        }
        Ok(())
    }

    /// What functions name it by, when it is a ConfigMap or a Secret.
    fn source(&self) -> Option<SourceKey> {
        let kind = match self.kind {
            Kind::ConfigMap => SourceKind::ConfigMap,
            Kind::Secret => SourceKind::Secret,
            Kind::WarmPool | Kind::WasmFunction => return None,
        };
        Some(SourceKey { kind, namespace: self.namespace.clone(), name: self.name.clone() })
    }

    /// Gives the function an image in place of what it ran before.
    pub(crate) fn run_image(&mut self, image: &str) {
        self.object["spec"]["component"] = serde_json::json!({"image": image});
        self.component = None;
    }

    pub(crate) fn key(&self) -> FunctionKey {
        FunctionKey::new(&self.namespace, &self.name)
    }
}

/// The ConfigMaps and Secrets that a function names.
fn names(namespace: &str, spec: &WasmFunctionSpec) -> BTreeSet<SourceKey> {
    let maps = spec.volumes.iter().filter_map(|volume| volume.config_map.as_ref()).map(|map| &map.name);
    let secrets = spec.volumes.iter().filter_map(|volume| volume.secret.as_ref()).map(|secret| &secret.secret_name);
    let pulls = spec.pod.image_pull_secrets.iter().map(|secret| &secret.name);
    let secrets = secrets.chain(pulls).chain([&spec.ingress.tls_secret]);
    let all = maps.map(|name| (SourceKind::ConfigMap, name)).chain(secrets.map(|name| (SourceKind::Secret, name)));
    let key = |(kind, name): (_, &String)| SourceKey { kind, namespace: namespace.to_owned(), name: name.clone() };
    Sources::of_environment(namespace, spec).into_iter().chain(all.map(key)).collect()
}

impl Kind {
    pub(crate) fn resource(self) -> ApiResource {
        match self {
            Self::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
            Self::Secret => ApiResource::erase::<Secret>(&()),
            Self::WarmPool => ApiResource::erase::<WarmPool>(&()),
            Self::WasmFunction => ApiResource::erase::<WasmFunction>(&()),
        }
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}/{}", self.kind, self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document(kind: &str, more: &Value) -> Document {
        let version = if kind.starts_with('W') { "wisp.dev/v1alpha1" } else { "v1" };
        let mut object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "hello"}});
        object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Document { file: PathBuf::from("/f/function.yaml"), object }
    }

    fn function(component: &Value) -> Document {
        document("WasmFunction", &json!({"spec": {"component": component}}))
    }

    fn wishes() -> Wishes<'static> {
        Wishes { default_namespace: "dev", ..Wishes::default() }
    }

    #[test]
    fn what_functions_name_is_applied_before_them_and_all_get_a_namespace() {
        let mut named = function(&json!({"image": "r/x:1"}));
        named.object["spec"]["envFrom"] = json!([{"configMapRef": {"name": "hello"}}]);
        named.object["spec"]["ingress"] = json!({"tlsSecret": "hello"});
        let spec = named.object["spec"].clone();
        let stranger = document("Secret", &json!({"metadata": {"name": "stranger"}}));
        let given = vec![named, stranger, document("Secret", &json!({})), document("ConfigMap", &json!({}))];
        let all = plan(given, wishes()).unwrap();
        let order: Vec<String> = all.iter().map(ToString::to_string).collect();
        assert_eq!(order, ["ConfigMap dev/hello", "Secret dev/hello", "WasmFunction dev/hello"]);
        assert_eq!(all[2].object["metadata"]["namespace"], "dev");
        assert_eq!(all[2].object["spec"], spec, "no default is written");
    }

    #[test]
    fn text_of_a_secret_is_written_where_it_is_kept() {
        let mut secret =
            planned(document("Secret", &json!({"stringData": {"k": "hi"}, "data": {"l": "eA=="}})), wishes());
        let secret = secret.as_mut().unwrap();
        assert_eq!(secret.object["data"], json!({"k": "aGk=", "l": "eA=="}));
        assert!(secret.object.get("stringData").is_none());
    }

    #[test]
    fn a_file_beside_the_manifest_becomes_an_image() {
        let sha256 = "a".repeat(64);
        let mut all = plan(vec![function(&json!({"path": "build/x.wasm", "sha256": sha256}))], wishes()).unwrap();
        let file = ComponentFile { path: PathBuf::from("/f/build/x.wasm"), sha256: Some(sha256) };
        assert_eq!(all[0].component, Some(file));
        all[0].run_image("r/x@sha256:1");
        assert_eq!(all[0].object["spec"]["component"], json!({"image": "r/x@sha256:1"}));
    }

    #[test]
    fn a_component_that_is_given_wins() {
        let given = Wishes { component: Some(Path::new("mine.wasm")), ..wishes() };
        let all = plan(vec![function(&json!({"image": "r/x:1"}))], given).unwrap();
        assert_eq!(all[0].component.as_ref().unwrap().path, PathBuf::from("mine.wasm"));
        let two = vec![function(&json!({"image": "r/x:1"})), function(&json!({"image": "r/x:1"}))];
        let problems = plan(two, given).unwrap_err();
        assert!(problems.contains("single function") && problems.contains("WasmFunction dev/hello is there twice"));
    }

    #[test]
    fn what_is_wrong_is_said_before_anything_is_applied() {
        let elsewhere = document("Secret", &json!({"metadata": {"name": "s", "namespace": "prod"}}));
        let table = [
            (elsewhere, "metadata.namespace is \"prod\", and --namespace is \"dev\""),
            (function(&json!({})), "spec.component: give exactly one of image, url and path"),
            (document("WasmFunction", &json!({"spec": "x"})), "spec is missing"),
            (function(&json!({"imag": "x"})), "unknown field `imag`"),
            (function(&json!({"path": "x", "imag": "x"})), "unknown field `imag`"),
            (
                function(&json!({"path": "x", "image": "r/x:1"})),
                "spec.component: give exactly one of image, url and path",
            ),
            (function(&json!({"path": "x", "sha256": "1"})), "spec.component.sha256: must be 64 lower-case hex digits"),
            (document("Secret", &json!({"metadata": {"name": "s", "namespace": 5}})), "5 is no name"),
            (document("ConfigMap", &json!({"metadata": {}})), "metadata.name is missing"),
            (document("ConfigMap", &json!({})), "there is no WasmFunction"),
        ];
        for (document, wanted) in table {
            let given = Wishes { namespace: Some("dev"), ..wishes() };
            let problem = plan(vec![document], given).unwrap_err();
            assert!(problem.contains(wanted), "{problem}");
        }
    }
}
