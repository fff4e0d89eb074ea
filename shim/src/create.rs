//! Makes one container, in a process of its own that does nothing else.
//!
//! libcontainer forks; a process with threads must not. And whatever making a container needs of memory (the image's
//! manifest, sometimes the component) is given back with the process, so that the daemon stays small.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use libcontainer::utils::get_cgroup_path;
use oci_spec::runtime::Spec;

use crate::artifact::{self, Artifact, ArtifactError, Store};
use crate::cgroup::{self, CgroupError, Devices};
use crate::compiled::{CompileError, Compiled};
use crate::executor::{self, Becomes, Called, HostProgram, Launcher, Program};
use crate::image::{ImageError, Images, Layer};
use crate::instance;
use crate::lean::lean;
use crate::order::{Create, Kind, Made};
use crate::preopens::{Preopen, preopens};
use crate::procfs::Procfs;
use crate::sandbox::{Sandbox, SandboxError};
use crate::start::SANDBOX_ID;
use crate::state_dir::{Record, StateDir};
use crate::stdio::StdioError;
use crate::workload::{self, Entry};

/// In the bundle; what containerd gives as layers is mounted here.
pub(crate) const ROOTFS: &str = "rootfs";

/// Why a container was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CreateError {
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("root file system: {0}")]
    Mount(String),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    Seccomp(#[from] CompileError),
    #[error(transparent)]
    Stdio(#[from] StdioError),
    #[error("a component has no terminal; take tty and -t away")]
    Terminal,
    #[error("{0}")]
    Executor(String),
    #[error("{0}")]
    Oci(String),
}

/// Makes what `order` says, up to where it waits to be started.
///
/// # Errors
/// With the reason; what was made before is undone when the container is deleted.
pub(crate) fn create(order: &Create) -> Result<Made, CreateError> {
    let spec = Spec::load(order.bundle.join("config.json")).map_err(|error| CreateError::Oci(error.to_string()))?;
    let state = StateDir::of(&order.namespace).map_err(io_error("namespace"))?;
    let linux = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().clone());
    let record = Record {
        bundle: order.bundle.clone(),
        cgroup: get_cgroup_path(&linux, &order.id),
        cgroup_driver: order.cgroup_driver,
        pod: spec.annotations().as_ref().and_then(|annotations| annotations.get(SANDBOX_ID).cloned()),
    };
    state.write(&order.id, &record).map_err(io_error("state"))?;
    if let Some(sandbox) = Sandbox::of(&spec) {
        return Ok(Made { pid: sandbox.make(order, &record)?, kind: Kind::Sandbox });
    }
    mount(order)?;
    // A client may name a folder instead of having layers mounted.
    let root = spec.root().as_ref().map_or(Path::new(ROOTFS), |root| root.path());
    let rootfs = order.bundle.join(root);
    let program = program(order, &spec, &rootfs)?;
    let kind = if matches!(program, Program::Linux) { Kind::Linux } else { Kind::Wasm };
    let bundle = state.bundle(&order.id);
    let mut told = spec.clone();
    let (mut filter, mut procfs) = (None, Procfs::Whole);
    if kind == Kind::Wasm {
        filter = Compiled::take(&mut told, &state.filters())?;
        procfs = Procfs::least();
        if !needs_cgroups(&spec) {
            enter_cgroup(&record, &mut told)?;
        }
    }
    save(lean(told, kind, procfs), &rootfs, &bundle).map_err(io_error("the container's own bundle"))?;
    let pid = build(order, &state, Becomes { program, filter }, &spec)?;
    Ok(Made { pid, kind })
}

/// Makes the container's cgroup and moves into it, where that can be done better than by libcontainer, which is then not told of
/// resources and sees no cgroups.
fn enter_cgroup(record: &Record, told: &mut Spec) -> Result<(), CreateError> {
    let Some(linux) = told.linux_mut() else { return Ok(()) };
    if cgroup::enter_by_itself(record, linux.resources().as_ref(), Devices::Ruled)? {
        linux.set_resources(None);
        cgroup::hide().map_err(io_error("cgroups"))?;
    }
    Ok(())
}

/// Whether something would miss cgroups that are hidden: a hook, or who asked for them as a volume.
fn needs_cgroups(spec: &Spec) -> bool {
    let sources = spec.mounts().iter().flatten().filter_map(|mount| mount.source().as_ref()?.canonicalize().ok());
    spec.hooks().is_some() || sources.into_iter().any(|source| cgroup::hides(&source))
}

/// What libcontainer reads. It stays as long as the container: who joins it is told the same.
fn save(mut spec: Spec, rootfs: &Path, bundle: &Path) -> io::Result<()> {
    if let Some(root) = spec.root_mut() {
        root.set_path(rootfs.to_owned());
    }
    if let Some(linux) = spec.linux_mut() {
        linux.set_rootfs_propagation(linux.rootfs_propagation().as_deref().map(propagation));
    }
    std::fs::create_dir_all(bundle)?;
    spec.save(bundle.join("config.json")).map_err(io::Error::other)
}

/// The name that libcontainer has for it: to it each of them is recursive.
fn propagation(name: &str) -> String {
    name.strip_prefix('r')
        .filter(|plain| ["shared", "slave", "private", "unbindable"].contains(plain))
        .unwrap_or(name)
        .to_owned()
}

fn mount(order: &Create) -> Result<(), CreateError> {
    let rootfs = order.bundle.join(ROOTFS);
    std::fs::create_dir_all(&rootfs).map_err(io_error("root file system"))?;
    let filled = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    for layer in &order.mounts {
        let target = rootfs.join(layer.target.trim_start_matches('/'));
        let (kind, source) = (filled(&layer.kind), filled(&layer.source));
        let mounted = containerd_shim::mount::mount_rootfs(kind.as_deref(), source.as_deref(), &layer.options, &target);
        mounted.map_err(|error| CreateError::Mount(error.to_string()))?;
    }
    Ok(())
}

