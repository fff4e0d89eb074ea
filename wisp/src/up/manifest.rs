//! Reads manifests: YAML or JSON files, alone or in folders, with functions and the ConfigMaps and Secrets that they
//! name.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use wisp_api::key::FunctionKey;
use wisp_api::names::API_VERSION;
use wisp_api::sources::{self, Data, SourceKey, SourceKind, Sources};
use wisp_api::validate::{Target, is_dns_label, validate};
use wisp_api::{WasmFunction, WasmFunctionSpec};

/// Folders below a given one are read this deep: samples lie two deep, a monorepo's functions a few more.
const DEPTH_MAX: usize = 8;
/// More files than this are a mistake, such as a whole disk.
const FILES_MAX: usize = 50_000;
/// A manifest of 10,000 functions has 3 MiB.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// In one file; generated ones have thousands.
const DOCUMENTS_MAX: usize = 100_000;
/// Folders of other tools, which hold YAML by the thousand.
const SKIPPED_FOLDERS: [&str; 3] = ["node_modules", "target", "build"];

/// A function and where it came from.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    pub(crate) key: FunctionKey,
    pub(crate) spec: WasmFunctionSpec,
    /// The file; paths in the spec are relative to its folder.
    pub(crate) origin: PathBuf,
}

/// All that the given paths hold.
#[derive(Debug, Default)]
pub(crate) struct Manifests {
    pub(crate) functions: Vec<Manifest>,
    pub(crate) sources: Sources,
    /// What could not be read; the rest stands.
    pub(crate) problems: Vec<FileProblem>,
}

/// An object as a file has it.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    /// Paths in the object are relative to its folder.
    pub(crate) file: PathBuf,
    pub(crate) object: serde_json::Value,
}

/// A file, or a part of one, that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileProblem {
    pub(crate) file: PathBuf,
    /// The function at fault, when the file says that much.
    pub(crate) function: Option<FunctionKey>,
    pub(crate) message: String,
}

impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file.display())?;
        if let Some(function) = &self.function {
            write!(f, "function {function}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// Reads every manifest under `paths`. Blocks on the disk.
pub(crate) fn read_all(paths: &[PathBuf]) -> Manifests {
    let mut reader = Reader::default();
    reader.all(paths);
    reader.manifests
}

/// Reads every object under `paths` that belongs to Wisp or that a function may name, unchecked. Blocks on the disk.
pub(crate) fn documents(paths: &[PathBuf]) -> (Vec<Document>, Vec<FileProblem>) {
    let mut reader = Reader { documents: Some(Vec::new()), ..Reader::default() };
    reader.all(paths);
    (reader.documents.unwrap_or_default(), reader.manifests.problems)
}

/// Reads the one function of `file`.
///
/// # Errors
/// When the file cannot be read, or holds no function, several, or a wrong one.
pub(crate) fn read(file: &Path) -> anyhow::Result<Manifest> {
    let mut manifests = read_all(&[file.to_owned()]);
    if let Some(problem) = manifests.problems.first() {
        anyhow::bail!("{problem}");
    }
    match manifests.functions.len() {
        1 => Ok(manifests.functions.remove(0)),
        count => anyhow::bail!("{}: holds {count} functions; one is needed", file.display()),
    }
}

/// Whether a file that holds no objects is an error.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Strictness {
    MustBeManifest,
    MayBeAnything,
}

#[derive(Default)]
struct Reader {
    manifests: Manifests,
    origins: HashMap<FunctionKey, PathBuf>,
    files: usize,
    /// Takes the objects as they are, when it is there.
    documents: Option<Vec<Document>>,
}

impl Reader {
    fn all(&mut self, paths: &[PathBuf]) {
        for path in paths {
            if path.is_dir() {
                self.folder(path, DEPTH_MAX);
            } else {
                self.file(path, Strictness::MustBeManifest);
            }
        }
    }

    fn found(&self) -> usize {
        let documents = self.documents.as_ref().map_or(0, Vec::len);
        self.manifests.functions.len() + self.manifests.problems.len() + documents
    }

    fn folder(&mut self, folder: &Path, depth: usize) {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => return self.problem(folder, None, format!("cannot be read: {error}")),
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with('.') || self.files >= FILES_MAX {
                continue;
            }
            if path.is_dir() {
                if depth > 0 && !SKIPPED_FOLDERS.contains(&name.as_ref()) {
                    self.folder(&path, depth - 1);
                }
            } else if matches!(path.extension().and_then(|e| e.to_str()), Some("yaml" | "yml")) {
                self.file(&path, Strictness::MayBeAnything);
            }
        }
    }

    fn file(&mut self, path: &Path, strictness: Strictness) {
        self.files += 1;
        let text = match read_bounded(path) {
            Ok(text) => text,
            Err(message) => return self.problem(path, None, message),
        };
        let before = self.found();
        let written = self.documents.as_ref().map_or(0, Vec::len);
        let mut others = 0;
        // One after the other: thousands at once would take much memory for a moment.
        let mut bytes = text.as_bytes();
        for document in serde_saphyr::read_with_options::<_, serde_json::Value>(&mut bytes, yaml_options()) {
            let document = match document {
                Ok(document) => document,
                // Other tools' templates are no YAML; only a file that says it is ours is worth a complaint.
                Err(_) if strictness == Strictness::MayBeAnything && !text.contains(API_VERSION) => {
                    // Half a file is nothing that anybody wrote.
                    return self.documents.iter_mut().for_each(|documents| documents.truncate(written));
                }
                Err(error) => return self.problem(path, None, format!("is no YAML: {error}")),
            };
            let field = |name: &str| document.get(name).and_then(|value| value.as_str()).unwrap_or_default().to_owned();
            match (field("apiVersion").as_str(), field("kind").as_str()) {
                (API_VERSION, "WasmFunction" | "WarmPool") | ("v1", "ConfigMap" | "Secret")
                    if self.documents.is_some() =>
                {
                    let document = Document { file: path.to_owned(), object: document };
                    self.documents.get_or_insert_default().push(document);
                }
                (API_VERSION, "WasmFunction") => self.function(path, document),
                ("v1", "ConfigMap") => self.config_map(path, document),
                ("v1", "Secret") => self.secret(path, document),
                ("v1", "List") => {
                    self.problem(path, None, "is a List; write its items as documents of their own".into())
                }
                (version, "WasmFunction") => {
                    let message = format!("apiVersion is {version:?}; this wisp knows {API_VERSION}");
                    self.problem(path, None, message);
                }
                _ => others += 1,
            }
        }
        if before == self.found() && others > 0 && strictness == Strictness::MustBeManifest {
            let message =
                format!("holds no WasmFunction; begin it with `apiVersion: {API_VERSION}` and `kind: WasmFunction`");
            self.problem(path, None, message);
        }
    }

    fn function(&mut self, path: &Path, document: serde_json::Value) {
        let name = document.pointer("/metadata/name").and_then(|name| name.as_str()).unwrap_or_default();
        let namespace = document.pointer("/metadata/namespace").and_then(|name| name.as_str()).unwrap_or("default");
        let key = FunctionKey::new(namespace, name);
        let function: WasmFunction = match typed(document) {
            Ok(function) => function,
            Err(message) => return self.problem(path, Some(key), message),
        };
        if !is_dns_label(&key.namespace, 63) {
            let message =
                "metadata.namespace: must be lower-case letters, digits and '-', at most 63 of them".to_owned();
            return self.problem(path, None, message);
        }
        let problems = validate(&key.name, &function.spec, Target::Embedded);
        if !problems.is_empty() {
            let message = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            return self.problem(path, Some(key), message);
        }
        if let Some(first) = self.origins.get(&key) {
            let message = format!("is also in {}; this one is left out", first.display());
            return self.problem(path, Some(key), message);
        }
        self.origins.insert(key.clone(), path.to_owned());
        self.manifests.functions.push(Manifest { key, spec: function.spec, origin: path.to_owned() });
    }

    fn config_map(&mut self, path: &Path, document: serde_json::Value) {
        let map: ConfigMap = match typed(document) {
            Ok(map) => map,
            Err(message) => return self.problem(path, None, message),
        };
        self.source(SourceKind::ConfigMap, &map.metadata, sources::of_config_map(map.clone()));
    }

    fn secret(&mut self, path: &Path, document: serde_json::Value) {
        let secret: Secret = match typed(document) {
            Ok(secret) => secret,
            Err(message) => return self.problem(path, None, message),
        };
        self.source(SourceKind::Secret, &secret.metadata, sources::of_secret(secret.clone()));
    }

    fn source(&mut self, kind: SourceKind, metadata: &ObjectMeta, data: Data) {
        let (namespace, name) = object_name(metadata);
        self.manifests.sources.insert(SourceKey { kind, namespace, name }, data);
    }

    fn problem(&mut self, file: &Path, function: Option<FunctionKey>, message: String) {
        self.manifests.problems.push(FileProblem { file: file.to_owned(), function, message });
    }
}

/// The parser's bounds are for small files; ours is the size of the file.
fn yaml_options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_documents: DOCUMENTS_MAX,
            max_nodes: DOCUMENTS_MAX * 100,
            max_events: DOCUMENTS_MAX * 200,
        },
    }
}

