//! What one cluster of several on a machine has to itself: a number, and the names and addresses that follow from it.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Each takes half a gigabyte of memory, so that a machine is full before this is.
const CLUSTERS_MAX: u8 = 16;
/// Networks of 256 addresses that the Services of each have.
const SERVICE_NETWORKS: u8 = 16;
/// Short, because paths of Unix sockets below it may have 107 bytes.
const FOLDER: &str = "/run/wisp-cluster";

/// The names and addresses of cluster `number`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) number: u8,
}

/// A place that nobody else has as long as this, or a copy of the file in it, lives.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) place: Place,
    pub(crate) lock: File,
}

impl Place {
    /// What lies on the machine's own file system: settings, keys, logs.
    pub(crate) fn folder(self) -> PathBuf {
        Path::new(FOLDER).join(self.number.to_string())
    }

    /// Locked while a process of the cluster lives.
    pub(crate) fn lock_file(self) -> PathBuf {
        self.folder().with_extension("lock")
    }

    /// Exists in the node only: everything that components write.
    pub(crate) fn state(self) -> PathBuf {
        self.folder().join("state")
    }

    pub(crate) fn node_name(self) -> String {
        format!("node-{}", self.number)
    }

    /// Of cgroups, below the root of each hierarchy. `node/keeper` knows it too.
    pub(crate) fn group(self) -> String {
        format!("/wisp-test-{}", self.number)
    }

    /// The machine's end of the link to the node.
    pub(crate) fn outside_ip(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 88, self.number, 1)
    }

    pub(crate) fn node_ip(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 88, self.number, 2)
    }

    pub(crate) fn pod_cidr(self) -> String {
        format!("10.77.{}.0/24", self.number)
    }

    /// Room for 4,000: each function has one.
    pub(crate) fn service_cidr(self) -> String {
        format!("10.96.{}.0/20", self.number * SERVICE_NETWORKS)
    }

    /// The first of its range, as Kubernetes has it.
    pub(crate) fn apiserver_service_ip(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 96, self.number * SERVICE_NETWORKS, 1)
    }
}

impl Taken {
    /// Gives the place back, unused.
    pub(crate) fn give_back(self) -> Result<()> {
        let path = self.place.lock_file();
        fs::remove_file(&path).with_context(|| format!("{} cannot be removed", path.display()))?;
        // Not empty when other clusters are up.
        let _: std::io::Result<()> = fs::remove_dir(FOLDER);
        Ok(())
    }
}

/// Every place that a cluster has, or has left without taking it down.
pub(crate) fn used() -> Vec<Place> {
    (0..CLUSTERS_MAX).map(|number| Place { number }).filter(|place| place.folder().exists()).collect()
}

/// The first place that is free.
pub(crate) fn take() -> Result<Taken> {
    for number in 0..CLUSTERS_MAX {
        if let Some(taken) = try_take(Place { number })? {
            return Ok(taken);
        }
    }
    bail!("{CLUSTERS_MAX} clusters are up: take one down with `cluster down`, or wait for the tests that use them")
}

/// Nothing when a living process has it.
pub(crate) fn try_take(place: Place) -> Result<Option<Taken>> {
    let path = place.lock_file();
    loop {
        own_folder()?;
        let lock = match File::options().create(true).truncate(false).write(true).open(&path) {
            // The folder was removed in between, by the end of the last cluster.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            opened => opened.with_context(|| format!("{} cannot be opened: clusters need root", path.display()))?,
        };
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(None),
            locked => locked.with_context(|| format!("{} cannot be locked", path.display()))?,
        }
        // A cluster that goes removes its lock, so the one just taken may be nobody's any more.
        let ours = lock.metadata()?.ino();
        if fs::metadata(&path).is_ok_and(|found| found.ino() == ours) {
            return Ok(Some(Taken { place, lock }));
        }
    }
}

/// Holds keys, so nobody else may look into it.
fn own_folder() -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(FOLDER).with_context(|| format!("{FOLDER} cannot be made"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_share_no_name_and_no_address() {
        let names = |number| {
            let place = Place { number };
            [
                place.folder().display().to_string(),
                place.group(),
                place.node_ip().to_string(),
                place.pod_cidr(),
                place.service_cidr(),
                place.node_name(),
            ]
        };
        for (one, other) in names(3).iter().zip(names(4).iter()) {
            assert_ne!(one, other);
        }
    }
}
