//! How this process makes a cgroup of version 1 and moves into it by itself.
//!
//! libcgroups writes the process's number to `cgroup.procs`. For that the kernel waits until no processor can be in the midst
//! of a fork, which takes it milliseconds; a thread that moves itself, by `tasks`, keeps nobody from forking. And libcgroups
//! reads and parses all mounts for each controller anew. What a container may use is written as libcgroups would, where it is no
//! more than is known here.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

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
/// Hierarchies of two, by the names that libcgroups finds them by.
const PAIRS: [&str; 3] = ["cpu,cpuacct", "net_cls,net_prio", "net_prio,net_cls"];
/// Devices that every container has: null, zero, full, tty, random and urandom. And any may be made, as libcontainer makes those of
/// the spec, which is not to use it.
const DEVICES: [&str; 8] =
    ["c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 5:0 rwm", "c 1:8 rwm", "c 1:9 rwm", "c *:* m", "b *:* m"];

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

    /// Whether all that `limits` limit is controlled.
    pub(super) fn control(&self, limits: &Limits) -> bool {
        limits.0.iter().all(|limit| self.of(limit.controller).is_some())
    }

    /// Limits what the cgroup at `path` may use.
    pub(super) fn limit(&self, path: &Path, limits: &Limits) -> io::Result<()> {
        for Limit { controller, file, value } in &limits.0 {
            let Some(hierarchy) = self.of(controller) else { continue };
            let file = hierarchy.root.join(below(path)).join(file);
            let failed = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", file.display()));
            std::fs::write(&file, value).map_err(failed)?;
        }
        Ok(())
    }

    fn of(&self, controller: &str) -> Option<&Hierarchy> {
        self.0.iter().find(|hierarchy| hierarchy.controls(controller))
    }
}

/// What a new cgroup may use, as it is written to its files, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Limits(Vec<Limit>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Limit {
    controller: &'static str,
    file: &'static str,
    value: String,
}

/// Which devices a container may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Devices {
    /// None, by what it is: it has no right to make one, and no file system that would let it use one.
    Unreachable,
    /// Those that every container has, and those that its spec allows.
    Ruled,
}

impl Limits {
    /// What `resources` allow, if all of it is known here.
    pub(super) fn of(resources: Option<&LinuxResources>, devices: Devices) -> Option<Self> {
        let none = LinuxResources::default();
        let resources = resources.unwrap_or(&none);
        let mut rest = resources.clone();
        let mut limits = Self::default();
        if devices == Devices::Ruled {
            for rule in rest.devices().iter().flatten() {
                let file = if rule.allow() { "devices.allow" } else { "devices.deny" };
                limits.add("devices", file, Some(rule));
            }
            DEVICES.iter().for_each(|device| limits.add("devices", "devices.allow", Some(device)));
        }
        rest.set_devices(None);
        if let Some(cpu) = rest.cpu() {
            let mut others = cpu.clone();
            others.set_shares(None).set_period(None).set_quota(None).set_cpus(None).set_mems(None);
            limits.add("cpu", "cpu.shares", cpu.shares().filter(|shares| *shares != 0));
            limits.add("cpu", "cpu.cfs_period_us", cpu.period().filter(|period| *period != 0));
            limits.add("cpu", "cpu.cfs_quota_us", cpu.quota().filter(|quota| *quota != 0));
            limits.add("cpuset", "cpuset.cpus", cpu.cpus().as_ref().filter(|cpus| !cpus.is_empty()));
            limits.add("cpuset", "cpuset.mems", cpu.mems().as_ref().filter(|mems| !mems.is_empty()));
            if others != LinuxCpu::default() {
                return None;
            }
        }
        rest.set_cpu(None);
        if let Some(memory) = rest.memory() {
            let mut others = *memory;
            others.set_limit(None).set_swap(None);
            // It may use all of it when nothing is said: -1.
            limits.add("memory", "memory.limit_in_bytes", memory.limit().filter(|bytes| *bytes > 0));
            limits.add("memory", "memory.memsw.limit_in_bytes", memory.swap().filter(|bytes| *bytes > 0));
            if others != LinuxMemory::default() {
                return None;
            }
        }
        rest.set_memory(None);
        // This process and the one that it makes are there too, until the container is made.
        if rest.pids().as_ref().is_some_and(|pids| pids.limit() <= 0) {
            rest.set_pids(None);
        }
        (rest == none).then_some(limits)
    }

