//! A container's cgroup: where it is in either version, who is in it, and what can be done to all of them.

use std::io;
use std::path::{Component, Path, PathBuf};

use libcgroups::common::{
    AnyCgroupManager, CgroupConfig, CgroupManager, CgroupSetup, ControllerOpt, DEFAULT_CGROUP_ROOT, FreezerState,
    get_cgroup_setup,
};
use nix::sched::{CloneFlags, unshare};
use oci_spec::runtime::LinuxResources;
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};
use rustix::process::{Pid, Signal};

pub(crate) use self::v1::Devices;
use self::v1::{Hierarchies, Limits};
use crate::empty;
use crate::state_dir::{CgroupDriver, Record};

mod v1;

/// Where the kernel shows the files of a process's cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// One tree for all controllers.
    V2(PathBuf),
    /// A tree for each controller; those that are not there are `None`.
    V1(V1Place),
}

/// Folders of one container in the trees of version 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct V1Place {
    pub(crate) cpu: Option<PathBuf>,
    pub(crate) cpuacct: Option<PathBuf>,
    pub(crate) memory: Option<PathBuf>,
    pub(crate) pids: Option<PathBuf>,
}

/// Why a cgroup does not do what it is told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CgroupError {
    #[error("the cgroup of process {pid} cannot be found: {source}")]
    Lost { pid: i32, source: io::Error },
    #[error("the cgroup of process {0} is in no mounted hierarchy; mount /sys/fs/cgroup")]
    NotMounted(i32),
    #[error("cgroup {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("cgroup {path}: {message}")]
    Manager { path: PathBuf, message: String },
}

impl Place {
    /// Where the cgroup of the process `pid` is.
    ///
    /// # Errors
    /// When the process is gone or no hierarchy is mounted.
    pub(crate) fn of_process(pid: i32) -> Result<Self, CgroupError> {
        let lost = |source| CgroupError::Lost { pid, source };
        let membership = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).map_err(lost)?;
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").map_err(lost)?;
        Self::locate(&membership, &mounts).ok_or(CgroupError::NotMounted(pid))
    }

    /// From `/proc/<pid>/cgroup` and `/proc/self/mountinfo`. Version 1 wins where both are mounted: then the tree of
    /// version 2 has no controllers.
    fn locate(membership: &str, mounts: &str) -> Option<Self> {
        let of = |controller: &str| folder(membership, mounts, controller);
        let v1 = V1Place { cpu: of("cpu"), cpuacct: of("cpuacct"), memory: of("memory"), pids: of("pids") };
        if v1 == V1Place::default() { of("").map(Self::V2) } else { Some(Self::V1(v1)) }
    }

    /// The folder whose `cgroup.procs` lists everybody.
    fn members_folder(&self) -> Option<&Path> {
        match self {
            Self::V2(folder) => Some(folder),
            Self::V1(place) => place.pids.as_deref().or(place.memory.as_deref()).or(place.cpu.as_deref()),
        }
    }

    /// Every process in the cgroup and in those below it.
    pub(crate) fn pids(&self) -> Result<Vec<i32>, CgroupError> {
        let mut pids = Vec::new();
        if let Some(folder) = self.members_folder() {
            collect_pids(folder, &mut pids).map_err(|source| CgroupError::Io { path: folder.to_owned(), source })?;
        }
        Ok(pids)
    }

    /// Sends `signal` to every process in the cgroup. Those that end meanwhile are passed over.
    pub(crate) fn signal_all(&self, signal: Signal) -> Result<(), CgroupError> {
        for pid in self.pids()?.into_iter().filter_map(Pid::from_raw) {
            // It has ended, which is all that could be wanted of it.
            let _ = rustix::process::kill_process(pid, signal);
        }
        Ok(())
    }

    /// How many of its processes the kernel killed for want of memory; zero when it does not say.
    pub(crate) fn oom_kills(&self) -> u64 {
        let file = match self {
            Self::V2(folder) => Some(folder.join("memory.events")),
            Self::V1(place) => place.memory.as_ref().map(|folder| folder.join("memory.oom_control")),
        };
        let text = file.and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
        value_of(&text, "oom_kill").unwrap_or(0)
    }
}

/// The number behind `key` in a file of `key value` lines.
pub(crate) fn value_of(text: &str, key: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(name, _)| *name == key).and_then(|(_, value)| value.trim().parse().ok())
}

