//! Filters of system calls, compiled once on a node for all components' containers with the same profile.
//!
//! A function's pod has the profile `RuntimeDefault`, as all have that keep the restricted standard. To compile it
//! takes more processor time than all else that libcontainer does for such a container, and yields the same each
//! time.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use libcontainer::seccomp::is_notify;
use libseccomp::error::SeccompError;
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall, ScmpVersion};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall, Spec,
};
use ring::digest::{SHA256, digest};
use rustix::fs::{MemfdFlags, memfd_create};
use seccompiler::{BpfProgram, sock_filter};

use crate::artifact::hex;

/// Filters that a node keeps. A filter is some kilobytes; profiles are few, unless somebody makes one for each pod.
const KEPT_MAX: usize = 64;
/// Of one instruction, as the kernel has it: a code of two bytes, two jumps of one, a value of four.
const INSTRUCTION_BYTES: usize = 8;
/// What the kernel takes.
const INSTRUCTIONS_MAX: usize = 4096;
const EPERM: u32 = 1;
/// Of [`compile`]: to be raised when it makes something else of a profile, or what an earlier one made stays in use.
const COMPILER: u32 = 1;

/// A filter that a process can load which has given up new privileges.
#[derive(Clone, Debug)]
pub(crate) struct Compiled(BpfProgram);

/// Why there is no filter. The container is not made then: none goes without the one that it was to have.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompileError {
    #[error("the seccomp profile cannot be compiled: {0}")]
    Library(#[from] SeccompError),
    #[error("the seccomp profile cannot be compiled: {0}")]
    Memory(#[from] io::Error),
    #[error("the compiled seccomp profile has {0} bytes, which is no program of the kernel's")]
    Size(usize),
}

impl Compiled {
    /// Takes the profile of `spec` out of it, compiled or found in `folder`. None, and `spec` as it was, where it has no
    /// profile or one that asks for what only libcontainer does: a listener, a tracer, flags, or no end of new privileges.
    ///
    /// # Errors
    /// For a profile that cannot be compiled.
    pub(crate) fn take(spec: &mut Spec, folder: &Path) -> Result<Option<Self>, CompileError> {
        let gives_up = spec.process().as_ref().and_then(|process| process.no_new_privileges()).unwrap_or(false);
        let Some(linux) = spec.linux_mut().as_mut().filter(|_| gives_up) else { return Ok(None) };
        let Some(profile) = linux.seccomp().clone().filter(is_plain) else { return Ok(None) };
        let filter = Self::of(&profile, folder)?;
        linux.set_seccomp(None);
        Ok(Some(filter))
    }

    fn of(profile: &LinuxSeccomp, folder: &Path) -> Result<Self, CompileError> {
        let file = file(profile, folder);
        let kept = file.as_ref().and_then(|file| std::fs::read(file).ok());
        if let Some(filter) = kept.and_then(|bytes| program(&bytes)) {
            return Ok(Self(filter));
        }
        let bytes = compile(profile)?;
        let filter = program(&bytes).ok_or(CompileError::Size(bytes.len()))?;
        if let Some(file) = file {
            // The next one compiles it again.
            let _ = keep(&file, &bytes);
        }
        Ok(Self(filter))
    }

    /// Loads it into this thread.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub(crate) fn load(&self) -> Result<(), String> {
        seccompiler::apply_filter(&self.0).map_err(|error| format!("the seccomp filter cannot be loaded: {error}"))
    }
}

fn is_plain(profile: &LinuxSeccomp) -> bool {
    let calls = profile.syscalls().iter().flatten().map(LinuxSyscall::action);
    let traces = calls.chain([profile.default_action()]).any(|action| action == LinuxSeccompAction::ScmpActTrace);
    let has_flags = profile.flags().as_ref().is_some_and(|flags| !flags.is_empty());
    !traces && !has_flags && !is_notify(profile) && profile.default_action() != LinuxSeccompAction::ScmpActNotify
}

/// Where the filter of `profile` is kept: by all that it is made from.
fn file(profile: &LinuxSeccomp, folder: &Path) -> Option<PathBuf> {
    let library = ScmpVersion::current().ok()?;
    let from = serde_json::to_vec(&(env!("CARGO_PKG_VERSION"), COMPILER, library.to_string(), profile)).ok()?;
    Some(folder.join(hex(&digest(&SHA256, &from))))
}

fn keep(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = file.parent().ok_or(io::ErrorKind::InvalidInput)?;
    std::fs::create_dir_all(folder)?;
    if std::fs::read_dir(folder)?.count() >= KEPT_MAX {
        return Ok(());
    }
    // Others read it while it is written.
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    io::Write::write_all(&mut temporary, bytes)?;
    temporary.persist(file)?;
    Ok(())
}

