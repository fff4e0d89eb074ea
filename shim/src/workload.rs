//! What a container is to run: a component, or an ordinary Linux program.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

/// What a core module and a component both begin with.
const MAGIC: [u8; 4] = *b"\0asm";
/// By these annotations kubelet's runtime service says what a container is for.
pub(crate) const CONTAINER_TYPE: &str = "io.kubernetes.cri.container-type";
pub(crate) const SANDBOX: &str = "sandbox";
/// As in the kernel, where a program's name has no folder and no `PATH` is given.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the first word of the container's command is in its root file system.
#[derive(Debug)]
pub(crate) enum Entry {
    /// A component or core module.
    Wasm(File),
    /// Some other file: the kernel knows what to do with it.
    Native,
    /// No file; the image itself may be a component.
    Missing,
}

/// Whether containerd must be asked what the image is, before the container can be made.
pub(crate) fn may_be_artifact(spec: &Spec, entry: &Entry) -> bool {
    let annotations = spec.annotations().as_ref();
    let kind = annotations.and_then(|annotations| annotations.get(CONTAINER_TYPE)).map(String::as_str);
    kind != Some(SANDBOX) && matches!(entry, Entry::Missing)
}

/// Looks the command's first word up in `rootfs`, without following links out of it.
///
/// # Errors
/// When the file is there and cannot be read.
pub(crate) fn entry(spec: &Spec, rootfs: &Path) -> io::Result<Entry> {
    let Some(process) = spec.process() else { return Ok(Entry::Missing) };
    let Some(word) = process.args().iter().flatten().next() else { return Ok(Entry::Missing) };
    let variables = process.env().iter().flatten();
    let path = variables.filter_map(|variable| variable.strip_prefix("PATH=")).next().unwrap_or(DEFAULT_PATH);
    for candidate in candidates(word, process.cwd(), path) {
        if let Some(file) = open_in(rootfs, &candidate)? {
            return classify(file);
        }
    }
    Ok(Entry::Missing)
}

/// Where the kernel or a shell would look for `word`.
fn candidates(word: &str, cwd: &Path, path: &str) -> Vec<PathBuf> {
    if word.contains('/') {
        return vec![cwd.join(word)];
    }
    // A component is not an executable file, so images have it in the working folder rather than on the path.
    let folders = path.split(':').map(|folder| Path::new(folder).join(word));
    folders.chain([cwd.join(word)]).collect()
}

fn open_in(rootfs: &Path, path: &Path) -> io::Result<Option<File>> {
    let folder = rustix::fs::openat(CWD, rootfs, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    // Without NONBLOCK, a FIFO in the image would stop us here.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(&folder, path, flags, Mode::empty(), resolve) {
        Ok(file) => {
            let file = File::from(file);
            Ok(file.metadata()?.is_file().then_some(file))
        }
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn classify(mut file: File) -> io::Result<Entry> {
    let mut head = Vec::with_capacity(MAGIC.len());
    Read::by_ref(&mut file).take(MAGIC.len() as u64).read_to_end(&mut head)?;
    if head != MAGIC {
        return Ok(Entry::Native);
    }
    file.seek(SeekFrom::Start(0))?;
    Ok(Entry::Wasm(file))
}

/// Folders that the image brought, by name.
pub(crate) fn folders(rootfs: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(rootfs)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.extend(entry.file_name().into_string());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(word: &str) -> Spec {
        serde_json::from_value(json!({
            "ociVersion": "1.1.0",
            "process": {"args": [word], "cwd": "/work", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}},
        }))
        .unwrap()
    }

    fn rootfs(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, bytes) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        folder
    }

    fn kind(word: &str, files: &[(&str, &[u8])]) -> &'static str {
        match entry(&spec(word), rootfs(files).path()).unwrap() {
            Entry::Wasm(_) => "wasm",
            Entry::Native => "native",
            Entry::Missing => "missing",
        }
    }

    #[test]
    fn a_file_is_a_component_by_what_it_begins_with() {
        assert_eq!(kind("/app.wasm", &[("app.wasm", b"\0asm\x0d\0\x01\0")]), "wasm");
        assert_eq!(kind("/app.wasm", &[("app.wasm", b"#!/bin/sh\n")]), "native");
        assert_eq!(kind("/app.wasm", &[("app.wasm", b"")]), "native");
        assert_eq!(kind("/app.wasm", &[]), "missing");
    }

    #[test]
    fn a_bare_name_is_looked_up_on_the_path_and_then_in_the_working_folder() {
        assert_eq!(kind("run", &[("bin/run", b"\x7fELF"), ("work/run", b"\0asm")]), "native");
        assert_eq!(kind("run", &[("work/run", b"\0asm")]), "wasm");
        assert_eq!(kind("./run", &[("work/run", b"\0asm"), ("bin/run", b"\x7fELF")]), "wasm");
    }

    #[test]
    fn folders_and_missing_files_are_no_entry() {
        assert_eq!(kind("/", &[]), "missing");
        assert_eq!(kind("/bin", &[("bin/x", b"x")]), "missing");
    }

    #[test]
    fn links_do_not_lead_out_of_the_image() {
        let outside = tempfile::tempdir().unwrap();
        let secret = outside.path().join("secret.wasm");
        std::fs::write(&secret, b"\0asm").unwrap();
        let inside = rootfs(&[]);
        std::os::unix::fs::symlink(&secret, inside.path().join("app.wasm")).unwrap();
        assert!(matches!(entry(&spec("/app.wasm"), inside.path()).unwrap(), Entry::Missing));
    }

    #[test]
    fn only_a_container_without_a_program_is_worth_a_question_and_never_the_pause_container() {
        let mut pause = spec("/pause");
        pause.set_annotations(Some([(CONTAINER_TYPE.to_owned(), SANDBOX.to_owned())].into()));
        assert!(!may_be_artifact(&pause, &Entry::Missing));
        assert!(!may_be_artifact(&spec("/x"), &Entry::Native));
        assert!(may_be_artifact(&spec("/x"), &Entry::Missing));
    }
}
