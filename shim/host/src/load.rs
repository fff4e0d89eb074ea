//! From a sealed file to code that can run. The only file with `unsafe`.

#![allow(unsafe_code, reason = "mapping native code is unsafe by nature; the seal is what makes it sound")]

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wasmtime::component::{Component, InstancePre};
use wasmtime_wasi::p2::bindings::CommandPre as P2Command;
use wasmtime_wasi::p3::bindings::CommandPre as P3Command;
use wasmtime_wasi_http::handler::ProxyPre;
use wasmtime_wasi_http::p2::bindings::ProxyPre as P2Pre;
use wasmtime_wasi_http::p3::bindings::ServicePre as P3Pre;

use crate::context::Guest;
use crate::engine::Runtimes;
use crate::inspect::{Entry, Kind, World};
use crate::seal::{SealError, SealKey};

/// A component, linked and ready to be instantiated.
#[derive(Clone)]
pub struct Loaded {
    /// Which of the two worlds it serves.
    pub world: World,
    /// Makes instances.
    pub pre: Arc<ProxyPre<Guest>>,
}

/// A command, linked and ready to be run.
pub enum LoadedCommand {
    /// By `wasi:cli/run@0.2`.
    P2(P2Command<Guest>),
    /// By `wasi:cli/run@0.3`.
    P3(P3Command<Guest>),
}

/// An artifact whose seal was checked. Nothing else is ever mapped.
pub struct Sealed {
    /// For messages.
    path: PathBuf,
    file: File,
    entry: Entry,
}

/// Why an artifact cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be opened or is not ours.
    #[error("artifact {path} {source}")]
    Seal {
        /// The artifact's file.
        path: PathBuf,
        /// Why not.
        source: SealError,
    },
    /// It is sealed as something else.
    #[error("artifact {path} is a component of kind {found}, not {wanted}; compile the component anew")]
    Kind {
        /// The artifact's file.
        path: PathBuf,
        /// What the seal says.
        found: Kind,
        /// What it was loaded as.
        wanted: Kind,
    },
    /// The engine refuses it, or it imports what no host offers.
    #[error("artifact {path} does not fit this host: {message}; if it is from another version of Wisp, remove it")]
    Refused {
        /// The artifact's file.
        path: PathBuf,
        /// The engine's words.
        message: String,
    },
}

/// Opens, checks and maps the artifact at `path`, and links it.
///
/// # Errors
/// When the seal is not ours, or the engine refuses what was sealed.
pub fn load(path: &Path, key: &SealKey, runtimes: &Runtimes) -> Result<Loaded, LoadError> {
    let file =
        File::open(path).map_err(|error| LoadError::Seal { path: path.to_owned(), source: SealError::Io(error) })?;
    Sealed::check(file, path, key)?.http(runtimes)
}

/// Takes over a descriptor that whoever started this process left open for it.
///
/// # Errors
/// When there is none of that number.
pub fn inherited(descriptor: RawFd) -> std::io::Result<File> {
    // SAFETY: the number is only asked for its flags, and not used when there is nothing behind it.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    rustix::io::fcntl_getfd(borrowed)?;
    // SAFETY: it is open, and by the contract of the commands for containers it was opened for this call, which is made once
    // per number: nobody else in this process owns it.
    Ok(unsafe { File::from_raw_fd(descriptor) })
}

impl Sealed {
    /// Checks the seal of all of `file`, which messages call `path`.
    ///
    /// # Errors
    /// When the seal is not ours.
    pub fn check(mut file: File, path: &Path, key: &SealKey) -> Result<Self, LoadError> {
        let seal = |source| LoadError::Seal { path: path.to_owned(), source };
        let entry = key.check(&mut file).map_err(seal)?;
        Ok(Self { path: path.to_owned(), file, entry })
    }

    /// How it is entered.
    #[must_use]
    pub fn entry(&self) -> Entry {
        self.entry
    }

    /// Maps it, and links it to serve HTTP.
    ///
    /// # Errors
    /// When it is a command, or the engine refuses it.
    pub fn http(self, runtimes: &Runtimes) -> Result<Loaded, LoadError> {
        let linked = self.linked(Kind::Http, runtimes)?;
        let pre = match self.entry.world {
            World::P2 => P2Pre::new(linked).map(ProxyPre::P2),
            World::P3 => P3Pre::new(linked).map(ProxyPre::P3),
        };
        Ok(Loaded { world: self.entry.world, pre: Arc::new(pre.map_err(|error| self.refused(&error))?) })
    }

    /// Maps it, and links it to be run.
    ///
    /// # Errors
    /// When it is no command, or the engine refuses it.
    pub fn command(self, runtimes: &Runtimes) -> Result<LoadedCommand, LoadError> {
        let linked = self.linked(Kind::Command, runtimes)?;
        let command = match self.entry.world {
            World::P2 => P2Command::new(linked).map(LoadedCommand::P2),
            World::P3 => P3Command::new(linked).map(LoadedCommand::P3),
        };
        command.map_err(|error| self.refused(&error))
    }

    fn linked(&self, wanted: Kind, runtimes: &Runtimes) -> Result<InstancePre<Guest>, LoadError> {
        let Entry { kind, world } = self.entry;
        if kind != wanted {
            return Err(LoadError::Kind { path: self.path.clone(), found: kind, wanted });
        }
        let runtime = runtimes.get(world).map_err(|error| self.refused(&error))?;
        let component = self.map(&runtime.engine).map_err(|error| self.refused(&error))?;
        runtime.linker.instantiate_pre(&component).map_err(|error| self.refused(&error))
    }

    fn map(&self, engine: &wasmtime::Engine) -> wasmtime::Result<Component> {
        let descriptor = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        if !Path::new(&descriptor).exists() {
            return self.copy(engine);
        }
        // SAFETY: the bytes are what `Engine::precompile_component` made: the seal over all of them was checked on this
        // very descriptor, which names an inode and not a path, so nobody can have put another file in its place since.
        // The store writes artifacts once, without write permission, in a folder of its own user, and removes them only
        // by unlink; the mapping is private and keeps the inode alive. The footer after the ELF image is not read by the
        // loader.
        unsafe { Component::deserialize_file(engine, descriptor) }
    }

    /// Without /proc a descriptor has no path to map it by: works as well, but the code is not shared between processes.
    fn copy(&self, engine: &wasmtime::Engine) -> wasmtime::Result<Component> {
        tracing::debug!(path = %self.path.display(), "no /proc here; the code is copied, not mapped");
        let mut bytes = Vec::new();
        let mut file = &self.file;
        file.rewind()?;
        file.read_to_end(&mut bytes)?;
        // SAFETY: as in `map`: read from the descriptor whose seal was checked, of a file that nobody changes.
        unsafe { Component::deserialize(engine, bytes) }
    }

    fn refused(&self, error: &wasmtime::Error) -> LoadError {
        LoadError::Refused { path: self.path.clone(), message: format!("{error:#}") }
    }
}

impl LoadedCommand {
    /// The engine that it runs in.
    #[must_use]
    pub fn engine(&self) -> &wasmtime::Engine {
        match self {
            Self::P2(pre) => pre.engine(),
            Self::P3(pre) => pre.engine(),
        }
    }
}
