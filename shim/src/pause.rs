//! The process of a pod's own container: holds the pod's namespaces, buries whom nobody else buries, and ends when told.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::path::Path;
use std::process::ExitCode;

use libseccomp::{ScmpAction, ScmpFilterContext, ScmpSyscall};
use nix::sys::signal::{SigSet, Signal};
use rustix::fs::{Gid, Uid};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};
use rustix::process::{WaitOptions, wait};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::empty;
use crate::start::READY;

/// All that it calls from then on: to say that it is ready, to wait, and to end.
const CALLS: [&str; 10] = [
    "write",
    "dup2",
    "dup3",
    "rt_sigtimedwait",
    "rt_sigreturn",
    "restart_syscall",
    "wait4",
    "waitid",
    "sigaltstack",
    "exit_group",
];
/// As the C library answers for a call that is refused.
const EPERM: i32 = 1;

/// Becomes that process, by a user, a group, and the folder that its empty root is made in. Says on standard output that
/// it is ready, or why it is not.
pub(crate) fn run(arguments: &[OsString]) -> ExitCode {
    match ready(arguments) {
        Ok(signals) => hold(&signals),
        Err(message) => {
            print!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn ready(arguments: &[OsString]) -> Result<SigSet, String> {
    let [user, group, root] = arguments else { return Err("this is for the shim itself".to_owned()) };
    let number = |word: &OsString| word.to_str().and_then(|word| word.parse().ok());
    let (Some(user), Some(group)) = (number(user), number(group)) else { return Err("no user".to_owned()) };
    // Blocked, they wait: the first process of a namespace is otherwise sent none that it has no handler for.
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD]);
    signals.thread_block().map_err(|error| format!("signals: {error}"))?;
    let nowhere = OpenOptions::new().write(true).open("/dev/null").map_err(|error| format!("/dev/null: {error}"))?;
    empty_root(Path::new(root)).map_err(|error| format!("empty root: {error}"))?;
    give_up_rights(Uid::from_raw(user), Gid::from_raw(group)).map_err(|error| format!("rights: {error}"))?;
    filter().map_err(|error| format!("seccomp: {error}"))?;
    say(&nowhere).map_err(|error| format!("standard output: {error}"))?;
    Ok(signals)
}

/// In a mount namespace that is already its own.
fn empty_root(folder: &Path) -> rustix::io::Result<()> {
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
    empty::cover(folder)?;
    rustix::process::chdir(folder)?;
    // The old root comes to lie upon the new one, and goes: what the node unmounts later must not be held here.
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")
}

fn give_up_rights(user: Uid, group: Gid) -> rustix::io::Result<()> {
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(group, group, group)?;
    rustix::thread::set_thread_res_uid(user, user, user)?;
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    rustix::thread::set_no_new_privs(true)
}

fn filter() -> Result<(), libseccomp::error::SeccompError> {
    let mut filter = ScmpFilterContext::new(ScmpAction::Errno(EPERM))?;
    for name in CALLS {
        // Not every architecture has every one of them.
        if let Ok(call) = ScmpSyscall::from_name(name) {
            filter.add_rule(ScmpAction::Allow, call)?;
        }
    }
    filter.load()
}

/// Says that it is ready, and lets go of the pipe that says it.
fn say(nowhere: &File) -> rustix::io::Result<()> {
    rustix::io::write(rustix::stdio::stdout(), READY.as_bytes())?;
    rustix::stdio::dup2_stdout(nowhere)
}

/// Waits, without a memory to be had any more.
fn hold(signals: &SigSet) -> ExitCode {
    loop {
        match signals.wait() {
            Ok(Signal::SIGCHLD) => while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {},
            Ok(_) => return ExitCode::SUCCESS,
            Err(_) => return ExitCode::FAILURE,
        }
    }
}
