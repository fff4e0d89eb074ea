//! One process of a container: its first, or one that an exec added.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, OnceLock};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::sync::watch;

use crate::events::Subject;
use crate::reaper::Exit;
use crate::respond::TaskError;
use crate::stdio::{Kept, Names};

/// Where a process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Waits to be started. A container's first process is there already, one of an exec is not.
    Created,
    /// Is being started: an end that comes now is told after the start.
    Starting,
    Running,
    Paused,
    Exited(Exit),
}

/// What is done to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Start,
    Started,
    StartFailed,
    Pause,
    Resume,
    Exit(Exit),
}

impl State {
    /// The state after `step`; `None` when it does not fit.
    pub(crate) fn after(self, step: Step) -> Option<Self> {
        match (self, step) {
            // Created => Starting
            (Self::Created, Step::Start) => Some(Self::Starting),
            // Starting => Running
            (Self::Starting, Step::Started) => Some(Self::Running),
            // Starting => Created: it ends by itself, or is deleted
            (Self::Starting, Step::StartFailed) => Some(Self::Created),
            // Running => Paused
            (Self::Running, Step::Pause) => Some(Self::Paused),
            // Paused => Running
            (Self::Paused, Step::Resume) => Some(Self::Running),
            // Created | Running | Paused => Exited: what is starting is first told to have started
            (Self::Created | Self::Running | Self::Paused, Step::Exit(exit)) => Some(Self::Exited(exit)),
            _ => None,
        }
    }
}

/// A process, and whoever waits for it.
pub(crate) struct Process {
    container: String,
    exec: String,
    pub(crate) stdio: Names,
    kept: Mutex<Kept>,
    /// Set when it is there; without a descriptor, when it had ended by then.
    running: OnceLock<(i32, Option<OwnedFd>)>,
    state: watch::Sender<State>,
    /// The signal that ended it before it was started.
    cut_by: Mutex<Option<u32>>,
}

impl Process {
    /// One that is to come.
    pub(crate) fn new(container: &str, exec: &str, stdio: Names, kept: Kept) -> Self {
        Self {
            container: container.to_owned(),
            exec: exec.to_owned(),
            stdio,
            kept: Mutex::new(kept),
            running: OnceLock::new(),
            state: watch::Sender::new(State::Created),
            cut_by: Mutex::default(),
        }
    }

    /// It is there, as process `pid`. It may have ended since: a short command does, and its end is told as any other.
    ///
    /// # Errors
    /// When it is another already.
    pub(crate) fn is(&self, pid: i32) -> Result<(), TaskError> {
        let descriptor = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let twice = |_| TaskError::Internal(format!("{} was made twice", self.container));
        self.running.set((pid, descriptor)).map_err(twice)
    }

    /// Zero while it is not there.
    pub(crate) fn pid(&self) -> i32 {
        self.running.get().map_or(0, |(pid, _)| *pid)
    }

    pub(crate) fn subject(&self) -> Subject {
        Subject { container: self.container.clone(), exec: self.exec.clone(), pid: self.pid() }
    }

    pub(crate) fn state(&self) -> State {
        *self.state.borrow()
    }

    /// Takes `step`.
    ///
    /// # Errors
    /// When it does not fit the state.
    pub(crate) fn take(&self, step: Step) -> Result<(), TaskError> {
        let mut fits = false;
        self.state.send_if_modified(|state| match state.after(step) {
            Some(after) => {
                *state = after;
                fits = true;
                true
            }
            None => false,
        });
        let state = self.state();
        let refused = || TaskError::Precondition(format!("{} is {state:?}, so {step:?} does not fit", self.container));
        if fits { Ok(()) } else { Err(refused()) }
    }

    /// It has ended: waits for a start in progress to be told first.
    pub(crate) async fn settled(&self) {
        // The sender is held here, so this ends only with what is waited for.
        let _ = self.state.subscribe().wait_for(|state| *state != State::Starting).await;
    }

    /// How it ended, when it has.
    pub(crate) async fn exited(&self) -> Exit {
        let mut states = self.state.subscribe();
        loop {
            if let State::Exited(exit) = *states.borrow_and_update() {
                return exit;
            }
            // The sender is held here.
            let _ = states.changed().await;
        }
    }

    /// The end of its input has come.
    pub(crate) fn close_input(&self) {
        self.kept.lock().expect("no panic while held").close_input();
    }

    /// Sends it a signal. One that is not started yet ends by any signal that asks it to: it has nothing to finish, and
    /// as the first of its container it would not hear a polite one.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), TaskError> {
        let finished = || TaskError::NotFound(format!("process of {}: it has ended", self.container));
        if matches!(self.state(), State::Exited(_)) {
            return Err(finished());
        }
        let Some((_, Some(descriptor))) = self.running.get() else { return Err(finished()) };
        let asks_to_end = [Signal::TERM, Signal::INT, Signal::QUIT, Signal::HUP, Signal::KILL].contains(&signal);
        let cut = asks_to_end && self.state() == State::Created;
        if cut {
            *self.cut_by() = Some(signal.as_raw().cast_unsigned());
        }
        let sent = pidfd_send_signal(descriptor, if cut { Signal::KILL } else { signal });
        sent.map_err(|error| match error {
            rustix::io::Errno::SRCH => finished(),
            error => TaskError::Internal(format!("signal {} to {}: {error}", signal.as_raw(), self.container)),
        })
    }

    /// `exit` as it is told: who was cut before the start ended by what was sent, not by how it was done.
    pub(crate) fn told(&self, exit: Exit) -> Exit {
        let cut_by = *self.cut_by();
        cut_by.map_or(exit, |signal| Exit { status: 128 + signal, ..exit })
    }

    fn cut_by(&self) -> MutexGuard<'_, Option<u32>> {
        self.cut_by.lock().expect("no panic while held")
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    const EXIT: Exit = Exit { status: 0, at: SystemTime::UNIX_EPOCH };

    #[test]
    fn a_life_goes_from_created_to_exited() {
        let steps = [Step::Start, Step::Started, Step::Pause, Step::Resume, Step::Exit(EXIT)];
        let end = steps.into_iter().try_fold(State::Created, State::after);
        assert_eq!(end, Some(State::Exited(EXIT)));
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        assert_eq!(State::Running.after(Step::Start), None);
        assert_eq!(State::Created.after(Step::Pause), None);
        assert_eq!(State::Exited(EXIT).after(Step::Start), None);
        assert_eq!(State::Exited(EXIT).after(Step::Exit(EXIT)), None);
    }

    #[test]
    fn an_end_during_the_start_comes_after_it() {
        assert_eq!(State::Starting.after(Step::Exit(EXIT)), None);
        assert_eq!(State::Created.after(Step::Exit(EXIT)), Some(State::Exited(EXIT)));
    }
}
