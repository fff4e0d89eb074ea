//! Makes a pod's own container, which holds the pod's namespaces and runs nothing of anybody's.
//!
//! To containerd it is a container like any other, with an image. But what it does is known, and needs neither files nor
//! rights: so it gets none, and that is made in a twentieth of the time that libcontainer takes for a whole container.
//! Where a pod asks for more than is known here, libcontainer makes it from its image.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, setns, unshare};
use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType, LinuxResources, Spec};

use crate::cgroup::{self, CgroupError};
use crate::create::ROOTFS;
use crate::order;
use crate::start::READY;
use crate::state_dir::Record;
use crate::workload::{CONTAINER_TYPE, SANDBOX};

/// What Kubernetes' image of this container runs, and how the process is called that takes its place.
const PROGRAM: &str = "/pause";
/// Parameters of the kernel that are a namespace's own, by how they begin.
const NETWORK_PARAMETERS: &[&str] = &["net."];
const IPC_PARAMETERS: &[&str] = &["kernel.msg", "kernel.sem", "kernel.shm", "fs.mqueue."];

/// Why a pod's own container was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SandboxError {
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("the process that holds the pod's namespaces does not start: {0}")]
    Words(String),
}

/// What the container is to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sandbox {
    namespaces: Vec<Namespace>,
    hostname: Option<String>,
    /// Files below `/proc/sys`, and what is written to them.
    parameters: Vec<(PathBuf, String)>,
    oom_score_adj: Option<i32>,
    user: u32,
    group: u32,
    resources: Option<LinuxResources>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Namespace {
    kind: CloneFlags,
    /// That of somebody else; otherwise a new one.
    path: Option<PathBuf>,
}

impl Sandbox {
    /// What `spec` asks for, if it is a pod's own container and asks for nothing else.
    pub(crate) fn of(spec: &Spec) -> Option<Self> {
        let kind = spec.annotations().as_ref()?.get(CONTAINER_TYPE)?;
        let (process, linux) = (spec.process().as_ref()?, spec.linux().as_ref()?);
        let plain = kind == SANDBOX
            && process.args().as_deref() == Some(&[PROGRAM.to_owned()])
            && !process.terminal().unwrap_or(false)
            && process.selinux_label().is_none()
            && process.apparmor_profile().is_none()
            && linux.mount_label().is_none()
            && spec.hooks().is_none();
        if !plain {
            return None;
        }
        let namespaces = linux.namespaces().iter().flatten().map(Namespace::of).collect::<Option<Vec<_>>>()?;
        // Its root is made anew in the one, and the other is what it is to be the first process of.
        let own = |kind| namespaces.iter().any(|namespace| namespace.kind == kind && namespace.path.is_none());
        if !own(CloneFlags::CLONE_NEWNS) || !own(CloneFlags::CLONE_NEWPID) {
            return None;
        }
        let parameters = linux.sysctl().iter().flatten();
        let parameters = parameters.map(|(name, value)| Some((parameter(name, &namespaces)?, value.clone())));
        Some(Self {
            parameters: parameters.collect::<Option<_>>()?,
            namespaces,
            hostname: spec.hostname().clone().filter(|name| !name.is_empty()),
            oom_score_adj: process.oom_score_adj(),
            user: process.user().uid(),
            group: process.user().gid(),
            resources: linux.resources().clone(),
        })
    }

    /// Makes it: its cgroup, its namespaces, its process. This process is in them too afterwards, and of no other use.
    ///
    /// # Errors
    /// With what could not be made. What was made by then is undone when the container is deleted.
    pub(crate) fn make(&self, order: &order::Create, record: &Record) -> Result<i32, SandboxError> {
        let failed = |what: &str, source| SandboxError::Io { what: what.to_owned(), source };
        cgroup::enter(&order.id, record, self.resources.as_ref())?;
        if let Some(adjustment) = self.oom_score_adj {
            let written = std::fs::write("/proc/self/oom_score_adj", adjustment.to_string());
            written.map_err(|source| failed("oom_score_adj", source))?;
        }
        self.enter_namespaces()?;
        if let Some(name) = &self.hostname {
            rustix::system::sethostname(name.as_bytes()).map_err(|error| failed("hostname", error.into()))?;
        }
        for (file, value) in &self.parameters {
            std::fs::write(file, value).map_err(|source| failed(&file.display().to_string(), source))?;
        }
        let root = order.bundle.join(ROOTFS);
        std::fs::create_dir_all(&root).map_err(|source| failed("root file system", source))?;
        self.begin(&root)
    }

    fn enter_namespaces(&self) -> Result<(), SandboxError> {
        let mut new = CloneFlags::empty();
        for Namespace { kind, path } in &self.namespaces {
            let Some(path) = path else {
                new.insert(*kind);
                continue;
            };
            let failed = |source| SandboxError::Io { what: format!("namespace {}", path.display()), source };
            let file = File::open(path).map_err(failed)?;
            setns(file, *kind).map_err(|error| failed(error.into()))?;
        }
        unshare(new).map_err(|error| SandboxError::Io { what: "new namespaces".to_owned(), source: error.into() })
    }

