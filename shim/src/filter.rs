//! The system-call filter of a process that joins a container: libcontainer gives one only to a container's first process.

use caps::{CapSet, CapsHashSet};
use libcontainer::capabilities::CapabilityExt;
use libcontainer::seccomp::{initialize_seccomp, is_notify};
use oci_spec::runtime::{Capabilities, Capability, LinuxSeccomp, Process, Spec};

/// The container's filter, for one process.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    seccomp: LinuxSeccomp,
    /// What the process may do once the filter is loaded, where it was lent more until then.
    lent: Option<Rights>,
}

/// As the container runtime asked for them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rights {
    effective: Capabilities,
    permitted: Capabilities,
}

impl Filter {
    /// The filter of the container of `spec`, if it has one. To load a filter, a process has to have given up new privileges
    /// or be privileged: `process` is lent `CAP_SYS_ADMIN` where it has neither. Its bounding set stays as it is, and it is
    /// not dumpable until it is its program, so that nobody in the container can take over what it was lent.
    ///
    /// # Errors
    /// For a filter that asks a listener: only libcontainer itself can reach that, for a first process.
    pub(crate) fn of(spec: &Spec, process: &mut Process) -> Result<Option<Self>, String> {
        let Some(seccomp) = spec.linux().as_ref().and_then(|linux| linux.seccomp().clone()) else { return Ok(None) };
        if is_notify(&seccomp) {
            return Err("the container's seccomp profile notifies a listener; exec does not support that".to_owned());
        }
        let lent = if process.no_new_privileges().unwrap_or(false) { None } else { lend(process) };
        Ok(Some(Self { seccomp, lent }))
    }

    /// Loads it into this process, which is about to become its program.
    ///
    /// # Errors
    /// When the kernel refuses it, or when the process could not give back what it was lent.
    pub(crate) fn load(&self) -> Result<(), String> {
        initialize_seccomp(&self.seccomp).map_err(|error| format!("the seccomp filter cannot be loaded: {error}"))?;
        let Some(rights) = &self.lent else { return Ok(()) };
        for (set, kept) in [(CapSet::Effective, &rights.effective), (CapSet::Permitted, &rights.permitted)] {
            let kept: CapsHashSet = kept.iter().map(CapabilityExt::to_cap).collect();
            caps::set(None, set, &kept)
                .map_err(|error| format!("CAP_SYS_ADMIN: {error}; does the seccomp profile allow capset?"))?;
        }
        Ok(())
    }
}

/// What `process` has without what it is lent; none when it lacks nothing, or nothing would be taken from it.
fn lend(process: &mut Process) -> Option<Rights> {
    let mut capabilities = process.capabilities().clone()?;
    let of = |set: &Option<Capabilities>| set.clone().unwrap_or_default();
    let rights = Rights { effective: of(capabilities.effective()), permitted: of(capabilities.permitted()) };
    if rights.effective.contains(&Capability::SysAdmin) {
        return None;
    }
    let with = |set: &Capabilities| Some(set.iter().copied().chain([Capability::SysAdmin]).collect());
    capabilities.set_effective(with(&rights.effective)).set_permitted(with(&rights.permitted));
    process.set_capabilities(Some(capabilities));
    Some(rights)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const FILTERED: &str = r#"{"ociVersion": "1.1.0", "linux": {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO"}}}"#;

    fn process(no_new_privileges: bool, capabilities: &Value) -> Process {
        serde_json::from_value(json!({
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "cwd": "/",
            "noNewPrivileges": no_new_privileges,
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
        }))
        .unwrap()
    }

    fn effective(process: &Process) -> Vec<String> {
        let set = process.capabilities().as_ref().unwrap().effective().clone().unwrap();
        let mut names: Vec<String> = set.iter().map(ToString::to_string).collect();
        names.sort();
        names
    }

    #[test]
    fn a_process_is_lent_what_loading_takes_only_where_it_lacks_it() {
        let cases = [
            (false, json!(["CAP_KILL"]), vec!["KILL", "SYS_ADMIN"], true),
            (true, json!(["CAP_KILL"]), vec!["KILL"], false),
            (false, json!(["CAP_SYS_ADMIN"]), vec!["SYS_ADMIN"], false),
        ];
        let spec = serde_json::from_str(FILTERED).unwrap();
        for (no_new_privileges, has, gets, lent) in cases {
            let mut process = process(no_new_privileges, &has);
            let filter = Filter::of(&spec, &mut process).unwrap().unwrap();
            assert_eq!(effective(&process), gets, "{has}");
            assert_eq!(filter.lent.is_some(), lent, "{has}");
            let bounding = process.capabilities().as_ref().unwrap().bounding().clone().unwrap();
            assert_eq!(bounding.len(), 1, "{has}");
        }
    }

    #[test]
    fn without_a_filter_nothing_is_lent() {
        let mut process = process(false, &json!(["CAP_KILL"]));
        let spec = serde_json::from_str(r#"{"ociVersion": "1.1.0", "linux": {}}"#).unwrap();
        assert!(Filter::of(&spec, &mut process).unwrap().is_none());
        assert_eq!(effective(&process), ["KILL"]);
    }

    #[test]
    fn a_filter_that_asks_a_listener_is_refused() {
        let spec = json!({"ociVersion": "1.1.0", "linux": {"seccomp": {
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": "/run/listener",
            "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
        }}});
        let refused = Filter::of(&serde_json::from_value(spec).unwrap(), &mut process(false, &json!([])));
        assert!(refused.unwrap_err().contains("listener"));
    }
}