/// What the container's process will become.
fn program(order: &Create, spec: &Spec, rootfs: &Path) -> Result<Program, CreateError> {
    if instance::is_instance(spec) {
        let called = Called { arguments: instance::arguments(), variables: vec![instance::proof(spec, &order.store)?] };
        return host(order, spec, instance::artifacts(&order.store)?, called);
    }
    let entry = workload::entry(spec, rootfs).map_err(io_error("command of the image"))?;
    let artifact = match entry {
        Entry::Native => None,
        Entry::Missing if !workload::may_be_artifact(spec, &entry) => None,
        Entry::Missing => of_image(order)?,
        Entry::Wasm(file) => Some(of_file(order, file)?),
    };
    let Some(artifact) = artifact else { return Ok(Program::Linux) };
    let folders = workload::folders(rootfs).map_err(io_error("root file system"))?;
    let preopens = preopens(spec, &folders, Path::is_dir);
    let arguments = arguments(spec, &preopens).map_err(io_error("command of the container"))?;
    host(order, spec, artifact, Called { arguments, variables: Vec::new() })
}

fn host(order: &Create, spec: &Spec, artifact: Artifact, called: Called) -> Result<Program, CreateError> {
    if spec.process().as_ref().and_then(|process| process.terminal()).unwrap_or(false) {
        return Err(CreateError::Terminal);
    }
    let host = HostProgram::new(artifact, &order.host, called).map_err(CreateError::Executor)?;
    Ok(Program::Host(Arc::new(host)))
}

fn of_file(order: &Create, mut file: File) -> Result<Artifact, CreateError> {
    let store = Store::open(&order.store, &order.host)?;
    let digest = artifact::digest_of(&mut file).map_err(io_error("component"))?;
    match store.known(&digest) {
        Some(artifact) => Ok(artifact),
        None => Ok(store.ensure(file, Some(&digest))?),
    }
}

fn of_image(order: &Create) -> Result<Option<Artifact>, CreateError> {
    // Only this needs a runtime; it is gone, with all that it opened, before anything is forked.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(io_error("runtime"))?;
    runtime.block_on(async {
        let images = Images::connect(&order.containerd, &order.namespace).await?;
        match images.component_of(&order.id).await? {
            None => Ok(None),
            Some(layer) => of_layer(order, &images, &layer).await.map(Some),
        }
    })
}

async fn of_layer(order: &Create, images: &Images, layer: &Layer) -> Result<Artifact, CreateError> {
    let store = Store::open(&order.store, &order.host)?;
    if let Some(artifact) = store.known(&layer.digest) {
        return Ok(artifact);
    }
    let bytes = images.bytes(layer).await?;
    let file = artifact::file_of(&bytes).map_err(io_error("component"))?;
    Ok(store.ensure(file, Some(&layer.digest))?)
}

/// The host's command line.
fn arguments(spec: &Spec, preopens: &[Preopen]) -> io::Result<Vec<CString>> {
    let mut arguments = vec!["wisp-host".to_owned(), "contained".to_owned()];
    for preopen in preopens {
        arguments.extend(["--preopen".to_owned(), preopen.argument()]);
    }
    if let Some(process) = spec.process() {
        arguments.extend(["--cwd".to_owned(), process.cwd().display().to_string(), "--".to_owned()]);
        arguments.extend(process.args().iter().flatten().cloned());
    }
    arguments.into_iter().map(|argument| CString::new(argument).map_err(io::Error::other)).collect()
}

fn build(order: &Create, state: &StateDir, becomes: Becomes, spec: &Spec) -> Result<i32, CreateError> {
    let oci = |error: libcontainer::error::LibcontainerError| CreateError::Oci(chain(&error));
    let gate = OpenOptions::new().write(true).open(state.gate(&order.id)).map_err(io_error("gate"))?;
    let given = order.stdio.give()?;
    let user = spec.process().as_ref().map(|process| process.user().uid());
    given.own(user.unwrap_or(0)).map_err(io_error("standard output"))?;
    let preserved = if matches!(becomes.program, Program::Linux) { 0 } else { executor::DESCRIPTORS };
    let container = ContainerBuilder::new(order.id.clone(), SyscallType::default())
        .with_root_path(state.oci())
        .map_err(oci)?
        .with_executor(Launcher::new(gate, becomes))
        .with_preserved_fds(preserved)
        .with_stdin(given.stdin)
        .with_stdout(given.stdout)
        .with_stderr(given.stderr)
        .as_init(state.bundle(&order.id))
        .with_systemd(order.cgroup_driver == crate::state_dir::CgroupDriver::Systemd)
        .build()
        .map_err(oci)?;
    let pid = container.pid().map(|pid| pid.as_raw());
    pid.ok_or_else(|| CreateError::Oci("the container has no process".to_owned()))
}

/// The error with its causes: libcontainer's outermost says only where it was.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut messages: Vec<String> = Vec::new();
    for error in std::iter::successors(Some(error), |error| error.source()) {
        let message = error.to_string();
        // Errors that quote their cause would say everything twice.
        if !messages.iter().any(|earlier| earlier.contains(&message)) {
            messages.push(message);
        }
    }
    messages.join(": ")
}

fn io_error(what: &str) -> impl Fn(io::Error) -> CreateError {
    let what = what.to_owned();
    move |source| CreateError::Io { what: what.clone(), source }
}
