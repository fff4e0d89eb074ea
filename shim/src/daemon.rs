//! The daemon of a pod: answers containerd until the pod's last container is gone.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use containerd_shim::protos::shim_async::create_task;
use containerd_shim::protos::ttrpc::r#async::transport::Listener;
use containerd_shim::protos::ttrpc::r#async::{Server, Service as Methods};
use containerd_shim::publisher::RemotePublisher;
use containerd_shim::{Flags, logger};
use libcontainer::syscall::syscall::create_syscall;
use tokio::sync::Notify;

use crate::events::Events;
use crate::pod::Pod;
use crate::reaper::Reaper;
use crate::service::Service;
use crate::start::{READY, TTRPC_ADDRESS};
use crate::state_dir::StateDir;

/// The messages of both versions are the same; containerd asks for the one that was announced.
const TASK_SERVICES: [&str; 2] = ["containerd.task.v2.Task", "containerd.task.v3.Task"];
/// An answer is written in less than a millisecond.
const SHUTDOWN_MAX: Duration = Duration::from_secs(1);
/// What blocks is rare and short: removing a cgroup.
const BLOCKING_THREADS_MAX: usize = 2;
/// A thread that has nothing to do costs memory in every pod.
const BLOCKING_THREAD_IDLE: Duration = Duration::from_millis(200);

/// Listens, says so on standard output, and serves.
///
/// # Errors
/// When it cannot listen; the words are for whoever started it.
pub(crate) fn run(flags: &Flags) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_keep_alive(BLOCKING_THREAD_IDLE)
        .build()
        .map_err(|error| format!("runtime: {error}"))?;
    let served = runtime.block_on(serve(flags));
    // Whoever started it reads standard output, not standard error.
    served.map_err(|message| {
        print!("{message}");
        message
    })
}

async fn serve(flags: &Flags) -> Result<(), String> {
    let failed = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
    // Whoever started containerd may have left it a file that goes from program to program: not to a container's.
    create_syscall().close_range(0).map_err(|error| failed("descriptors", &error))?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|error| failed("subreaper", &error))?;
    logger::init(flags.debug, "info", &flags.namespace, &flags.id).map_err(|error| failed("log", &error))?;
    let children = Reaper::listen().map_err(|error| failed("signals", &error))?;
    let events = std::env::var(TTRPC_ADDRESS).map_err(|error| failed(TTRPC_ADDRESS, &error))?;
    let publisher = RemotePublisher::new(&events).await.map_err(|error| failed(&events, &error))?;
    let state = StateDir::of(&flags.namespace).map_err(|error| failed("namespace", &error))?;
    let reaper = Arc::new(Reaper::new());
    let pod = Pod::new(&flags.namespace, state, Arc::clone(&reaper), Events::new(publisher, &flags.namespace));
    let stop = Arc::new(Notify::new());
    let service = Service {
        pod: Arc::new(pod),
        containerd: flags.address.clone(),
        stop: Arc::clone(&stop),
        id: flags.id.clone(),
        last: AtomicBool::new(false),
    };

    let path = Path::new(flags.socket.trim_start_matches("unix://"));
    let mut server = listen(path, service).map_err(|error| failed(&flags.socket, &error))?;
    server.start().await.map_err(|error| failed(&flags.socket, &error))?;
    ready().map_err(|error| failed("standard output", &error))?;
    log::info!("serves the pod");
    tokio::select! {
        () = reaper.run(children) => {}
        () = stop.notified() => {}
    }
    // The last answer is on its way. Somebody who still waits for an answer that will not come must not keep us.
    if let Ok(Err(error)) = tokio::time::timeout(SHUTDOWN_MAX, server.shutdown()).await {
        log::warn!("shutdown: {error}");
    }
    std::fs::remove_file(path).map_err(|error| failed(&flags.socket, &error))
}

fn listen(path: &Path, service: Service) -> io::Result<Server> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    let listener = Listener::try_from(listener)?;
    let service = Arc::new(service);
    let mut server = Server::new().add_listener(listener);
    for name in TASK_SERVICES {
        let methods: Vec<Methods> = create_task(Arc::clone(&service) as _).into_values().collect();
        server = server.register_service(methods.into_iter().map(|methods| (name.to_owned(), methods)).collect());
    }
    Ok(server)
}

/// Says that containerd may come, and lets go of the pipe that says it.
fn ready() -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(READY.as_bytes())?;
    stdout.flush()?;
    let nowhere = OpenOptions::new().write(true).open("/dev/null")?;
    Ok(rustix::stdio::dup2_stdout(&nowhere)?)
}