    fn add(&mut self, controller: &'static str, file: &'static str, value: Option<impl ToString>) {
        self.0.extend(value.map(|value| Limit { controller, file, value: value.to_string() }));
    }
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
    let name = mount_point.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let named = match &controllers[..] {
        [only] => name == only,
        [first, second] => PAIRS.contains(&name) && name.contains(&**first) && name.contains(&**second),
        _ => false,
    };
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
    use serde_json::{Value, json};

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
            "30 25 0:27 / /sys/fs/cgroup/cpu,cpuset rw shared:8 - cgroup cgroup rw,cpu,cpuset\n",
            "30 25 0:27 / /sys/fs/cgroup/cpuacct,cpu rw shared:8 - cgroup cgroup rw,cpu,cpuacct\n",
        ] {
            assert_eq!(Hierarchies::mounted(&format!("{pids}{other}")), None, "{other}");
        }
    }

    /// The files that are written for `resources`, with what is written to them.
    fn written(resources: Value, devices: Devices) -> Option<Vec<(&'static str, String)>> {
        let limits = Limits::of(Some(&serde_json::from_value(resources).unwrap()), devices)?;
        Some(limits.0.into_iter().map(|limit| (limit.file, limit.value)).collect())
    }

    #[test]
    fn what_a_container_may_use_is_written_to_its_files() {
        let resources = json!({
            "cpu": {"shares": 2, "quota": 5000, "period": 100_000, "cpus": "0-1", "mems": ""},
            "memory": {"limit": 1000, "swap": 2000},
            "pids": {"limit": -1},
        });
        let all = [
            ("cpu.shares", "2"),
            ("cpu.cfs_period_us", "100000"),
            ("cpu.cfs_quota_us", "5000"),
            ("cpuset.cpus", "0-1"),
            ("memory.limit_in_bytes", "1000"),
            ("memory.memsw.limit_in_bytes", "2000"),
        ];
        let all = all.map(|(file, value)| (file, value.to_owned())).to_vec();
        assert_eq!(written(resources, Devices::Unreachable), Some(all));
        let nothing = json!({"cpu": {"shares": 0, "quota": 0}, "memory": {"limit": -1, "swap": 0}});
        assert_eq!(written(nothing, Devices::Unreachable), Some(vec![]));
        assert_eq!(Limits::of(None, Devices::Unreachable), Some(Limits::default()));
    }

    #[test]
    fn rules_for_devices_come_in_their_order_and_before_those_that_every_container_has() {
        let rules = json!({"devices": [
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"},
        ]});
        assert_eq!(written(rules.clone(), Devices::Unreachable), Some(vec![]));
        let written = written(rules, Devices::Ruled).unwrap();
        let written: Vec<_> = written.iter().map(|(file, value)| (*file, value.as_str())).collect();
        assert_eq!(written[..2], [("devices.deny", "a *:* rwm"), ("devices.allow", "c 10:229 rw")]);
        assert_eq!(written[2..], DEVICES.map(|device| ("devices.allow", device)));
    }

    #[test]
    fn what_is_not_known_here_is_left_to_libcgroups() {
        for resources in [
            json!({"cpu": {"shares": 2, "idle": 1}}),
            json!({"cpu": {"burst": 1000}}),
            json!({"memory": {"limit": 1000, "swappiness": 0}}),
            json!({"memory": {"reservation": 1000}}),
            json!({"pids": {"limit": 10}}),
            json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}),
            json!({"unified": {"memory.high": "1"}}),
        ] {
            assert_eq!(written(resources.clone(), Devices::Ruled), None, "{resources}");
        }
    }

    #[test]
    fn a_limit_without_its_hierarchy_is_not_controlled() {
        let hierarchy = |name: &str| Hierarchy { controllers: vec![name.to_owned()], root: name.into() };
        let limits = Limits(vec![Limit { controller: "memory", file: "memory.limit_in_bytes", value: "1".to_owned() }]);
        assert!(Hierarchies(vec![hierarchy("memory")]).control(&limits));
        assert!(!Hierarchies(vec![hierarchy("cpu")]).control(&limits));
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
        let limits = Limits(vec![Limit { controller: "cpu", file: "cpu.shares", value: "2".to_owned() }]);
        hierarchies.limit(Path::new("/pods/a"), &limits).unwrap();
        let read = |name: &str| std::fs::read_to_string(root.join("pods/a").join(name)).unwrap();
        assert_eq!((read("cpuset.cpus"), read("cpuset.mems")), ("0-1\n".to_owned(), "0-1\n".to_owned()));
        assert_eq!((read("tasks"), read("cpu.shares")), ("0".to_owned(), "2".to_owned()));
    }
}
