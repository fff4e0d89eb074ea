//! The containers of one pod: how they come, start, end and go.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use oci_spec::runtime::Spec;
use rustix::process::Signal;
use tokio::sync::oneshot;

use crate::cgroup::Place;
use crate::container::{Container, Execs, Leftovers};
use crate::events::Events;
use crate::gate::Gate;
use crate::launch::launch;
use crate::order::{self, Kind, Made};
use crate::process::{Process, State, Step};
use crate::reaper::{Exit, Reaper};
use crate::respond::TaskError;
use crate::state_dir::{StateDir, check_name};
use crate::stdio::Names;
use crate::undo::undo;

/// One daemon's containers.
pub(crate) struct Pod {
    pub(crate) namespace: String,
    pub(crate) state: StateDir,
    pub(crate) reaper: Arc<Reaper>,
    pub(crate) events: Events,
    containers: Mutex<HashMap<String, Slot>>,
}

/// A name that is taken.
enum Slot {
    Coming,
    There(Arc<Container>),
}

impl Pod {
    pub(crate) fn new(namespace: &str, state: StateDir, reaper: Arc<Reaper>, events: Events) -> Self {
        Self { namespace: namespace.to_owned(), state, reaper, events, containers: Mutex::default() }
    }

    /// The container `id`.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn container(&self, id: &str) -> Result<Arc<Container>, TaskError> {
        match self.containers().get(id) {
            Some(Slot::There(container)) => Ok(Arc::clone(container)),
            _ => Err(TaskError::NotFound(format!("container {id}"))),
        }
    }

    /// Whether nothing would be lost without this daemon.
    pub(crate) fn is_empty(&self) -> bool {
        self.containers().is_empty()
    }

    /// Makes a container. What was made of one that fails is taken away again.
    ///
    /// # Errors
    /// With the reason, in words for whoever wrote the pod.
    pub(crate) async fn create(self: &Arc<Self>, order: order::Create) -> Result<i32, TaskError> {
        match self.containers().entry(order.id.clone()) {
            Entry::Occupied(_) => return Err(TaskError::Exists(format!("container {}", order.id))),
            Entry::Vacant(free) => free.insert(Slot::Coming),
        };
        match self.make(&order).await {
            Ok((container, end)) => {
                let container = Arc::new(container);
                let subject = container.init.subject();
                self.containers().insert(order.id.clone(), Slot::There(Arc::clone(&container)));
                self.events.created(&subject, &order.bundle.display().to_string(), &order.stdio).await;
                tokio::spawn(Arc::clone(self).watch_container(container, end));
                Ok(subject.pid)
            }
            Err(error) => {
                self.undo(&order.id).await.unwrap_or_else(|left| log::warn!("{}: {left}", order.id));
                self.containers().remove(&order.id);
                Err(error)
            }
        }
    }

    async fn make(&self, order: &order::Create) -> Result<(Container, oneshot::Receiver<Exit>), TaskError> {
        self.state.make()?;
        let config = order.bundle.join("config.json");
        let spec = Spec::load(&config).map_err(|error| TaskError::Invalid(format!("{}: {error}", config.display())))?;
        let kept = order.stdio.keep()?;
        let gate = Gate::make(&self.state.gate(&order.id))?;
        let Made { pid, kind } = launch(&self.reaper, order::CREATE, order).await?;
        let init = Process::new(&order.id, "", order.stdio.clone(), kept);
        init.is(pid)?;
        let missing = || TaskError::Internal(format!("{} was made and not remembered", order.id));
        let container = Container {
            id: order.id.clone(),
            bundle: order.bundle.clone(),
            kind,
            record: self.state.read(&order.id)?.ok_or_else(missing)?,
            place: Place::of_process(pid)?,
            leftovers: Leftovers::of(&spec),
            init: Arc::new(init),
            gate: Mutex::new(Some(gate)),
            execs: Execs::default(),
        };
        Ok((container, self.reaper.end_of(pid)))
    }

    /// Starts a container, or a process that was added to it. The program runs when this returns.
    ///
    /// # Errors
    /// When it does not.
    pub(crate) async fn start(self: &Arc<Self>, id: &str, exec_id: &str) -> Result<i32, TaskError> {
        let container = self.container(id)?;
        let process = container.process(exec_id)?;
        process.take(Step::Start)?;
        let started = if exec_id.is_empty() {
            self.start_first(&container).await
        } else {
            self.start_exec(&container, exec_id).await
        };
        if let Err(error) = started {
            process.take(Step::StartFailed)?;
            return Err(error);
        }
        self.events.started(&process.subject()).await;
        process.take(Step::Started)?;
        Ok(process.pid())
    }

    async fn start_first(&self, container: &Container) -> Result<(), TaskError> {
        let begun = || TaskError::Precondition(format!("{} was started before", container.id));
        let gate = container.take_gate().ok_or_else(begun)?;
        if container.kind == Kind::Sandbox {
            return Ok(());
        }
        knock(&self.state.start_socket(&container.id))?;
        let refused = |reason| TaskError::Internal(format!("{}: {reason}", container.id));
        gate.passed().await.map_err(refused)
    }

    async fn start_exec(self: &Arc<Self>, container: &Arc<Container>, exec_id: &str) -> Result<(), TaskError> {
        let process = container.process(exec_id)?;
        let order = order::Exec {
            namespace: self.namespace.clone(),
            id: container.id.clone(),
            exec_id: exec_id.to_owned(),
            stdio: process.stdio.clone(),
        };
        let made = launch(&self.reaper, order::EXEC, &order).await?;
        let end = self.reaper.end_of(made.pid);
        process.is(made.pid)?;
        tokio::spawn(Arc::clone(self).watch_exec(process, end));
        Ok(())
    }

    /// Adds a process to a container, to be started.
    ///
    /// # Errors
    /// When the container is a component, or the process is there.
    pub(crate) async fn add(&self, id: &str, exec_id: &str, added: Added) -> Result<(), TaskError> {
        let container = self.container(id)?;
        let nothing = match container.kind {
            Kind::Linux => None,
            Kind::Wasm => Some("runs a WebAssembly component"),
            Kind::Sandbox => Some("only holds the pod together"),
        };
        if let Some(what) = nothing {
            let message = format!("{id} {what}: it has no shell and no programs to execute");
            return Err(TaskError::Unimplemented(message));
        }
        check_name(exec_id).map_err(|error| TaskError::Invalid(error.to_string()))?;
        let kept = added.stdio.keep()?;
        let process = Arc::new(Process::new(id, exec_id, added.stdio, kept));
        container.add(exec_id, Arc::clone(&process))?;
        std::fs::write(self.state.process(id, exec_id), added.process)?;
        self.events.exec_added(&process.subject()).await;
        Ok(())
    }

    /// Takes a container or an added process away, and says how it ended.
    ///
    /// # Errors
    /// While it runs, or when something of it stays.
    pub(crate) async fn delete(&self, id: &str, exec_id: &str) -> Result<(i32, Exit), TaskError> {
        let container = self.container(id)?;
        let process = container.process(exec_id)?;
        match process.state() {
            State::Exited(_) | State::Created => {}
            state => return Err(TaskError::Precondition(format!("{id} is {state:?}; kill it before it is deleted"))),
        }
        if !exec_id.is_empty() {
            container.remove(exec_id);
            crate::state_dir::gone(std::fs::remove_file(self.state.process(id, exec_id)))?;
            if process.state() == State::Created {
                // Whoever waits for it would wait for ever.
                process.take(Step::Exit(never_started()))?;
            }
            return Ok((process.pid(), process.exited().await));
        }
        // Ends it too, where it was never started.
        self.undo(id).await?;
        let exit = process.exited().await;
        self.containers().remove(id);
        self.events.deleted(&process.subject(), exit).await;
        Ok((process.pid(), exit))
    }

    async fn undo(&self, id: &str) -> Result<(), TaskError> {
        let (state, name) = (self.state.clone(), id.to_owned());
        let undone = tokio::task::spawn_blocking(move || undo(&state, &name)).await;
        let failed = |error: String| TaskError::Internal(format!("{id} is not all gone: {error}"));
        undone.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))
    }

    async fn watch_container(self: Arc<Self>, container: Arc<Container>, end: oneshot::Receiver<Exit>) {
        // The reaper lives as long as the daemon.
        let Ok(exit) = end.await else { return };
        container.init.settled().await;
        let exit = container.init.told(exit);
        if container.leftovers == Leftovers::ToBeKilled
            && let Err(error) = container.place.signal_all(Signal::KILL)
        {
            log::warn!("{}: its other processes may be left: {error}", container.id);
        }
        // Before the end: kubelet's runtime service asks for the cause when it hears of the end.
        if container.place.oom_kills() > 0 {
            self.events.out_of_memory(&container.id).await;
        }
        self.end(&container.init, exit).await;
    }

    async fn watch_exec(self: Arc<Self>, process: Arc<Process>, end: oneshot::Receiver<Exit>) {
        let Ok(exit) = end.await else { return };
        process.settled().await;
        self.end(&process, exit).await;
    }

    async fn end(&self, process: &Process, exit: Exit) {
        self.events.exited(&process.subject(), exit).await;
        if let Err(error) = process.take(Step::Exit(exit)) {
            log::warn!("an end was told twice: {error}");
        }
    }

    fn containers(&self) -> MutexGuard<'_, HashMap<String, Slot>> {
        self.containers.lock().expect("no panic while held")
    }
}

/// A process to be added.
pub(crate) struct Added {
    pub(crate) stdio: Names,
    /// As JSON, in the words of the OCI runtime specification.
    pub(crate) process: Vec<u8>,
}

fn never_started() -> Exit {
    Exit { status: 0, at: std::time::SystemTime::now() }
}

/// Lets a container's first process go on, which waits at libcontainer's socket.
fn knock(socket: &Path) -> std::io::Result<()> {
    // By the folder's descriptor, because a socket's path must be short.
    let folder = std::fs::File::open(socket.parent().unwrap_or(Path::new("/")))?;
    let name = socket.file_name().unwrap_or_default();
    let short = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
    UnixStream::connect(short)?.write_all(b"start container")
}
