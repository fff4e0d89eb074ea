//! Collects every process that ends below the daemon, and tells whoever waits for it.
//!
//! A container's first process is made by a process that has ended since, so it becomes a child of the daemon. So do
//! processes whose parents in a container ended before them; nobody waits for those, but they must be collected too.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Mutex, MutexGuard};
use std::time::SystemTime;

use rustix::process::{WaitOptions, WaitStatus, wait};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// Ends of which nobody has asked yet: a process may end before who started it hears its number. More than this many do
/// not come between two turns of the loop.
const EARLY_MAX: usize = 256;
/// What shells and containerd add to the number of the signal that ended a process.
const SIGNALED: i32 = 128;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) status: u32,
    pub(crate) at: SystemTime,
}

/// All processes that end.
pub(crate) struct Reaper {
    ends: Mutex<Ends>,
}

#[derive(Default)]
struct Ends {
    awaited: HashMap<i32, oneshot::Sender<Exit>>,
    early: VecDeque<(i32, Exit)>,
}

impl Reaper {
    pub(crate) fn new() -> Self {
        Self { ends: Mutex::default() }
    }

    /// Listens for ends from now on.
    ///
    /// # Errors
    /// When the signal cannot be listened to.
    pub(crate) fn listen() -> io::Result<Signal> {
        signal(SignalKind::child())
    }

    /// Collects until it is dropped.
    pub(crate) async fn run(&self, mut children: Signal) {
        loop {
            self.collect();
            if children.recv().await.is_none() {
                return;
            }
        }
    }

    /// The end of the process `pid`, which may have come already.
    pub(crate) fn end_of(&self, pid: i32) -> oneshot::Receiver<Exit> {
        let (sender, receiver) = oneshot::channel();
        let mut ends = self.ends();
        match ends.early.iter().position(|(early, _)| *early == pid).and_then(|at| ends.early.remove(at)) {
            // The receiver is held here.
            Some((_, exit)) => drop(sender.send(exit)),
            None => drop(ends.awaited.insert(pid, sender)),
        }
        receiver
    }

    fn collect(&self) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            self.ended(pid.as_raw_pid(), Exit { status: exit_status(status), at: SystemTime::now() });
        }
    }

    fn ended(&self, pid: i32, exit: Exit) {
        let mut ends = self.ends();
        if let Some(sender) = ends.awaited.remove(&pid) {
            // Whoever waited may have given up.
            let _ = sender.send(exit);
            return;
        }
        ends.early.push_back((pid, exit));
        if ends.early.len() > EARLY_MAX {
            ends.early.pop_front();
        }
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().expect("no panic while held")
    }
}

fn exit_status(status: WaitStatus) -> u32 {
    let signaled = || status.terminating_signal().map(|signal| SIGNALED + signal);
    status.exit_status().or_else(signaled).unwrap_or(SIGNALED).cast_unsigned()
}

/// Read by each test that waits for a child: the reaper's own test collects all that there are.
#[cfg(test)]
pub(crate) static CHILDREN: tokio::sync::RwLock<()> = tokio::sync::RwLock::const_new(());

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn exit(status: u32) -> Exit {
        Exit { status, at: SystemTime::UNIX_EPOCH }
    }

    #[tokio::test]
    async fn an_end_that_came_before_the_question_is_told() {
        let reaper = Reaper::new();
        reaper.ended(7, exit(3));
        assert_eq!(reaper.end_of(7).await.unwrap().status, 3);
    }

    #[tokio::test]
    async fn ends_of_which_nobody_asks_are_forgotten_in_order() {
        let reaper = Reaper::new();
        for pid in 0..300 {
            reaper.ended(pid, exit(0));
        }
        assert_eq!(reaper.ends().early.len(), EARLY_MAX);
        assert!(reaper.end_of(0).try_recv().is_err());
        assert!(reaper.end_of(299).try_recv().is_ok());
    }

    #[tokio::test]
    async fn a_signal_is_told_as_shells_do() {
        let _children = CHILDREN.write().await;
        let reaper = Reaper::new();
        let signals = Reaper::listen().unwrap();
        #[allow(clippy::zombie_processes, reason = "the reaper waits for it: that is the test")]
        let child = Command::new("sh").args(["-c", "kill -TERM $$"]).spawn().unwrap();
        let end = reaper.end_of(child.id().cast_signed());
        tokio::select! {
            () = reaper.run(signals) => panic!("it collects for ever"),
            exit = end => assert_eq!(exit.unwrap().status, 143),
        }
    }
}
