//! The task service: containerd's calls, each handed to where it is done.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use containerd_shim::protos::api::{
    CheckpointTaskRequest, CloseIORequest, ConnectRequest, ConnectResponse, CreateTaskRequest, CreateTaskResponse,
    DeleteRequest, DeleteResponse, Empty, ExecProcessRequest, KillRequest, PauseRequest, PidsRequest, PidsResponse,
    ProcessInfo, ResizePtyRequest, ResumeRequest, ShutdownRequest, StartRequest, StartResponse, StateRequest,
    StateResponse, StatsRequest, StatsResponse, Status, UpdateTaskRequest, WaitRequest, WaitResponse,
};
use containerd_shim::protos::protobuf::MessageField;
use containerd_shim::protos::shim_async::Task;
use containerd_shim::protos::ttrpc::Result;
use containerd_shim::protos::ttrpc::r#async::TtrpcContext;
use rustix::process::Signal;
use tokio::sync::Notify;

use crate::options::{self, Options};
use crate::order;
use crate::pod::{Added, Pod};
use crate::process::{State, Step};
use crate::respond::{TaskError, timestamp};
use crate::stats;
use crate::stdio::Names;

/// What answers containerd.
pub(crate) struct Service {
    pub(crate) pod: Arc<Pod>,
    /// containerd's socket.
    pub(crate) containerd: String,
    pub(crate) stop: Arc<Notify>,
    /// Of the container that it was started for; in a pod, the pod's own.
    pub(crate) id: String,
    /// Nothing will come after those that are there.
    pub(crate) last: AtomicBool,
}

#[async_trait]
impl Task for Service {
    async fn create(&self, _: &TtrpcContext, request: CreateTaskRequest) -> Result<CreateTaskResponse> {
        let order = self.order(request)?;
        log::info!("create {}", order.id);
        let pid = self.pod.create(order).await?;
        Ok(CreateTaskResponse { pid: pid.cast_unsigned(), ..CreateTaskResponse::default() })
    }

    async fn start(&self, _: &TtrpcContext, request: StartRequest) -> Result<StartResponse> {
        let pid = self.pod.start(&request.id, &request.exec_id).await?;
        log::info!("started {} {} as process {pid}", request.id, request.exec_id);
        Ok(StartResponse { pid: pid.cast_unsigned(), ..StartResponse::default() })
    }

    async fn delete(&self, _: &TtrpcContext, request: DeleteRequest) -> Result<DeleteResponse> {
        let (pid, exit) = self.pod.delete(&request.id, &request.exec_id).await?;
        log::info!("deleted {} {}, which ended with {}", request.id, request.exec_id, exit.status);
        if self.last.load(Ordering::Relaxed) {
            self.stop_if_empty();
        }
        Ok(DeleteResponse {
            pid: pid.cast_unsigned(),
            exit_status: exit.status,
            exited_at: MessageField::some(timestamp(exit.at)),
            ..DeleteResponse::default()
        })
    }

    async fn state(&self, _: &TtrpcContext, request: StateRequest) -> Result<StateResponse> {
        let container = self.pod.container(&request.id)?;
        let process = container.process(&request.exec_id)?;
        let mut response = StateResponse {
            id: request.id,
            exec_id: request.exec_id,
            bundle: container.bundle.display().to_string(),
            pid: process.pid().cast_unsigned(),
            status: status(process.state()).into(),
            stdin: process.stdio.stdin.clone(),
            stdout: process.stdio.stdout.clone(),
            stderr: process.stdio.stderr.clone(),
            ..StateResponse::default()
        };
        if let State::Exited(exit) = process.state() {
            response.exit_status = exit.status;
            response.exited_at = MessageField::some(timestamp(exit.at));
        }
        Ok(response)
    }

    async fn wait(&self, _: &TtrpcContext, request: WaitRequest) -> Result<WaitResponse> {
        let process = self.pod.container(&request.id)?.process(&request.exec_id)?;
        let exit = process.exited().await;
        Ok(WaitResponse {
            exit_status: exit.status,
            exited_at: MessageField::some(timestamp(exit.at)),
            ..WaitResponse::default()
        })
    }

    async fn kill(&self, _: &TtrpcContext, request: KillRequest) -> Result<Empty> {
        let container = self.pod.container(&request.id)?;
        let process = container.process(&request.exec_id)?;
        let signal = signal(request.signal)?;
        process.signal(signal)?;
        if request.all {
            container.place.signal_all(signal).map_err(TaskError::from)?;
        }
        if process.state() == State::Paused && signal == Signal::KILL {
            // Who is frozen cannot die.
            container.cgroup().and_then(|cgroup| cgroup.thaw()).map_err(TaskError::from)?;
        }
        Ok(Empty::default())
    }

    async fn exec(&self, _: &TtrpcContext, request: ExecProcessRequest) -> Result<Empty> {
        if request.terminal {
            return Err(no_terminal().into());
        }
        let stdio = Names { stdin: request.stdin, stdout: request.stdout, stderr: request.stderr };
        let process = request.spec.into_option().map(|any| any.value).unwrap_or_default();
        self.pod.add(&request.id, &request.exec_id, Added { stdio, process }).await?;
        Ok(Empty::default())
    }

    async fn pids(&self, _: &TtrpcContext, request: PidsRequest) -> Result<PidsResponse> {
        let container = self.pod.container(&request.id)?;
        let pids = container.place.pids().map_err(TaskError::from)?;
        let info = |pid: i32| ProcessInfo { pid: pid.cast_unsigned(), ..ProcessInfo::default() };
        Ok(PidsResponse { processes: pids.into_iter().map(info).collect(), ..PidsResponse::default() })
    }

