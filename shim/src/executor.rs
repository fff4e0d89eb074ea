//! The last step of a container's first process: it becomes the program.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::sync::Arc;

use libcontainer::syscall::linux::MountAttr;
use libcontainer::syscall::syscall::create_syscall;
use libcontainer::workload::default::get_executor;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use nix::fcntl::AtFlags;
use oci_spec::runtime::Spec;
use rustix::fs::CWD;
use rustix::io::FdFlags;
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::artifact::Artifact;
use crate::compiled::Compiled;
use crate::create::chain;
use crate::filter::Filter;

/// Where the host expects the compiled code and the key of its seal.
const CODE_DESCRIPTOR: i32 = 3;
const KEY_DESCRIPTOR: i32 = 4;
/// Of the kernel's `linux/mount.h`.
const MOUNT_ATTR_RDONLY: u64 = 1;
/// Those two: libcontainer closes all others.
pub(crate) const DESCRIPTORS: i32 = 2;

/// Becomes a program of the image, or the host with a component.
#[derive(Clone)]
pub(crate) struct Launcher {
    /// Closes when the program runs, because exec closes it; what is written to it before is why it does not.
    gate: Option<Arc<File>>,
    filter: Option<Behind>,
    program: Program,
}

/// A filter of system calls that libcontainer leaves to us.
#[derive(Clone)]
enum Behind {
    /// Of a process that joins a container.
    Joined(Arc<Filter>),
    /// Of a component's.
    Compiled(Arc<Compiled>),
}

/// What a container's first process becomes, and behind which filter when libcontainer has none for it.
pub(crate) struct Becomes {
    pub(crate) program: Program,
    pub(crate) filter: Option<Compiled>,
}

/// What to become.
#[derive(Clone)]
pub(crate) enum Program {
    /// What the image's command names.
    Linux,
    /// The host.
    Host(Arc<HostProgram>),
}

/// The host with its descriptors and arguments, all of them opened and made before the container's walls are up.
pub(crate) struct HostProgram {
    program: File,
    artifact: Artifact,
    called: Called,
}

/// How the host is called.
pub(crate) struct Called {
    pub(crate) arguments: Vec<CString>,
    /// Beside the container's own environment.
    pub(crate) variables: Vec<CString>,
}

impl HostProgram {
    /// The host, called like that. No other file may be open yet.
    ///
    /// # Errors
    /// When other descriptors are where the host expects its own: then this process was not started clean.
    pub(crate) fn new(artifact: Artifact, host: &Path, called: Called) -> Result<Self, String> {
        let failed = |error: io::Error| format!("{}: {error}", host.display());
        let code = lowest(artifact.code).map_err(failed)?;
        let artifact = Artifact { code, key: lowest(artifact.key).map_err(failed)? };
        let program = read_only(host).map_err(failed)?;
        let found = (artifact.code.as_raw_fd(), artifact.key.as_raw_fd());
        if found != (CODE_DESCRIPTOR, KEY_DESCRIPTOR) {
            return Err(format!(
                "descriptors {CODE_DESCRIPTOR} and {KEY_DESCRIPTOR} are taken, code and key are {found:?}; \
                 this is a bug of the shim"
            ));
        }
        Ok(Self { program, artifact, called })
    }

    fn become_it(&self) -> Result<(), String> {
        for file in [&self.artifact.code, &self.artifact.key] {
            rustix::io::fcntl_setfd(file, FdFlags::empty()).map_err(|error| format!("wisp-host: {error}"))?;
        }
        let variables = std::env::vars_os().filter_map(|(name, value)| variable(name, value));
        // The first of a name is the one that counts.
        let variables: Vec<CString> = self.called.variables.iter().cloned().chain(variables).collect();
        let (program, arguments) = (self.program.as_raw_fd(), &self.called.arguments);
        let failed = nix::unistd::execveat(Some(program), c"", arguments, &variables, AtFlags::AT_EMPTY_PATH);
        let Err(error) = failed;
        Err(format!("wisp-host cannot be executed: {error}; does the seccomp profile allow execveat?"))
    }
}

/// The host's file by a mount of its own, which is read-only. Where a pod shares its process namespace, a container that
/// runs as root can open `/proc/<pid>/exe` of its neighbour; it must not be able to write to the node's program by it.
fn read_only(host: &Path) -> io::Result<File> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = open_tree(CWD, host, flags)?;
    let attributes = MountAttr { attr_set: MOUNT_ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let empty_path = rustix::fs::AtFlags::EMPTY_PATH.bits();
    create_syscall()
        .mount_setattr(mount.as_fd(), Path::new(""), empty_path, &attributes, size_of::<MountAttr>())
        .map_err(io::Error::other)?;
    Ok(File::from(mount))
}

/// The same file by the lowest number that is free.
fn lowest(file: File) -> io::Result<File> {
    let other = file.try_clone()?;
    Ok(if other.as_raw_fd() < file.as_raw_fd() { other } else { file })
}

fn variable(name: OsString, value: OsString) -> Option<CString> {
    let mut bytes = name.into_vec();
    bytes.push(b'=');
    bytes.extend(value.into_vec());
    CString::new(bytes).ok()
}

impl Launcher {
    /// Becomes what it says, and says through `gate` when that does not work.
    pub(crate) fn new(gate: File, becomes: Becomes) -> Self {
        let filter = becomes.filter.map(|filter| Behind::Compiled(Arc::new(filter)));
        Self { gate: Some(Arc::new(gate)), filter, program: becomes.program }
    }

    /// Becomes a program in a container that is there, behind the container's filter. libcontainer itself hands on why it
    /// does not work.
    pub(crate) fn joining(filter: Option<Filter>) -> Self {
        Self { gate: None, filter: filter.map(|filter| Behind::Joined(Arc::new(filter))), program: Program::Linux }
    }
}

impl Executor for Launcher {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let loaded = match &self.filter {
            Some(Behind::Joined(filter)) => filter.load(),
            Some(Behind::Compiled(filter)) => filter.load(),
            None => Ok(()),
        };
        let failed = loaded.and_then(|()| match &self.program {
            Program::Linux => get_executor().exec(spec).map_err(|error| chain(&error)),
            Program::Host(host) => host.become_it(),
        });
        let Err(message) = failed else { return Ok(()) };
        // Whoever waits at the other end hears it; if nobody does, the exit status still tells.
        if let Some(gate) = &self.gate {
            let _ = (&**gate).write_all(message.as_bytes());
        }
        Err(ExecutorError::Other(message))
    }

    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        // Whether there is such a program is known when it is executed, and told through the gate. libcontainer's own
        // check beforehand wants a `PATH` and a program that everybody may execute, which runc does not.
        Ok(())
    }
}
