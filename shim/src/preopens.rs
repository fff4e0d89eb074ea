//! Which folders of a container its guest may open.
//!
//! What the pod's author mounted and what the image brought; never what the platform puts into every container.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Mount, Spec};

/// Files and folders that kubelet and containerd mount into every container.
const OF_THE_PLATFORM: [&str; 6] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/dev", "/proc", "/sys"];
/// Folders of an image that are only there to be mounted over.
const MOUNT_POINTS: [&str; 3] = ["dev", "proc", "sys"];

/// A folder that the guest may open, by the same name inside as outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Preopen {
    pub(crate) folder: PathBuf,
    pub(crate) access: Access,
}

/// What it may do there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    ReadWrite,
}

impl Preopen {
    /// As the host's command line takes it.
    pub(crate) fn argument(&self) -> String {
        let folder = self.folder.display();
        let suffix = if self.access == Access::Read { "::ro" } else { "" };
        format!("{folder}::{folder}{suffix}")
    }
}

/// The folders of `spec`'s mounts, and the image's own `folders`. `is_folder` tells folders from files: a guest opens
/// files by the folder they are in, so that a file that is mounted alone cannot be given.
pub(crate) fn preopens(spec: &Spec, folders: &[String], is_folder: impl Fn(&Path) -> bool) -> Vec<Preopen> {
    let mut found = BTreeMap::new();
    let of_image = if is_read_only(spec) { Access::Read } else { Access::ReadWrite };
    for name in folders.iter().filter(|name| !MOUNT_POINTS.contains(&name.as_str())) {
        found.insert(Path::new("/").join(name), of_image);
    }
    let mounts = spec.mounts().iter().flatten();
    for mount in mounts.filter(|mount| is_volume(mount) && mount.source().as_deref().is_some_and(&is_folder)) {
        found.insert(mount.destination().clone(), access(mount));
    }
    found.into_iter().map(|(folder, access)| Preopen { folder, access }).collect()
}

fn is_read_only(spec: &Spec) -> bool {
    spec.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false)
}

fn is_volume(mount: &Mount) -> bool {
    let of_the_platform = OF_THE_PLATFORM.iter().any(|path| mount.destination().starts_with(path));
    has_option(mount, &["bind", "rbind"]) && !of_the_platform
}

fn access(mount: &Mount) -> Access {
    if has_option(mount, &["ro", "rro"]) { Access::Read } else { Access::ReadWrite }
}

/// Whether `mount` has one of the options `names`.
pub(crate) fn has_option(mount: &Mount, names: &[&str]) -> bool {
    mount.options().iter().flatten().any(|option| names.contains(&option.as_str()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(read_only: bool, mounts: &serde_json::Value) -> Spec {
        let spec = json!({"ociVersion": "1.1.0", "root": {"path": "rootfs", "readonly": read_only}, "mounts": mounts});
        serde_json::from_value(spec).unwrap()
    }

    fn bind(destination: &str, options: &[&str]) -> serde_json::Value {
        json!({"destination": destination, "type": "bind", "source": format!("/host{destination}"), "options": options})
    }

    fn arguments(spec: &Spec, folders: &[&str]) -> Vec<String> {
        let folders: Vec<String> = folders.iter().map(|&name| name.to_owned()).collect();
        let is_folder = |path: &Path| !path.ends_with("settings.toml");
        preopens(spec, &folders, is_folder).iter().map(Preopen::argument).collect()
    }

    #[test]
    fn volumes_are_given_as_they_are_mounted() {
        let mounts = json!([bind("/data", &["rbind", "rw"]), bind("/etc/settings", &["rbind", "ro"])]);
        assert_eq!(arguments(&spec(false, &mounts), &[]), ["/data::/data", "/etc/settings::/etc/settings::ro"]);
    }

    #[test]
    fn what_the_platform_mounts_is_not_given() {
        let mounts = json!([
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
            bind("/etc/hosts", &["rbind", "rw"]),
            bind("/dev/shm", &["rbind", "rw"]),
            bind("/dev/termination-log", &["rbind", "rw"]),
        ]);
        assert!(arguments(&spec(false, &mounts), &[]).is_empty());
    }

    #[test]
    fn a_token_of_a_service_account_is_given_and_only_read() {
        let folder = "/var/run/secrets/kubernetes.io/serviceaccount";
        let mounts = json!([bind(folder, &["rbind", "ro"])]);
        assert_eq!(arguments(&spec(false, &mounts), &[]), [format!("{folder}::{folder}::ro")]);
    }

    #[test]
    fn a_file_that_is_mounted_alone_is_not_given() {
        let mounts = json!([bind("/settings.toml", &["rbind", "ro"])]);
        assert!(arguments(&spec(false, &mounts), &[]).is_empty());
    }

    #[test]
    fn folders_of_the_image_follow_its_root() {
        let none = json!([]);
        let folders = ["app", "dev", "proc", "sys"];
        assert_eq!(arguments(&spec(false, &none), &folders), ["/app::/app"]);
        assert_eq!(arguments(&spec(true, &none), &folders), ["/app::/app::ro"]);
    }

    #[test]
    fn a_volume_wins_over_the_folder_that_it_is_mounted_on() {
        let mounts = json!([bind("/app", &["rbind", "rw"])]);
        assert_eq!(arguments(&spec(true, &mounts), &["app"]), ["/app::/app"]);
    }
}