    async fn stats(&self, _: &TtrpcContext, request: StatsRequest) -> Result<StatsResponse> {
        let container = self.pod.container(&request.id)?;
        let metrics = stats::metrics(&container.place).map_err(|error| TaskError::Internal(error.to_string()))?;
        Ok(StatsResponse { stats: MessageField::some(metrics), ..StatsResponse::default() })
    }

    async fn update(&self, _: &TtrpcContext, request: UpdateTaskRequest) -> Result<Empty> {
        let container = self.pod.container(&request.id)?;
        let json = request.resources.into_option().map(|any| any.value).unwrap_or_default();
        let malformed = |error: serde_json::Error| TaskError::Invalid(format!("resources: {error}"));
        let resources = serde_json::from_slice(&json).map_err(malformed)?;
        container.cgroup().and_then(|cgroup| cgroup.update(&resources)).map_err(TaskError::from)?;
        Ok(Empty::default())
    }

    async fn pause(&self, _: &TtrpcContext, request: PauseRequest) -> Result<Empty> {
        let container = self.pod.container(&request.id)?;
        container.init.take(Step::Pause)?;
        if let Err(error) = container.cgroup().and_then(|cgroup| cgroup.freeze()) {
            container.init.take(Step::Resume)?;
            return Err(TaskError::from(error).into());
        }
        self.pod.events.paused(&request.id).await;
        Ok(Empty::default())
    }

    async fn resume(&self, _: &TtrpcContext, request: ResumeRequest) -> Result<Empty> {
        let container = self.pod.container(&request.id)?;
        if container.init.state() != State::Paused {
            return Err(TaskError::Precondition(format!("{} is not paused", request.id)).into());
        }
        container.cgroup().and_then(|cgroup| cgroup.thaw()).map_err(TaskError::from)?;
        container.init.take(Step::Resume)?;
        self.pod.events.resumed(&request.id).await;
        Ok(Empty::default())
    }

    async fn close_io(&self, _: &TtrpcContext, request: CloseIORequest) -> Result<Empty> {
        let process = self.pod.container(&request.id)?.process(&request.exec_id)?;
        if request.stdin {
            process.close_input();
        }
        Ok(Empty::default())
    }

    async fn resize_pty(&self, _: &TtrpcContext, request: ResizePtyRequest) -> Result<Empty> {
        // There is no terminal, so none has the wrong size: clients send this whenever their own window changes.
        self.pod.container(&request.id)?.process(&request.exec_id)?;
        Ok(Empty::default())
    }

    async fn checkpoint(&self, _: &TtrpcContext, request: CheckpointTaskRequest) -> Result<Empty> {
        Err(TaskError::Unimplemented(format!("{}: this runtime makes no checkpoints", request.id)).into())
    }

    async fn connect(&self, _: &TtrpcContext, request: ConnectRequest) -> Result<ConnectResponse> {
        let task = self.pod.container(&request.id).map_or(0, |container| container.init.pid());
        Ok(ConnectResponse {
            shim_pid: std::process::id(),
            task_pid: task.cast_unsigned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..ConnectResponse::default()
        })
    }

    async fn shutdown(&self, _: &TtrpcContext, request: ShutdownRequest) -> Result<Empty> {
        // By task API 2 it is asked after each container, and the last one is meant. By 3 it is asked once, after the
        // pod's own, even if another one is still on its way out.
        if request.id == self.id {
            self.last.store(true, Ordering::Relaxed);
        }
        self.stop_if_empty();
        Ok(Empty::default())
    }
}

impl Service {
    fn stop_if_empty(&self) {
        if self.pod.is_empty() {
            log::info!("shutdown");
            self.stop.notify_one();
        }
    }

    fn order(&self, request: CreateTaskRequest) -> std::result::Result<order::Create, TaskError> {
        if request.terminal {
            return Err(no_terminal());
        }
        if !request.checkpoint.is_empty() {
            return Err(TaskError::Unimplemented("this runtime restores no checkpoints".to_owned()));
        }
        crate::state_dir::check_name(&request.id).map_err(|error| TaskError::Invalid(error.to_string()))?;
        let program = std::env::current_exe()?;
        let options = Options::resolve(request.options.as_ref(), Path::new(options::FILE), &program)?;
        let mount = |mount: containerd_shim::protos::types::mount::Mount| order::Mount {
            kind: mount.type_,
            source: mount.source,
            target: mount.target,
            options: mount.options,
        };
        Ok(order::Create {
            namespace: self.pod.namespace.clone(),
            id: request.id,
            bundle: request.bundle.into(),
            mounts: request.rootfs.into_iter().map(mount).collect(),
            stdio: Names { stdin: request.stdin, stdout: request.stdout, stderr: request.stderr },
            cgroup_driver: options.cgroup_driver,
            containerd: self.containerd.clone(),
            host: options.host,
            store: options.store,
        })
    }
}

fn no_terminal() -> TaskError {
    TaskError::Unimplemented("this runtime gives no terminal; take tty and -t away".to_owned())
}

fn signal(number: u32) -> std::result::Result<Signal, TaskError> {
    let found = i32::try_from(number).ok().and_then(Signal::from_named_raw);
    found.ok_or_else(|| TaskError::Invalid(format!("{number} is no signal")))
}

fn status(state: State) -> Status {
    match state {
        State::Created => Status::CREATED,
        State::Starting | State::Running => Status::RUNNING,
        State::Paused => Status::PAUSED,
        State::Exited(_) => Status::STOPPED,
    }
}