fn program(bytes: &[u8]) -> Option<BpfProgram> {
    let fits = bytes.len().is_multiple_of(INSTRUCTION_BYTES)
        && (1..=INSTRUCTIONS_MAX).contains(&(bytes.len() / INSTRUCTION_BYTES));
    let instruction = |part: &[u8]| {
        let [c0, c1, jt, jf, k0, k1, k2, k3] = *part else { return None };
        Some(sock_filter { code: u16::from_ne_bytes([c0, c1]), jt, jf, k: u32::from_ne_bytes([k0, k1, k2, k3]) })
    };
    bytes.chunks_exact(INSTRUCTION_BYTES).map(instruction).collect::<Option<_>>().filter(|_| fits)
}

/// As libcontainer does it, which has no way to hand out what it compiled.
fn compile(profile: &LinuxSeccomp) -> Result<Vec<u8>, CompileError> {
    let default = action(profile.default_action(), profile.default_errno_ret());
    let mut filter = ScmpFilterContext::new(default)?;
    for architecture in profile.architectures().iter().flatten() {
        filter.add_arch(of_oci(*architecture)?)?;
    }
    for rule in profile.syscalls().iter().flatten() {
        let action = action(rule.action(), rule.errno_ret());
        // Redundant, and the library would refuse it.
        if action != default {
            add(&mut filter, rule, action)?;
        }
    }
    let mut file = File::from(memfd_create("filter", MemfdFlags::CLOEXEC).map_err(io::Error::from)?);
    filter.export_bpf(&file)?;
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Both have the same names.
fn of_oci(architecture: Arch) -> Result<ScmpArch, SeccompError> {
    let name = serde_json::to_value(architecture).unwrap_or_default();
    name.as_str().unwrap_or_default().parse()
}

fn add(filter: &mut ScmpFilterContext, rule: &LinuxSyscall, action: ScmpAction) -> Result<(), SeccompError> {
    let arguments = rule.args().as_deref().unwrap_or_default();
    let mut indices = HashSet::new();
    let each_once = arguments.iter().all(|argument| indices.insert(argument.index()));
    let comparisons: Vec<_> = arguments.iter().map(comparison).collect();
    // A name that the library does not know is left out, as libcontainer does.
    for call in rule.names().iter().filter_map(|name| ScmpSyscall::from_name(name).ok()) {
        if each_once {
            filter.add_rule_conditional(action, call, &comparisons)?;
        } else {
            // An argument can be compared once in a rule; runc has several rules then, and so has libcontainer.
            for comparison in &comparisons {
                filter.add_rule_conditional(action, call, std::slice::from_ref(comparison))?;
            }
        }
    }
    Ok(())
}

/// Those of a plain profile.
fn action(action: LinuxSeccompAction, errno: Option<u32>) -> ScmpAction {
    match action {
        LinuxSeccompAction::ScmpActAllow => ScmpAction::Allow,
        LinuxSeccompAction::ScmpActLog => ScmpAction::Log,
        LinuxSeccompAction::ScmpActErrno => ScmpAction::Errno(errno.unwrap_or(EPERM).cast_signed()),
        LinuxSeccompAction::ScmpActTrap => ScmpAction::Trap,
        LinuxSeccompAction::ScmpActKillProcess => ScmpAction::KillProcess,
        LinuxSeccompAction::ScmpActKill
        | LinuxSeccompAction::ScmpActKillThread
        | LinuxSeccompAction::ScmpActTrace
        | LinuxSeccompAction::ScmpActNotify => ScmpAction::KillThread,
    }
}

fn comparison(argument: &LinuxSeccompArg) -> ScmpArgCompare {
    let operator = match argument.op() {
        LinuxSeccompOperator::ScmpCmpNe => ScmpCompareOp::NotEqual,
        LinuxSeccompOperator::ScmpCmpLt => ScmpCompareOp::Less,
        LinuxSeccompOperator::ScmpCmpLe => ScmpCompareOp::LessOrEqual,
        LinuxSeccompOperator::ScmpCmpEq => ScmpCompareOp::Equal,
        LinuxSeccompOperator::ScmpCmpGe => ScmpCompareOp::GreaterEqual,
        LinuxSeccompOperator::ScmpCmpGt => ScmpCompareOp::Greater,
        LinuxSeccompOperator::ScmpCmpMaskedEq => ScmpCompareOp::MaskedEqual(argument.value()),
    };
    // A masked comparison has the mask first.
    let value = match argument.op() {
        LinuxSeccompOperator::ScmpCmpMaskedEq => argument.value_two().unwrap_or(0),
        _ => argument.value(),
    };
    ScmpArgCompare::new(u32::try_from(argument.index()).unwrap_or(u32::MAX), operator, value)
}

#[cfg(test)]
mod tests {
    use rustix::fs::{SeekFrom, seek};
    use rustix::io::Errno;
    use serde_json::{Value, json};

    use super::*;

    /// A filter on where `lseek` may go to, so that a test can ask it.
    fn spec(rule: &Value) -> Spec {
        serde_json::from_value(json!({
            "ociVersion": "1.1.0",
            "process": {"user": {"uid": 0, "gid": 0}, "cwd": "/", "noNewPrivileges": true},
            "linux": {"seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"], "syscalls": [rule],
            }},
        }))
        .unwrap()
    }

    /// 0x10 is not to be left of the offset.
    fn masked() -> Value {
        json!({"names": ["lseek", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "args": [
            {"index": 1, "value": 0xf0, "valueTwo": 0x10, "op": "SCMP_CMP_MASKED_EQ"}]})
    }

    /// Behind what `load` loads into a thread, the offsets that `lseek` refuses, with its reason.
    fn refused(load: impl FnOnce() + Send + 'static, offsets: [u64; 4]) -> Vec<(u64, Errno)> {
        let thread = std::thread::spawn(move || {
            let file = tempfile::tempfile().unwrap();
            load();
            let asked = offsets.map(|offset| (offset, seek(&file, SeekFrom::Start(offset))));
            asked.into_iter().filter_map(|(offset, asked)| Some((offset, asked.err()?))).collect()
        });
        thread.join().unwrap()
    }

    #[test]
    fn a_masked_comparison_has_its_mask_first() {
        let folder = tempfile::tempdir().unwrap();
        let mut spec = spec(&masked());
        let filter = Compiled::take(&mut spec, folder.path()).unwrap().unwrap();
        assert_eq!(*spec.linux().as_ref().unwrap().seccomp(), None, "libcontainer is not told of it");
        let found = refused(move || filter.load().unwrap(), [0x00, 0x12, 0x30, 0x110]);
        assert_eq!(found, [(0x12, Errno::NOSYS), (0x110, Errno::NOSYS)]);
    }

    #[test]
    fn libcontainer_is_told_the_same_in_its_own_order() {
        let spec = crate::lean::lean(spec(&masked()), crate::order::Kind::Linux, crate::procfs::Procfs::Whole);
        let profile = spec.linux().as_ref().unwrap().seccomp().clone().unwrap();
        let load = move || {
            rustix::thread::set_no_new_privs(true).unwrap();
            libcontainer::seccomp::initialize_seccomp(&profile).unwrap();
        };
        assert_eq!(refused(load, [0x00, 0x12, 0x30, 0x110]), [(0x12, Errno::NOSYS), (0x110, Errno::NOSYS)]);
    }

    #[test]
    fn an_argument_that_is_compared_twice_is_refused_by_either() {
        let folder = tempfile::tempdir().unwrap();
        let equals = |value: u64| json!({"index": 1, "value": value, "op": "SCMP_CMP_EQ"});
        let rule = json!({"names": ["lseek"], "action": "SCMP_ACT_ERRNO", "args": [equals(1), equals(3)]});
        let filter = Compiled::take(&mut spec(&rule), folder.path()).unwrap().unwrap();
        let found = refused(move || filter.load().unwrap(), [0, 1, 2, 3]);
        assert_eq!(found, [(1, Errno::PERM), (3, Errno::PERM)]);
    }

    #[test]
    fn a_profile_is_compiled_once_and_anew_when_what_was_kept_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let take = || Compiled::take(&mut spec(&masked()), folder.path()).unwrap().unwrap().0;
        let files = || std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
        let first = take();
        let [file] = &files()[..] else { panic!("one file") };
        let bytes = std::fs::read(file).unwrap();
        // Another program of the kernel's, to see that it is the file's.
        std::fs::write(file, &bytes[..INSTRUCTION_BYTES]).unwrap();
        assert_eq!(take().len(), 1);
        std::fs::write(file, &bytes[..INSTRUCTION_BYTES + 1]).unwrap();
        assert_eq!(take().len(), first.len());
        assert_eq!(std::fs::read(file).unwrap(), bytes);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..=KEPT_MAX {
            let rule = json!({"names": ["lseek"], "action": "SCMP_ACT_ERRNO", "errnoRet": number});
            assert!(Compiled::take(&mut spec(&rule), folder.path()).unwrap().is_some());
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), KEPT_MAX);
    }

    #[test]
    fn what_only_libcontainer_does_is_left_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let changes: [fn(&mut Value); 5] = [
            |spec| spec["process"]["noNewPrivileges"] = json!(false),
            |spec| spec["linux"]["seccomp"]["flags"] = json!(["SECCOMP_FILTER_FLAG_LOG"]),
            |spec| spec["linux"]["seccomp"]["syscalls"][0]["action"] = json!("SCMP_ACT_NOTIFY"),
            |spec| spec["linux"]["seccomp"]["defaultAction"] = json!("SCMP_ACT_TRACE"),
            |spec| spec["linux"].as_object_mut().unwrap().clear(),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut changed = serde_json::to_value(spec(&masked())).unwrap();
            change(&mut changed);
            let before: Spec = serde_json::from_value(changed).unwrap();
            let mut after = before.clone();
            assert!(Compiled::take(&mut after, folder.path()).unwrap().is_none(), "change {number}");
            assert_eq!(after, before, "change {number}");
        }
    }
}
