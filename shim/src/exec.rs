//! Starts another process in a container, for the same reasons in a process of its own as `create`.

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::container::{Container, ContainerStatus};
use libcontainer::syscall::syscall::SyscallType;
use oci_spec::runtime::{Process, Spec};

use crate::create::{CreateError, chain};
use crate::executor::Launcher;
use crate::filter::Filter;
use crate::order::{Exec, Kind, Made};
use crate::state_dir::StateDir;

/// Starts the process that `order` names; it runs when this returns.
///
/// # Errors
/// With the reason, such as a program that is not in the image.
pub(crate) fn exec(order: &Exec) -> Result<Made, CreateError> {
    let oci = |error: libcontainer::error::LibcontainerError| CreateError::Oci(chain(&error));
    let state = StateDir::of(&order.namespace);
    let state = state.map_err(|source| CreateError::Io { what: "namespace".to_owned(), source })?;
    // The daemon starts containers by itself; libcontainer wants to have been told before another process joins.
    let mut container = Container::load(state.oci().join(&order.id)).map_err(oci)?;
    container.set_status(ContainerStatus::Running).save().map_err(oci)?;
    let filter = filter(order, &state)?;
    let given = order.stdio.give()?;
    let pid = ContainerBuilder::new(order.id.clone(), SyscallType::default())
        .with_root_path(state.oci())
        .map_err(oci)?
        .with_executor(Launcher::joining(filter))
        .with_stdin(given.stdin)
        .with_stdout(given.stdout)
        .with_stderr(given.stderr)
        .as_tenant()
        .with_process(Some(state.process(&order.id, &order.exec_id)))
        .with_detach(true)
        .build()
        .map_err(oci)?;
    Ok(Made { pid: pid.as_raw(), kind: Kind::Linux })
}

/// The filter of the container, and in the file that describes the process what that needs to load it.
fn filter(order: &Exec, state: &StateDir) -> Result<Option<Filter>, CreateError> {
    let unreadable = |error: &dyn std::error::Error| CreateError::Oci(chain(error));
    let spec = Spec::load(state.bundle(&order.id).join("config.json")).map_err(|error| unreadable(&error))?;
    let file = state.process(&order.id, &order.exec_id);
    let io = |source| CreateError::Io { what: "description of the process".to_owned(), source };
    let mut process: Process =
        serde_json::from_slice(&std::fs::read(&file).map_err(io)?).map_err(|error| unreadable(&error))?;
    let filter = Filter::of(&spec, &mut process).map_err(CreateError::Executor)?;
    let described = serde_json::to_vec(&process).map_err(|error| unreadable(&error))?;
    std::fs::write(&file, described).map_err(io)?;
    Ok(filter)
}