    fn begin(&self, root: &Path) -> Result<i32, SandboxError> {
        let failed = |source| SandboxError::Io { what: "the shim's own program".to_owned(), source };
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.arg0(PROGRAM).args([order::PAUSE, &self.user.to_string(), &self.group.to_string()]).arg(root);
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(failed)?;
        let mut words = String::new();
        if let Some(stdout) = &mut child.stdout {
            stdout.read_to_string(&mut words).map_err(failed)?;
        }
        if words == READY { Ok(child.id().cast_signed()) } else { Err(SandboxError::Words(words)) }
    }
}

impl Namespace {
    /// None, where it is of a kind that is not known here.
    fn of(namespace: &LinuxNamespace) -> Option<Self> {
        let kind = match namespace.typ() {
            LinuxNamespaceType::Mount => CloneFlags::CLONE_NEWNS,
            LinuxNamespaceType::Cgroup => CloneFlags::CLONE_NEWCGROUP,
            LinuxNamespaceType::Uts => CloneFlags::CLONE_NEWUTS,
            LinuxNamespaceType::Ipc => CloneFlags::CLONE_NEWIPC,
            LinuxNamespaceType::Pid => CloneFlags::CLONE_NEWPID,
            LinuxNamespaceType::Network => CloneFlags::CLONE_NEWNET,
            LinuxNamespaceType::User | LinuxNamespaceType::Time => return None,
        };
        Some(Self { kind, path: namespace.path().clone() })
    }
}

/// The file of the parameter `name`, if it is one of a namespace that is not the node's.
fn parameter(name: &str, namespaces: &[Namespace]) -> Option<PathBuf> {
    let of = |kind| namespaces.iter().any(|namespace| namespace.kind == kind);
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    let own = (begins(NETWORK_PARAMETERS) && of(CloneFlags::CLONE_NEWNET))
        || (begins(IPC_PARAMETERS) && of(CloneFlags::CLONE_NEWIPC));
    // No dot is left in it, so it leads nowhere else.
    own.then(|| Path::new("/proc/sys").join(name.replace('.', "/")))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod() -> Value {
        json!({
            "ociVersion": "1.1.0",
            "hostname": "web-0",
            "process": {"args": ["/pause"], "cwd": "/", "user": {"uid": 65535, "gid": 65535}, "oomScoreAdj": -998},
            "annotations": {"io.kubernetes.cri.container-type": "sandbox"},
            "linux": {
                "namespaces": [
                    {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
                    {"type": "network", "path": "/var/run/netns/x"},
                ],
                "sysctl": {"net.ipv4.ip_unprivileged_port_start": "0", "kernel.shm_rmid_forced": "1"},
            },
        })
    }

    fn sandbox(change: impl FnOnce(&mut Value)) -> Option<Sandbox> {
        let mut spec = pod();
        change(&mut spec);
        Sandbox::of(&serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn a_pods_own_container_is_known_by_what_it_asks_for() {
        let sandbox = sandbox(|_| {}).unwrap();
        assert_eq!((sandbox.user, sandbox.group, sandbox.oom_score_adj), (65535, 65535, Some(-998)));
        assert_eq!(sandbox.hostname.as_deref(), Some("web-0"));
        let joined: Vec<_> = sandbox.namespaces.iter().filter_map(|namespace| namespace.path.as_deref()).collect();
        assert_eq!(joined, [Path::new("/var/run/netns/x")]);
        let mut files: Vec<_> = sandbox.parameters.iter().map(|(file, _)| file.to_str().unwrap()).collect();
        files.sort_unstable();
        assert_eq!(files, ["/proc/sys/kernel/shm_rmid_forced", "/proc/sys/net/ipv4/ip_unprivileged_port_start"]);
    }

    #[test]
    fn what_is_not_known_here_is_left_to_libcontainer() {
        let changes: [fn(&mut Value); 9] = [
            |spec| spec["annotations"]["io.kubernetes.cri.container-type"] = json!("container"),
            |spec| spec["annotations"] = json!({}),
            |spec| spec["process"]["args"] = json!(["/usr/bin/pod"]),
            |spec| spec["process"]["selinuxLabel"] = json!("system_u:system_r:container_t:s0"),
            |spec| spec["process"]["apparmorProfile"] = json!("cri-containerd.apparmor.d"),
            |spec| spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"})),
            |spec| spec["linux"]["namespaces"] = json!([{"type": "mount"}]),
            |spec| spec["hooks"] = json!({"poststart": [{"path": "/bin/true"}]}),
            |spec| spec["linux"]["sysctl"] = json!({"vm.swappiness": "0"}),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            assert_eq!(sandbox(change), None, "change {number}");
        }
    }

    #[test]
    fn parameters_of_the_node_are_never_written() {
        let network = [Namespace { kind: CloneFlags::CLONE_NEWNET, path: None }];
        assert!(parameter("net.core.somaxconn", &network).is_some());
        assert_eq!(parameter("net.core.somaxconn", &[]), None);
        assert_eq!(parameter("kernel.shmmax", &network), None);
        assert_eq!(
            parameter("net.../../kernel/core_pattern", &network),
            Some("/proc/sys/net//////////kernel/core_pattern".into())
        );
    }
}
