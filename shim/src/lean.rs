//! What is left out of a container before libcontainer builds it. Pure.
//!
//! A component sees the folders of volumes and of its image, and nothing else: the file systems of the kernel that every
//! container gets would be mounted for nobody, and are half of the time that making it takes.

use std::path::Path;

use oci_spec::runtime::{LinuxNamespaceType, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompOperator, Spec};

use crate::order::Kind;

/// Mounted by the runtime service into each container, for programs that a component is not. `/proc` and `/dev` are not
/// among them: the host itself needs them.
const FOR_PROGRAMS: [&str; 4] = ["/dev/pts", "/dev/mqueue", "/sys", "/sys/fs/cgroup"];
const SYS: &str = "/sys";
const CGROUP: &str = "cgroup";

/// `spec` without what a container of this kind does not need, or cannot have.
pub(crate) fn lean(mut spec: Spec, kind: Kind) -> Spec {
    match kind {
        Kind::Wasm => leave_out_for_programs(&mut spec),
        // libcontainer looks up the cgroup by the number that the process has in its own namespace, but in the node's
        // `/proc`: in a namespace that it shares, it finds nobody, or somebody else. For removal when it does not any more.
        Kind::Linux if joins_processes(&spec) => retain_mounts(&mut spec, |_, kind| kind != Some(CGROUP)),
        Kind::Linux | Kind::Sandbox => {}
    }
    masks_in_libcontainers_order(&mut spec);
    spec
}

/// OCI has the mask of a comparison first and then what is to be left of the argument; libcontainer takes them the other way
/// around. `RuntimeDefault` compares so whether `clone` is to make namespaces: with a mask of zero, it always may.
fn masks_in_libcontainers_order(spec: &mut Spec) {
    let Some(mut linux) = spec.linux().clone() else { return };
    let Some(mut profile) = linux.seccomp().clone() else { return };
    let mut rules = profile.syscalls().clone();
    for rule in rules.iter_mut().flatten() {
        rule.set_args(rule.args().as_ref().map(|arguments| arguments.iter().map(in_libcontainers_order).collect()));
    }
    profile.set_syscalls(rules);
    linux.set_seccomp(Some(profile));
    spec.set_linux(Some(linux));
}

fn in_libcontainers_order(argument: &LinuxSeccompArg) -> LinuxSeccompArg {
    if argument.op() != LinuxSeccompOperator::ScmpCmpMaskedEq {
        return *argument;
    }
    let swapped = LinuxSeccompArgBuilder::default()
        .index(argument.index())
        .value(argument.value_two().unwrap_or(0))
        .value_two(argument.value())
        .op(argument.op())
        .build();
    swapped.expect("all fields are given")
}

fn leave_out_for_programs(spec: &mut Spec) {
    // What is bound to such a place is a volume of the user's.
    retain_mounts(spec, |path, kind| kind == Some("bind") || !FOR_PROGRAMS.iter().any(|left| path == Path::new(left)));
    let Some(mut linux) = spec.linux().clone() else { return };
    let outside = |paths: &Option<Vec<String>>| {
        paths.clone().map(|mut paths| {
            paths.retain(|path| !Path::new(path).starts_with(SYS));
            paths
        })
    };
    let (masked, read_only) = (outside(linux.masked_paths()), outside(linux.readonly_paths()));
    linux.set_masked_paths(masked).set_readonly_paths(read_only);
    spec.set_linux(Some(linux));
}

fn retain_mounts(spec: &mut Spec, wanted: impl Fn(&Path, Option<&str>) -> bool) {
    let Some(mut mounts) = spec.mounts().clone() else { return };
    mounts.retain(|mount| wanted(mount.destination(), mount.typ().as_deref()));
    spec.set_mounts(Some(mounts));
}

fn joins_processes(spec: &Spec) -> bool {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    let mut namespaces = namespaces.into_iter().flatten();
    namespaces.any(|namespace| namespace.typ() == LinuxNamespaceType::Pid && namespace.path().is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(namespace: &Value) -> Spec {
        serde_json::from_value(json!({
            "ociVersion": "1.1.0",
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
                {"destination": "/dev/shm", "type": "bind", "source": "/run/shm"},
                {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue"},
                {"destination": "/sys", "type": "sysfs", "source": "sysfs"},
                {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"},
                {"destination": "/system", "type": "bind", "source": "/data"},
            ],
            "linux": {
                "namespaces": [namespace],
                "maskedPaths": ["/proc/kcore", "/sys/firmware"],
                "readonlyPaths": ["/proc/bus", "/sys/x"],
            },
        }))
        .unwrap()
    }

    fn mounts(spec: &Spec) -> Vec<&str> {
        spec.mounts().iter().flatten().map(|mount| mount.destination().to_str().unwrap()).collect()
    }

    #[test]
    fn a_component_has_no_file_systems_of_the_kernel_but_what_its_host_needs() {
        let spec = lean(spec(&json!({"type": "pid"})), Kind::Wasm);
        assert_eq!(mounts(&spec), ["/proc", "/dev", "/dev/shm", "/system"]);
        let linux = spec.linux().as_ref().unwrap();
        assert_eq!(linux.masked_paths().as_deref(), Some(&["/proc/kcore".to_owned()][..]));
        assert_eq!(linux.readonly_paths().as_deref(), Some(&["/proc/bus".to_owned()][..]));
    }

    #[test]
    fn a_linux_container_is_as_it_was_asked_for_unless_it_shares_its_processes() {
        let own = spec(&json!({"type": "pid"}));
        assert_eq!(lean(own.clone(), Kind::Linux), own);
        let shared = lean(spec(&json!({"type": "pid", "path": "/proc/9/ns/pid"})), Kind::Linux);
        assert_eq!(mounts(&shared), ["/proc", "/dev", "/dev/shm", "/dev/mqueue", "/sys", "/system"]);
    }
}
