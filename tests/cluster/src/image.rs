//! Images that tests make: ordinary ones from nothing but a program.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Of an image that brings none of its own.
const USERS: &[u8] = b"root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// An image of one layer. The same parts make the same digest.
#[derive(Debug, Clone, Default)]
pub struct Image {
    files: Vec<(String, Content)>,
    entrypoint: Vec<String>,
    environment: Vec<String>,
    user: Option<String>,
}

/// What one path of an image is.
#[derive(Debug, Clone)]
enum Content {
    /// A copy of a file of this machine.
    CopyOf { source: PathBuf, mode: u32 },
    /// These words.
    Text(String),
    /// Another name of a file that comes before it.
    NameOf(String),
}

/// An image as files: the layout that OCI defines, with one image in it.
#[derive(Debug)]
pub(crate) struct Layout {
    folder: TempDir,
}

impl Image {
    /// With the folders and the users that a program may expect, and nothing else.
    #[must_use]
    pub fn from_scratch() -> Self {
        Self::default()
    }

    /// Puts the program or file at `source` into the image as `path`, for everybody to read and run.
    #[must_use]
    pub fn file(self, path: &str, source: impl AsRef<Path>) -> Self {
        self.content(path, Content::CopyOf { source: source.as_ref().to_owned(), mode: 0o755 })
    }

    /// The same, but it runs as root whoever starts it.
    #[must_use]
    pub fn setuid_file(self, path: &str, source: impl AsRef<Path>) -> Self {
        self.content(path, Content::CopyOf { source: source.as_ref().to_owned(), mode: 0o4755 })
    }

    /// Gives the file `of`, which was put into the image before, another name.
    #[must_use]
    pub fn name(self, path: &str, of: &str) -> Self {
        self.content(path, Content::NameOf(relative(of)))
    }

    /// Puts a file of `words` into the image.
    #[must_use]
    pub fn text(self, path: &str, words: &str) -> Self {
        self.content(path, Content::Text(words.to_owned()))
    }

    fn content(mut self, path: &str, content: Content) -> Self {
        self.files.push((relative(path), content));
        self
    }

    /// What a container runs.
    #[must_use]
    pub fn entrypoint(mut self, command: &[&str]) -> Self {
        self.entrypoint = command.iter().map(|&part| part.to_owned()).collect();
        self
    }

    /// Sets a variable of a container's environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push(format!("{name}={value}"));
        self
    }

    /// Who runs it: a number, a name in the image's `passwd`, or either with a group behind a colon.
    #[must_use]
    pub fn user(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }

    /// Writes the image; `name` is what containerd calls it when it imports it.
    pub(crate) fn layout(&self, name: &str) -> Result<Layout> {
        let layout = Layout::new()?;
        let layer = layout.blob(&self.layer()?, LAYER)?;
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {
                "Entrypoint": self.entrypoint,
                "Env": self.environment,
                "User": self.user.as_deref().unwrap_or_default(),
                "WorkingDir": "/",
            },
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        });
        let config = layout.blob(config.to_string().as_bytes(), CONFIG)?;
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
        let mut manifest = layout.blob(manifest.to_string().as_bytes(), MANIFEST)?;
        let tag = name.rsplit(':').next().unwrap_or(name);
        manifest["annotations"] = json!({"org.opencontainers.image.ref.name": tag, "io.containerd.image.name": name});
        layout.index(&manifest)?;
        Ok(layout)
    }

    fn layer(&self) -> Result<Vec<u8>> {
        let mut layer = Builder::new(Vec::new());
        for (path, mode) in [("dev", 0o755), ("etc", 0o755), ("proc", 0o755), ("sys", 0o755), ("tmp", 0o1777)] {
            append(&mut layer, path, header(EntryType::Directory, mode), b"")?;
        }
        append(&mut layer, "etc/passwd", header(EntryType::Regular, 0o644), USERS)?;
        for (path, content) in &self.files {
            content.append_to(&mut layer, path)?;
        }
        Ok(layer.into_inner()?)
    }
}

impl Content {
    fn append_to(&self, layer: &mut Builder<Vec<u8>>, path: &str) -> Result<()> {
        match self {
            Self::CopyOf { source, mode } => {
                let content = fs::read(source).with_context(|| format!("{} cannot be read", source.display()))?;
                append(layer, path, header(EntryType::Regular, *mode), &content)
            }
            Self::Text(words) => append(layer, path, header(EntryType::Regular, 0o644), words.as_bytes()),
            Self::NameOf(of) => {
                let mut header = header(EntryType::Link, 0o755);
                header.set_size(0);
                layer.append_link(&mut header, path, of).with_context(|| format!("{path} cannot be a name of {of}"))
            }
        }
    }
}

/// As archives name files: from the root, without saying so.
fn relative(path: &str) -> String {
    path.trim_start_matches('/').to_owned()
}

/// With no owner and no time of its own, so that equal content makes equal digests.
fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header
}

fn append(tar: &mut Builder<Vec<u8>>, path: &str, mut header: Header, content: &[u8]) -> Result<()> {
    header.set_size(u64::try_from(content.len()).expect("a slice fits"));
    tar.append_data(&mut header, path, content).with_context(|| format!("{path} cannot be put into an image"))
}

impl Layout {
    fn new() -> Result<Self> {
        let layout = Self { folder: tempfile::tempdir()? };
        fs::create_dir_all(layout.folder.path().join("blobs/sha256"))?;
        fs::write(layout.folder.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(layout)
    }

    /// Writes one, and says what refers to it.
    fn blob(&self, content: &[u8], media_type: &str) -> Result<Value> {
        let digest = sha256(content);
        fs::write(self.folder.path().join("blobs/sha256").join(&digest), content)?;
        Ok(json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": content.len()}))
    }

    fn index(&self, manifest: &Value) -> Result<()> {
        let index = json!({"schemaVersion": 2, "manifests": [manifest]});
        Ok(fs::write(self.folder.path().join("index.json"), index.to_string())?)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// All of it in one archive, as `ctr images import` takes it.
    pub(crate) fn archive(&self) -> Result<Vec<u8>> {
        let mut archive = Builder::new(Vec::new());
        archive.append_dir_all(".", self.folder.path())?;
        Ok(archive.into_inner()?)
    }
}

/// In hexadecimal digits.
pub(crate) fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A component's own metadata, as the Wasm working group of the CNCF defines it for OCI artifacts.
pub(crate) fn wasm_config(component: &Path) -> Result<Value> {
    let content = fs::read(component).with_context(|| format!("{} cannot be read", component.display()))?;
    Ok(json!({
        "created": "1970-01-01T00:00:00Z",
        "architecture": "wasm",
        "os": "wasip2",
        "layerDigests": [format!("sha256:{}", sha256(&content))],
    }))
}

/// This machine's, as OCI names it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_images_have_equal_manifests() {
        let index = || {
            let image = Image::from_scratch().file("/license", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
            fs::read_to_string(
                image.entrypoint(&["/license"]).layout("wisp.test/a:1").unwrap().folder().join("index.json"),
            )
        };
        assert_eq!(index().unwrap(), index().unwrap());
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = Image::from_scratch().file("/program", "/no/such/program").layout("wisp.test/a:1").unwrap_err();
        assert!(error.to_string().contains("/no/such/program"), "{error}");
    }
}
