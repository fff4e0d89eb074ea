//! What is left out of a container before libcontainer builds it. Pure.
//!
//! A component sees the folders of volumes and of its image, and nothing else: the file systems of the kernel that every
//! container gets would be mounted for nobody, and are half of the time that making it takes. What its host needs of `/proc`
//! is its own process; where nothing else is mounted, nothing else has to be masked.

use std::path::{Component, Path};

use oci_spec::runtime::{
    LinuxNamespaceType, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompOperator, Mount, Spec,
};

use crate::order::Kind;
use crate::preopens::has_option;
use crate::procfs::{self, Procfs};

/// Mounted by the runtime service into each container, for programs that a component is not. `/proc` and `/dev` are not
/// among them: the host itself needs them.
const FOR_PROGRAMS: [&str; 4] = ["/dev/pts", "/dev/mqueue", "/sys", "/sys/fs/cgroup"];
const SYS: &str = "/sys";
const CGROUP: &str = "cgroup";

/// `spec` without what a container of this kind does not need, or cannot have. Of `/proc`, a component's is `procfs`.
pub(crate) fn lean(mut spec: Spec, kind: Kind, procfs: Procfs) -> Spec {
    match kind {
        Kind::Wasm => leave_out_for_programs(&mut spec, procfs),
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

fn leave_out_for_programs(spec: &mut Spec, procfs: Procfs) {
    // What is bound to such a place is a volume of the user's.
    retain_mounts(spec, |path, kind| kind == Some("bind") || !FOR_PROGRAMS.iter().any(|left| path == Path::new(left)));
    let procfs = narrow_proc(spec, procfs);
    let Some(mut linux) = spec.linux().clone() else { return };
    let there = |paths: &Option<Vec<String>>| {
        paths.clone().map(|mut paths| {
            paths.retain(|path| !Path::new(path).starts_with(SYS) && procfs.shows(Path::new(path)));
            paths
        })
    };
    let (masked, read_only) = (there(linux.masked_paths()), there(linux.readonly_paths()));
    linux.set_masked_paths(masked).set_readonly_paths(read_only);
    spec.set_linux(Some(linux));
}

/// Has `/proc` mounted as `wanted`; gives what is there in the end, since something else may be bound to it, or into it.
fn narrow_proc(spec: &mut Spec, wanted: Procfs) -> Procfs {
    let Some(mut mounts) = spec.mounts().clone() else { return Procfs::Whole };
    let may_be_in_it = |mount: &&mut Mount| {
        let path = mount.destination();
        path.starts_with(procfs::ROOT) || path.components().any(|part| part == Component::ParentDir)
    };
    let mut there = mounts.iter_mut().filter(may_be_in_it);
    let (Some(mount), None) = (there.next(), there.next()) else { return Procfs::Whole };
    let is_bound = has_option(mount, &["bind", "rbind"]);
    if mount.destination() != Path::new(procfs::ROOT) || mount.typ().as_deref() != Some("proc") || is_bound {
        return Procfs::Whole;
    }
    let mut options = mount.options().clone().unwrap_or_default();
    options.extend(wanted.option());
    mount.set_options(Some(options));
    spec.set_mounts(Some(mounts));
    wanted
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
                {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid"]},
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

    /// The paths that are masked and those that are only read.
    fn restricted(spec: &Spec) -> (Vec<&str>, Vec<&str>) {
        let linux = spec.linux().as_ref().unwrap();
        let masked = linux.masked_paths().iter().flatten().map(String::as_str).collect();
        (masked, linux.readonly_paths().iter().flatten().map(String::as_str).collect())
    }

    fn options_of_proc(spec: &Spec) -> Vec<&str> {
        let mount = &spec.mounts().as_ref().unwrap()[0];
        mount.options().iter().flatten().map(String::as_str).collect()
    }

    #[test]
    fn a_component_has_no_file_systems_of_the_kernel_but_what_its_host_needs() {
        let spec = lean(spec(&json!({"type": "pid"})), Kind::Wasm, Procfs::Whole);
        assert_eq!(mounts(&spec), ["/proc", "/dev", "/dev/shm", "/system"]);
        assert_eq!(restricted(&spec), (vec!["/proc/kcore"], vec!["/proc/bus"]));
        assert_eq!(options_of_proc(&spec), ["nosuid"]);
    }

    #[test]
    fn where_only_processes_are_shown_nothing_else_is_masked() {
        let spec = lean(spec(&json!({"type": "pid"})), Kind::Wasm, Procfs::Processes);
        assert_eq!(restricted(&spec), (vec![], vec![]));
        assert_eq!(options_of_proc(&spec), ["nosuid", "subset=pid"]);
    }

    #[test]
    fn a_proc_that_is_bound_or_has_something_in_it_stays_masked() {
        let changes: [fn(&mut Value); 5] = [
            |mounts| mounts[0]["type"] = json!("bind"),
            |mounts| mounts[0]["options"] = json!(["nosuid", "rbind"]),
            |mounts| mounts[6]["destination"] = json!("/proc/cpuinfo"),
            |mounts| mounts[6]["destination"] = json!("/dev/../proc"),
            |mounts| mounts[0]["destination"] = json!("/elsewhere"),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut changed = serde_json::to_value(spec(&json!({"type": "pid"}))).unwrap();
            change(&mut changed["mounts"]);
            let spec = lean(serde_json::from_value(changed).unwrap(), Kind::Wasm, Procfs::Processes);
            assert_eq!(restricted(&spec), (vec!["/proc/kcore"], vec!["/proc/bus"]), "change {number}");
            assert!(!options_of_proc(&spec).contains(&"subset=pid"), "change {number}");
        }
    }

    #[test]
    fn a_linux_container_is_as_it_was_asked_for_unless_it_shares_its_processes() {
        let own = spec(&json!({"type": "pid"}));
        assert_eq!(lean(own.clone(), Kind::Linux, Procfs::Processes), own);
        let shared = lean(spec(&json!({"type": "pid", "path": "/proc/9/ns/pid"})), Kind::Linux, Procfs::Processes);
        assert_eq!(mounts(&shared), ["/proc", "/dev", "/dev/shm", "/dev/mqueue", "/sys", "/system"]);
    }
}