fn object_name(metadata: &ObjectMeta) -> (String, String) {
    let namespace = metadata.namespace.clone().unwrap_or_else(|| "default".to_owned());
    (namespace, metadata.name.clone().unwrap_or_default())
}

/// The object, or the path of the field at fault and what is wrong with it.
pub(crate) fn typed<T: DeserializeOwned>(document: serde_json::Value) -> Result<T, String> {
    serde_path_to_error::deserialize(document).map_err(|error| {
        let path = error.path().to_string();
        format!("{path}: {}", error.into_inner())
    })
}

fn read_bounded(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("has {size} bytes; a manifest has at most {FILE_BYTES_MAX}"));
    }
    std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Manifests {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("function.yaml");
        std::fs::write(&file, text).unwrap();
        read_all(&[file])
    }

    const HELLO: &str = "apiVersion: wisp.dev/v1alpha1\nkind: WasmFunction\nmetadata: {name: hello}\nspec:\n  component: {path: hello.wasm}\n";

    #[test]
    fn ten_lines_are_enough() {
        let manifests = read_text(HELLO);
        assert_eq!(manifests.problems, []);
        assert_eq!(manifests.functions[0].key, FunctionKey::new("default", "hello"));
    }

    #[test]
    fn a_wrong_field_is_named_with_its_path() {
        let manifests = read_text(&format!("{HELLO}  scaling: {{max: many}}\n"));
        let problem = manifests.problems[0].to_string();
        assert!(problem.contains("spec.scaling.max") && problem.contains("default/hello"), "{problem}");
        let manifests = read_text(&format!("{HELLO}  scalling: {{max: 3}}\n"));
        assert!(manifests.problems[0].message.contains("unknown field `scalling`"), "{:?}", manifests.problems);
    }

    #[test]
    fn broken_yaml_and_other_objects_are_told_apart() {
        assert!(read_text("a: [").problems[0].message.contains("is no YAML"));
        assert!(
            read_text("kind: Deployment\napiVersion: apps/v1\n").problems[0].message.contains("holds no WasmFunction")
        );
        let wrong = HELLO.replace("v1alpha1", "v9");
        assert!(read_text(&wrong).problems[0].message.contains("this wisp knows wisp.dev/v1alpha1"));
    }

    #[test]
    fn sources_come_along() {
        let text = format!(
            "{HELLO}---\napiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\ndata: {{k: aGk=}}\nstringData: {{t: you}}\n\
             ---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c, namespace: shop}}\ndata: {{a: b}}\n"
        );
        let manifests = read_text(&text);
        assert_eq!(manifests.problems, []);
        let secret = manifests.sources.get(SourceKind::Secret, "default", "s").unwrap();
        assert_eq!((secret["k"].as_slice(), secret["t"].as_slice()), (b"hi".as_slice(), b"you".as_slice()));
        assert!(manifests.sources.get(SourceKind::ConfigMap, "shop", "c").is_some());
    }

    #[test]
    fn objects_can_be_had_as_they_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("{HELLO}---\napiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\n---\nkind: Deployment\n");
        std::fs::write(folder.path().join("all.yaml"), text).unwrap();
        let (documents, problems) = documents(&[folder.path().to_owned()]);
        assert_eq!((documents.len(), problems), (2, Vec::new()));
        assert_eq!(documents[0].object["spec"], serde_json::json!({"component": {"path": "hello.wasm"}}));
    }

    #[test]
    fn a_folder_is_read_with_those_below_and_strangers_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("a/node_modules")).unwrap();
        std::fs::write(folder.path().join("a/function.yaml"), HELLO).unwrap();
        std::fs::write(folder.path().join("a/node_modules/x.yaml"), HELLO).unwrap();
        std::fs::write(folder.path().join("ci.yml"), "jobs: {}\n").unwrap();
        let manifests = read_all(&[folder.path().to_owned()]);
        assert_eq!((manifests.functions.len(), manifests.problems.len()), (1, 0));
    }

    #[test]
    fn a_generated_file_may_hold_thousands() {
        let text: String = (0..3000).map(|i| format!("{}---\n", HELLO.replace("hello}", &format!("h{i}}}")))).collect();
        let manifests = read_text(&text);
        assert_eq!((manifests.functions.len(), manifests.problems.len()), (3000, 0));
    }

    #[test]
    fn the_same_function_twice_is_a_problem() {
        let manifests = read_text(&format!("{HELLO}---\n{HELLO}"));
        assert_eq!(manifests.functions.len(), 1);
        assert!(manifests.problems[0].message.contains("is also in"));
    }
}