/// The folder of `controller`, or of version 2 when that is empty.
fn folder(membership: &str, mounts: &str, controller: &str) -> Option<PathBuf> {
    let path = membership.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        controllers.split(',').any(|name| name == controller).then_some(path)
    })?;
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let (mut left, mut right) = (left.split(' ').skip(3), right.split(' '));
        let (root, mount_point) = (left.next()?, left.next()?);
        let (kind, options) = (right.next()?, right.nth(1)?);
        let fits = match kind {
            "cgroup2" => controller.is_empty(),
            "cgroup" => !controller.is_empty() && options.split(',').any(|option| option == controller),
            _ => false,
        };
        // In a container of its own, a hierarchy is mounted from below its root.
        let below = Path::new(path).strip_prefix(root).ok().filter(|_| fits)?;
        Some(Path::new(mount_point).join(below))
    })
}

fn collect_pids(folder: &Path, pids: &mut Vec<i32>) -> io::Result<()> {
    let text = std::fs::read_to_string(folder.join("cgroup.procs"))?;
    pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect_pids(&entry.path(), pids)?;
        }
    }
    Ok(())
}

/// Makes the cgroup of the pod's own container `id`, moves this process into it, and says what it may use.
///
/// # Errors
/// When no hierarchy is mounted, or the kernel refuses.
pub(crate) fn enter(id: &str, record: &Record, resources: Option<&LinuxResources>) -> Result<(), CgroupError> {
    if enter_by_itself(record, resources, Devices::Unreachable)? {
        return Ok(());
    }
    let named = Named::of(id, record)?;
    named.done(named.manager.add_task(nix::unistd::getpid()))?;
    resources.map_or(Ok(()), |resources| named.update(resources))
}

/// The same without libcgroups, where it is one of version 1 and all that is asked for is known; else nothing is done, and it
/// says so.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn enter_by_itself(
    record: &Record,
    resources: Option<&LinuxResources>,
    devices: Devices,
) -> Result<bool, CgroupError> {
    let path = &record.cgroup;
    let failed = |source| CgroupError::Io { path: path.clone(), source };
    let is_plain = path.is_absolute() && !path.components().any(|part| part == Component::ParentDir);
    // A hierarchy of version 1 may be mounted beside version 2: libcgroups, which removes what is made here, says which counts.
    let is_v1 = matches!(get_cgroup_setup(), Ok(CgroupSetup::Legacy | CgroupSetup::Hybrid));
    if !is_v1 || !is_plain || record.cgroup_driver != CgroupDriver::Cgroupfs {
        return Ok(false);
    }
    let Some(limits) = Limits::of(resources, devices) else { return Ok(false) };
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").map_err(failed)?;
    let is_mounted = mounts.lines().any(|line| line.split(' ').nth(4) == Some(DEFAULT_CGROUP_ROOT));
    let all = Hierarchies::mounted(&mounts).filter(|all| is_mounted && all.control(&limits));
    let Some(hierarchies) = all else { return Ok(false) };
    hierarchies.enter(path).map_err(failed)?;
    hierarchies.limit(path, &limits).map_err(failed)?;
    Ok(true)
}

/// Whether `folder` is, or has in it, what [`hide`] hides.
pub(crate) fn hides(folder: &Path) -> bool {
    let root = Path::new(DEFAULT_CGROUP_ROOT);
    folder.starts_with(root) || root.starts_with(folder)
}

/// Has no cgroups be seen from here on, by this process and those that it makes: libcontainer then leaves them to who has made
/// one. The node goes on to see its own.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn hide() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    // What is unmounted here stays on the node.
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM)?;
    unmount(DEFAULT_CGROUP_ROOT, UnmountFlags::DETACH)?;
    Ok(empty::cover(Path::new(DEFAULT_CGROUP_ROOT))?)
}

/// Of a tenth of a second each; containerd gives five seconds to what takes a dead shim's containers away.
const REMOVE_TRIES: usize = 40;

/// The cgroup that was or will be made for a container, by the name in its OCI spec.
pub(crate) struct Named {
    manager: AnyCgroupManager,
    path: PathBuf,
}

impl Named {
    /// The cgroup of the container `id`.
    ///
    /// # Errors
    /// When no hierarchy is mounted.
    pub(crate) fn of(id: &str, record: &Record) -> Result<Self, CgroupError> {
        let config = CgroupConfig {
            cgroup_path: record.cgroup.clone(),
            systemd_cgroup: record.cgroup_driver == CgroupDriver::Systemd,
            container_name: id.to_owned(),
        };
        let path = record.cgroup.clone();
        match libcgroups::common::create_cgroup_manager(config) {
            Ok(manager) => Ok(Self { manager, path }),
            Err(error) => Err(CgroupError::Manager { path, message: error.to_string() }),
        }
    }

