//! The shim's own service, for what ctr has no command for.

use std::path::{Path, PathBuf};

use containerd_shim::protos::api::{CreateTaskRequest, DeleteRequest, KillRequest, UpdateTaskRequest, WaitRequest};
use containerd_shim::protos::protobuf::MessageField;
use containerd_shim::protos::protobuf::well_known_types::any::Any;
use containerd_shim::protos::shim_sync::{Client, TaskClient};
use containerd_shim::protos::ttrpc::Result;
use containerd_shim::protos::ttrpc::context;

use crate::node::Node;

/// Far more than any call takes.
const NANOS: i64 = 60_000_000_000;

/// A client of the daemon of one container.
pub(crate) struct Task(TaskClient);

/// Whether a terminal is asked for.
#[derive(PartialEq, Eq)]
pub(crate) enum Terminal {
    Wanted,
    None,
}

impl Node {
    /// The daemon of the container `id`.
    pub(crate) fn task(&self, id: &str) -> Task {
        let bundle = self.path("state").join("io.containerd.runtime.v2.task").join(&self.namespace).join(id);
        Task::at(&self.root(), &std::fs::read_to_string(bundle.join("address")).unwrap())
    }
}

impl Task {
    fn at(root: &Path, address: &str) -> Self {
        let socket = PathBuf::from(address.trim().trim_start_matches("unix://"));
        let socket = root.join(socket.strip_prefix("/").unwrap());
        Self(TaskClient::new(Client::connect(&format!("unix://{}", socket.display())).unwrap()))
    }

    pub(crate) fn create(&self, id: &str, bundle: &Path, terminal: Terminal) -> Result<u32> {
        let (bundle, terminal) = (bundle.to_str().unwrap().to_owned(), terminal == Terminal::Wanted);
        let request = CreateTaskRequest { id: id.to_owned(), bundle, terminal, ..CreateTaskRequest::default() };
        self.0.create(context::with_timeout(NANOS), &request).map(|response| response.pid)
    }

    pub(crate) fn kill(&self, id: &str, signal: u32) -> Result<()> {
        let request = KillRequest { id: id.to_owned(), signal, ..KillRequest::default() };
        self.0.kill(context::with_timeout(NANOS), &request).map(|_| ())
    }

    pub(crate) fn wait(&self, id: &str) -> u32 {
        let request = WaitRequest { id: id.to_owned(), ..WaitRequest::default() };
        self.0.wait(context::with_timeout(NANOS), &request).unwrap().exit_status
    }

    pub(crate) fn delete(&self, id: &str) -> Result<()> {
        let request = DeleteRequest { id: id.to_owned(), ..DeleteRequest::default() };
        self.0.delete(context::with_timeout(NANOS), &request).map(|_| ())
    }

    pub(crate) fn update(&self, id: &str, resources: MessageField<Any>) -> Result<()> {
        let request = UpdateTaskRequest { id: id.to_owned(), resources, ..UpdateTaskRequest::default() };
        self.0.update(context::with_timeout(NANOS), &request).map(|_| ())
    }
}
