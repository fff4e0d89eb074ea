//! How this process makes a cgroup of version 1 and moves into it by itself.
//!
//! libcgroups writes the process's number to `cgroup.procs`. For that the kernel waits until no processor can be in the midst
//! of a fork, which takes it milliseconds; a thread that moves itself, by `tasks`, keeps nobody from forking. And libcgroups
//! reads and parses all mounts for each controller anew. A pod's own container is the only one made here, so that it
//! is a quarter of the time that this takes.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxResources;

/// Those that libcgroups knows: it is the one to remove what is made here.
const CONTROLLERS: [&str; 12] = [
    "cpu",
    "cpuacct",
    "cpuset",
    "devices",
    "hugetlb",
    "memory",
    "net_cls",
    "net_prio",
    "perf_event",
    "pids",
    "blkio",
    "freezer",
];
/// What a cgroup has to be given before it takes a process.
const CPUSET: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

/// The hierarchies of version 1 by what they control, each with the folder where it is mounted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hierarchies(Vec<Hierarchy>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Hierarchy {
    controllers: Vec<String>,
    /// Where it is mounted.
    root: PathBuf,
}

impl Hierarchy {
    fn controls(&self, name: &str) -> bool {
        self.controllers.iter().any(|controller| controller == name)
    }
}

impl Hierarchies {
    /// From `/proc/self/mountinfo`. None where there are none, or where libcgroups, which removes what is made in them, might look
    /// for one elsewhere: mounted more than once, from below its root, or by another name than its controllers'.
    pub(super) fn mounted(mounts: &str) -> Option<Self> {
        let hierarchies: Vec<_> = mounts.lines().filter_map(hierarchy).collect();
        let mut seen = HashSet::new();
        let each_once =
            hierarchies.iter().flatten().flat_map(|hierarchy| &hierarchy.controllers).all(|name| seen.insert(name));
        let plain: Option<Vec<_>> = hierarchies.iter().cloned().collect();
        plain.filter(|plain| each_once && !plain.is_empty()).map(Self)
    }

    /// Makes the cgroup at `path` below the root of each, and moves this thread into it.
    pub(super) fn enter(&self, path: &Path) -> io::Result<()> {
        for hierarchy in &self.0 {
            let mut folder = hierarchy.root.clone();
            for name in below(path) {
                let parent = folder.clone();
                folder.push(name);
                make(&folder)?;
                if hierarchy.controls("cpuset") {
                    inherit(&parent, &folder)?;
                }
            }
            std::fs::write(folder.join("tasks"), "0")?;
        }
        Ok(())
    }

    /// The share of the processors that the cgroup at `path` gets, in the kernel's own unit.
    pub(super) fn set_shares(&self, path: &Path, shares: u64) -> io::Result<()> {
        let Some(cpu) = self.0.iter().find(|hierarchy| hierarchy.controls("cpu")) else { return Ok(()) };
        std::fs::write(cpu.root.join(below(path)).join("cpu.shares"), shares.to_string())
    }
}

/// What `resources` has beside rules for devices, if that is no more than a share of the processors. A pod's own container needs
/// no such rules: it has no right to make a device, and no file system that would let it use one.
pub(super) fn only_shares(resources: Option<&LinuxResources>) -> Option<Option<u64>> {
    let Some(resources) = resources else { return Some(None) };
    let shares = resources.cpu().as_ref().and_then(|cpu| cpu.shares()).filter(|shares| *shares != 0);
    let mut rest = resources.clone();
    rest.set_devices(None);
    if let Some(cpu) = rest.cpu_mut() {
        cpu.set_shares(None);
        if *cpu == oci_spec::runtime::LinuxCpu::default() {
            rest.set_cpu(None);
        }
    }
    (rest == LinuxResources::default()).then_some(shares)
}

