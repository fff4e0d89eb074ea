//! What containerd is told without asking.

use containerd_shim::Context;
use containerd_shim::protos::events::task::{
    TaskCreate, TaskDelete, TaskExecAdded, TaskExecStarted, TaskExit, TaskIO, TaskOOM, TaskPaused, TaskResumed,
    TaskStart,
};
use containerd_shim::protos::protobuf::{MessageDyn, MessageField};
use containerd_shim::protos::topics;
use containerd_shim::publisher::RemotePublisher;

use crate::reaper::Exit;
use crate::respond::timestamp;
use crate::stdio::Names;

/// Tells containerd, in order; what it does not take because it restarts is sent again.
pub(crate) struct Events {
    publisher: RemotePublisher,
    namespace: String,
}

/// A process of a container, as events name it.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) container: String,
    /// Empty for the container's first process.
    pub(crate) exec: String,
    pub(crate) pid: i32,
}

impl Subject {
    fn pid(&self) -> u32 {
        self.pid.cast_unsigned()
    }

    fn id(&self) -> String {
        if self.exec.is_empty() { self.container.clone() } else { self.exec.clone() }
    }
}

impl Events {
    pub(crate) fn new(publisher: RemotePublisher, namespace: &str) -> Self {
        Self { publisher, namespace: namespace.to_owned() }
    }

    pub(crate) async fn created(&self, subject: &Subject, bundle: &str, stdio: &Names) {
        let io = TaskIO {
            stdin: stdio.stdin.clone(),
            stdout: stdio.stdout.clone(),
            stderr: stdio.stderr.clone(),
            ..TaskIO::default()
        };
        let event = TaskCreate {
            container_id: subject.container.clone(),
            bundle: bundle.to_owned(),
            io: MessageField::some(io),
            pid: subject.pid(),
            ..TaskCreate::default()
        };
        self.publish(topics::TASK_CREATE_EVENT_TOPIC, Box::new(event)).await;
    }

    pub(crate) async fn exec_added(&self, subject: &Subject) {
        let event = TaskExecAdded {
            container_id: subject.container.clone(),
            exec_id: subject.exec.clone(),
            ..TaskExecAdded::default()
        };
        self.publish(topics::TASK_EXEC_ADDED_EVENT_TOPIC, Box::new(event)).await;
    }

    pub(crate) async fn started(&self, subject: &Subject) {
        let (container_id, pid) = (subject.container.clone(), subject.pid());
        if subject.exec.is_empty() {
            let event = TaskStart { container_id, pid, ..TaskStart::default() };
            return self.publish(topics::TASK_START_EVENT_TOPIC, Box::new(event)).await;
        }
        let exec_id = subject.exec.clone();
        let event = TaskExecStarted { container_id, exec_id, pid, ..TaskExecStarted::default() };
        self.publish(topics::TASK_EXEC_STARTED_EVENT_TOPIC, Box::new(event)).await;
    }

    pub(crate) async fn out_of_memory(&self, container: &str) {
        let event = TaskOOM { container_id: container.to_owned(), ..TaskOOM::default() };
        self.publish(topics::TASK_OOM_EVENT_TOPIC, Box::new(event)).await;
    }

    pub(crate) async fn exited(&self, subject: &Subject, exit: Exit) {
        let event = TaskExit {
            container_id: subject.container.clone(),
            id: subject.id(),
            pid: subject.pid(),
            exit_status: exit.status,
            exited_at: MessageField::some(timestamp(exit.at)),
            ..TaskExit::default()
        };
        self.publish(topics::TASK_EXIT_EVENT_TOPIC, Box::new(event)).await;
    }

    pub(crate) async fn deleted(&self, subject: &Subject, exit: Exit) {
        let event = TaskDelete {
            container_id: subject.container.clone(),
            pid: subject.pid(),
            exit_status: exit.status,
            exited_at: MessageField::some(timestamp(exit.at)),
            ..TaskDelete::default()
        };
        self.publish(topics::TASK_DELETE_EVENT_TOPIC, Box::new(event)).await;
    }

    pub(crate) async fn paused(&self, container: &str) {
        let event = TaskPaused { container_id: container.to_owned(), ..TaskPaused::default() };
        self.publish(topics::TASK_PAUSED_EVENT_TOPIC, Box::new(event)).await;
    }

    pub(crate) async fn resumed(&self, container: &str) {
        let event = TaskResumed { container_id: container.to_owned(), ..TaskResumed::default() };
        self.publish(topics::TASK_RESUMED_EVENT_TOPIC, Box::new(event)).await;
    }

    async fn publish(&self, topic: &str, event: Box<dyn MessageDyn>) {
        if let Err(error) = self.publisher.publish(Context::default(), topic, &self.namespace, event).await {
            log::warn!("containerd was not told {topic}: {error}");
        }
    }
}