    /// Changes what the cgroup may use, while its processes run.
    pub(crate) fn update(&self, resources: &LinuxResources) -> Result<(), CgroupError> {
        let control = ControllerOpt { resources, disable_oom_killer: false, oom_score_adj: None, freezer_state: None };
        self.done(self.manager.apply(&control))
    }

    /// Stops every process where it is.
    pub(crate) fn freeze(&self) -> Result<(), CgroupError> {
        self.done(self.manager.freeze(FreezerState::Frozen))
    }

    /// Lets them go on.
    pub(crate) fn thaw(&self) -> Result<(), CgroupError> {
        self.done(self.manager.freeze(FreezerState::Thawed))
    }

    /// Kills whoever is left in the cgroup and removes it. Blocks for up to four seconds, while they die.
    pub(crate) fn remove(&self) -> Result<(), CgroupError> {
        // It gives up in a tenth of a second, which one with much memory, or on a busy node, takes to die.
        for _ in 1..REMOVE_TRIES {
            if self.manager.remove().is_ok() {
                return Ok(());
            }
        }
        self.done(self.manager.remove())
    }

    fn done<E: std::fmt::Display>(&self, result: Result<(), E>) -> Result<(), CgroupError> {
        result.map_err(|error| CgroupError::Manager { path: self.path.clone(), message: error.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID_MOUNTS: &str = "\
25 1 0:22 / /sys/fs/cgroup rw,relatime shared:5 - tmpfs tmpfs rw,mode=755
26 25 0:23 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:6 - cgroup cgroup rw,cpu,cpuacct
27 25 0:24 / /sys/fs/cgroup/memory rw,relatime shared:7 - cgroup cgroup rw,memory
28 25 0:25 / /sys/fs/cgroup/pids rw,relatime shared:8 - cgroup cgroup rw,pids
29 25 0:26 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate
";
    const UNIFIED_MOUNTS: &str = "\
25 1 0:22 / /sys/fs/cgroup rw,relatime shared:5 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
";

    #[test]
    fn a_hybrid_system_is_version_1() {
        let membership = "4:pids:/pods/a\n3:memory:/pods/a\n2:cpu,cpuacct:/pods/a\n1:name=systemd:/\n0::/\n";
        let folder = |name: &str| Some(PathBuf::from(format!("/sys/fs/cgroup/{name}/pods/a")));
        let expected = V1Place {
            cpu: folder("cpu,cpuacct"),
            cpuacct: folder("cpu,cpuacct"),
            memory: folder("memory"),
            pids: folder("pids"),
        };
        assert_eq!(Place::locate(membership, HYBRID_MOUNTS), Some(Place::V1(expected)));
    }

    #[test]
    fn what_is_hidden_is_known_from_above_and_from_below() {
        for folder in ["/", "/sys", "/sys/fs/cgroup", "/sys/fs/cgroup/memory/kubepods"] {
            assert!(hides(Path::new(folder)), "{folder}");
        }
        assert!(!hides(Path::new("/sys/fs/bpf")) && !hides(Path::new("/var/lib/kubelet/pods/a")));
    }

    #[test]
    fn a_unified_system_is_version_2() {
        let place = Place::locate("0::/pods/a\n", UNIFIED_MOUNTS);
        assert_eq!(place, Some(Place::V2("/sys/fs/cgroup/pods/a".into())));
    }

    #[test]
    fn a_hierarchy_mounted_from_below_its_root_is_followed() {
        let mounts = "27 25 0:24 /outer /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let Some(Place::V1(place)) = Place::locate("3:memory:/outer/pods/a\n", mounts) else { panic!("version 1") };
        assert_eq!(place.memory, Some("/sys/fs/cgroup/memory/pods/a".into()));
    }

    #[test]
    fn without_a_mounted_hierarchy_there_is_no_place() {
        assert_eq!(Place::locate("0::/a\n", "25 1 0:22 / /proc rw - proc proc rw\n"), None);
    }

    #[test]
    fn kills_for_want_of_memory_are_counted_in_both_versions() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("memory.events"), "low 0\noom 5\noom_kill 2\noom_group_kill 0\n").unwrap();
        std::fs::write(folder.path().join("memory.oom_control"), "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
            .unwrap();
        assert_eq!(Place::V2(folder.path().to_owned()).oom_kills(), 2);
        let v1 = V1Place { memory: Some(folder.path().to_owned()), ..V1Place::default() };
        assert_eq!(Place::V1(v1).oom_kills(), 3);
        assert_eq!(Place::V1(V1Place::default()).oom_kills(), 0);
    }
}