fn below(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

/// What `line` mounts, if that is a hierarchy: within, `None` where it is not as libcgroups expects it.
#[allow(clippy::option_option, reason = "no hierarchy at all is another thing than one that is not as expected")]
fn hierarchy(line: &str) -> Option<Option<Hierarchy>> {
    let (left, right) = line.split_once(" - ")?;
    let (mut left, mut right) = (left.split(' ').skip(3), right.split(' '));
    let (root, mount_point) = (left.next()?, Path::new(left.next()?));
    let (kind, options) = (right.next()?, right.nth(1)?);
    let controllers: Vec<_> =
        options.split(',').filter(|option| CONTROLLERS.contains(option)).map(str::to_owned).collect();
    if kind != "cgroup" || controllers.is_empty() {
        return None;
    }
    let named = mount_point.file_name().is_some_and(|name| {
        let names: Vec<_> = name.to_str().unwrap_or_default().split(',').collect();
        names.len() == controllers.len() && controllers.iter().all(|controller| names.contains(&&**controller))
    });
    Some((root == "/" && named).then(|| Hierarchy { controllers, root: mount_point.to_owned() }))
}

fn make(folder: &Path) -> io::Result<()> {
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn inherit(parent: &Path, folder: &Path) -> io::Result<()> {
    for name in CPUSET {
        if std::fs::read_to_string(folder.join(name))?.trim().is_empty() {
            std::fs::write(folder.join(name), std::fs::read(parent.join(name))?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hierarchies_are_those_with_a_controller_that_libcgroups_removes() {
        let mounts = "\
26 25 0:23 / /sys/fs/cgroup/cpu,cpuacct rw shared:6 - cgroup cgroup rw,cpu,cpuacct
27 25 0:24 / /sys/fs/cgroup/systemd rw shared:7 - cgroup cgroup rw,name=systemd
28 25 0:25 / /sys/fs/cgroup/pids rw shared:8 - cgroup cgroup rw,pids
29 25 0:26 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw,nsdelegate
";
        let of = |names: &[&str], folder: &str| Hierarchy {
            controllers: names.iter().map(|&name| name.to_owned()).collect(),
            root: folder.into(),
        };
        let expected =
            vec![of(&["cpu", "cpuacct"], "/sys/fs/cgroup/cpu,cpuacct"), of(&["pids"], "/sys/fs/cgroup/pids")];
        assert_eq!(Hierarchies::mounted(mounts), Some(Hierarchies(expected)));
        assert_eq!(Hierarchies::mounted("29 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"), None);
    }

    #[test]
    fn a_hierarchy_that_libcgroups_might_not_find_is_left_to_it() {
        let pids = "28 25 0:25 / /sys/fs/cgroup/pids rw shared:8 - cgroup cgroup rw,pids\n";
        for other in [
            "30 25 0:25 / /mnt/pids rw shared:8 - cgroup cgroup rw,pids\n",
            "30 25 0:27 /outer /sys/fs/cgroup/cpu rw shared:8 - cgroup cgroup rw,cpu\n",
            "30 25 0:27 / /sys/fs/cgroup/all rw shared:8 - cgroup cgroup rw,cpu,cpuset\n",
        ] {
            assert_eq!(Hierarchies::mounted(&format!("{pids}{other}")), None, "{other}");
        }
    }

    #[test]
    fn more_than_a_share_of_the_processors_is_known() {
        let only = |resources: serde_json::Value| only_shares(Some(&serde_json::from_value(resources).unwrap()));
        assert_eq!(only_shares(None), Some(None));
        assert_eq!(only(json!({})), Some(None));
        assert_eq!(only(json!({"cpu": {"shares": 2}, "devices": [{"allow": false, "access": "rwm"}]})), Some(Some(2)));
        assert_eq!(only(json!({"cpu": {"shares": 2, "quota": 1000}})), None);
        assert_eq!(only(json!({"cpu": {"shares": 0}})), Some(None));
        assert_eq!(only(json!({"memory": {"limit": 1000}})), None);
        assert_eq!(only(json!({"unified": {"memory.high": "1"}})), None);
    }

    #[test]
    fn a_cgroup_is_made_down_to_its_folder_with_the_processors_of_its_parent() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        std::fs::create_dir_all(root.join("pods/a")).unwrap();
        for (folder, cpus) in [("", "0-3\n"), ("pods", "0-1\n"), ("pods/a", "\n")] {
            for name in CPUSET {
                std::fs::write(root.join(folder).join(name), cpus).unwrap();
            }
        }
        let controllers = vec!["cpuset".to_owned(), "cpu".to_owned()];
        let hierarchies = Hierarchies(vec![Hierarchy { controllers, root: root.to_owned() }]);
        hierarchies.enter(Path::new("/pods/a")).unwrap();
        hierarchies.set_shares(Path::new("/pods/a"), 2).unwrap();
        let read = |name: &str| std::fs::read_to_string(root.join("pods/a").join(name)).unwrap();
        assert_eq!((read("cpuset.cpus"), read("cpuset.mems")), ("0-1\n".to_owned(), "0-1\n".to_owned()));
        assert_eq!((read("tasks"), read("cpu.shares")), ("0".to_owned(), "2".to_owned()));
    }
}
