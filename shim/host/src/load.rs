//! From a sealed file to code that can run. The only file with `unsafe`.

#![allow(unsafe_code, reason = "mapping native code is unsafe by nature; the seal is what makes it sound")]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use wasmtime::component::Component;
use wasmtime_wasi_http::handler::ProxyPre;
use wasmtime_wasi_http::p2::bindings::ProxyPre as P2Pre;
use wasmtime_wasi_http::p3::bindings::ServicePre as P3Pre;

use crate::context::Guest;
use crate::engine::Runtimes;
use crate::inspect::World;
use crate::seal::{SealError, SealKey};

/// A component, linked and ready to be instantiated.
#[derive(Clone)]
pub struct Loaded {
    /// Which of the two worlds it serves.
    pub world: World,
    /// Makes instances.
    pub pre: std::sync::Arc<ProxyPre<Guest>>,
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
    let seal = |source| LoadError::Seal { path: path.to_owned(), source };
    let refused = |error: wasmtime::Error| LoadError::Refused { path: path.to_owned(), message: format!("{error:#}") };
    let mut file = File::open(path).map_err(|error| seal(error.into()))?;
    let world = key.check(&mut file).map_err(seal)?;
    let runtime = runtimes.get(world).map_err(refused)?;
    let descriptor = format!("/proc/self/fd/{}", file.as_raw_fd());
    // SAFETY: the bytes are what `Engine::precompile_component` made: the seal over all of them was checked on this very
    // descriptor, which names an inode and not a path, so nobody can have put another file in its place since. The store
    // writes artifacts once, mode 0400, in a folder of its own user, and removes them only by unlink; the mapping is
    // private and keeps the inode alive. The footer after the ELF image is not read by the loader.
    let component = unsafe { Component::deserialize_file(&runtime.engine, descriptor) }.map_err(refused)?;
    let linked = runtime.linker.instantiate_pre(&component).map_err(refused)?;
    let pre = match world {
        World::P2 => ProxyPre::P2(P2Pre::new(linked).map_err(refused)?),
        World::P3 => ProxyPre::P3(P3Pre::new(linked).map_err(refused)?),
    };
    Ok(Loaded { world, pre: std::sync::Arc::new(pre) })
}
