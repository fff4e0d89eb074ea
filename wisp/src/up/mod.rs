//! `wisp up`: activator, autoscaler and a process fleet in one program.
//!
//! In the order of the data: [`manifest`] reads files and [`watch`] notices changes; [`deploy`] puts them into effect,
//! with [`component`] for the code, [`spec`] for what the other parts take, and [`state`] for what survives a restart;
//! [`fleet`] runs instances as the autoscaler asks; [`board`] and [`logs`] are what [`admin`] shows.

mod admin;
mod board;
mod clock;
mod component;
mod deploy;
mod fleet;
mod logs;
pub(crate) mod manifest;
mod progress;
pub(crate) mod spec;
mod state;
mod watch;

use std::net::SocketAddr;
use std::num::NonZero;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wisp_activator::{Activator, Index, Traces};
use wisp_autoscaler::{Actuation, Autoscaler, Handle};
use wisp_chassis::admin::Admin;
use wisp_chassis::control;
use wisp_host::compile::Compiler;
use wisp_host::store::ArtifactStore;

use crate::cli::UpArgs;

use self::admin::AdminPort;
use self::board::Board;
use self::component::Components;
use self::deploy::Deployer;
use self::fleet::{Fleet, HostProgram, Processes};
use self::logs::Logs;
use self::state::StateFolder;
use self::watch::Watch;

/// For all but requests, which have threads of their own. It is little work, and a thread that is not needed costs: it is
/// woken for events that the others would have seen too.
const CONTROL_THREADS: usize = 1;
/// Actuations that may wait for the fleet. Starting a process takes a millisecond or two.
const ACTUATIONS_WAITING: usize = 256;

/// Runs until the first signal, then drains; a second signal cuts everything off.
pub(crate) fn run(args: UpArgs, admin: SocketAddr) -> anyhow::Result<ExitCode> {
    use wisp_chassis::log::{Format, init};
    init(if args.log_json { Format::Json } else { Format::Text });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(CONTROL_THREADS).enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::new()?;
        let up = Up::build(&args, admin).await?;
        up.run(&args, &mut signals).await
    })
}

/// Everything that runs, in the order in which it is ended.
struct Up {
    /// Takes requests.
    activator: Part,
    /// Runs instances. Gives back where it is asked to, which stays open until nobody asks any more.
    fleet: Part<mpsc::Receiver<Actuation>>,
    /// Decides.
    autoscaler: Part,
    /// The hosts' streams.
    control: Part,
    admin: Part,
    deployer: Arc<Deployer>,
    logs: Arc<Logs>,
    listen: SocketAddr,
    admin_address: SocketAddr,
}

/// A task with its way to stop.
struct Part<T = ()> {
    task: JoinHandle<T>,
    stop: CancellationToken,
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Up {
    async fn build(args: &UpArgs, admin: SocketAddr) -> anyhow::Result<Self> {
        let state = Arc::new(StateFolder::open(&args.state)?);
        let run = state.fresh_run_folder()?;
        let store = ArtifactStore::open(&state.artifacts(), Compiler::current_program(["host", "compile"])?)?;
        let host = HostProgram {
            program: std::env::current_exe().context("cannot find this program's own file")?,
            control: run.join("control.sock"),
            run,
            seal_key: store.key_path(),
            allow_private_outbound: args.allow_private_outbound.clone(),
        };
        let mut registry = Registry::with_prefix("wisp");
        let mut config = wisp_activator::Config::new(args.listen, "embedded");
        config.workers = args.threads.unwrap_or_else(default_threads);
        config.traces = Traces::from_environment()?;
        let activator = Activator::build(config, &mut registry).context("give another address with --listen")?;
        let admin_listener = TcpListener::bind(admin).await;
        let admin_listener =
            admin_listener.with_context(|| format!("cannot listen on {admin}; give another address with --admin"))?;

        let (actuations, to_fleet) = mpsc::channel(ACTUATIONS_WAITING);
        let (autoscaler, handle) = start_autoscaler(args, actuations, &mut registry);
        let control = start_control(&host, &handle);
        let (logs, processes, board) = (Logs::new(), Processes::default(), Arc::new(Board::default()));
        let fleet = Fleet::new(host, handle.clone(), Arc::clone(&logs), processes.clone());
        let stop = CancellationToken::new();
        let fleet = Part { task: tokio::spawn(fleet.run(to_fleet, stop.clone())), stop };

        let (listen, index) = (activator.local_addr(), activator.index());
        let activator = start_activator(activator, &handle);
        let deployer = Arc::new(Deployer {
            components: Components::new(Arc::clone(&state), store),
            state,
            autoscaler: handle.clone(),
            index: Arc::clone(&index),
            board: Arc::clone(&board),
            logs: Arc::clone(&logs),
            domain: args.domain.clone(),
            functions: Mutex::default(),
        });
        let admin_address = admin_listener.local_addr()?;
        let stop = CancellationToken::new();
        let port = AdminPort {
            common: common(registry, &index),
            board,
            autoscaler: handle,
            index,
            logs: Arc::clone(&logs),
            processes,
            deployer: Arc::clone(&deployer),
            listen: listen.to_string(),
            port_suffix: port_suffix(listen),
            shutdown: stop.clone(),
        };
        let admin = start_admin(admin_listener, port, stop);
        Ok(Self { activator, fleet, autoscaler, control, admin, deployer, logs, listen, admin_address })
    }

    async fn run(self, args: &UpArgs, signals: &mut Signals) -> anyhow::Result<ExitCode> {
        let stop_watch = CancellationToken::new();
        let echo = tokio::spawn(progress::echo_logs(self.logs.follow()));
        let mut watch = Watch::new(&args.paths, Arc::clone(&self.deployer))?;
        let begun = tokio::select! {
            begun = progress::show(watch.begin(), &self.deployer.board) => Some(begun),
            () = signals.next() => None,
        };
        let watching = match begun {
            Some(begun) => {
                begun?;
                progress::banner(&self.deployer.board, &self.deployer.domain, self.listen, self.admin_address);
                let watching = tokio::spawn(watch.run(stop_watch.clone()));
                signals.next().await;
                Some(watching)
            }
            None => None,
        };
        eprintln!("draining; once more cuts off what is in flight");
        stop_watch.cancel();
        let code = tokio::select! {
            () = self.drain(watching) => ExitCode::SUCCESS,
            () = signals.next() => ExitCode::from(130),
        };
        echo.abort();
        Ok(code)
    }

    /// Ends everything, in an order in which nothing in flight is lost.
    async fn drain(self, watching: Option<JoinHandle<()>>) {
        if let Some(watching) = watching {
            ended("the watch", watching).await;
        }
        self.activator.end("the activator").await;
        // Before the autoscaler, which instances ask whether they may go.
        let _open = self.fleet.end("the fleet").await;
        self.autoscaler.end("the autoscaler").await;
        self.control.end("the control server").await;
        self.admin.end("the admin port").await;
    }
}

impl<T> Part<T> {
    async fn end(self, name: &str) -> Option<T> {
        self.stop.cancel();
        ended(name, self.task).await
    }
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

fn start_autoscaler(args: &UpArgs, actuations: mpsc::Sender<Actuation>, registry: &mut Registry) -> (Part, Handle) {
    let settings = wisp_autoscaler::Settings { warm_instances: args.warm, ..Default::default() };
    let metrics = wisp_autoscaler::Metrics::register(registry);
    let (autoscaler, handle) = Autoscaler::build(wisp_autoscaler::Config { settings, actuations, metrics });
    let stop = CancellationToken::new();
    let task = tokio::spawn(autoscaler.run(stop.clone()));
    (Part { task, stop }, handle)
}

fn start_control(host: &HostProgram, handle: &Handle) -> Part {
    let stop = CancellationToken::new();
    let (path, incoming, stopped) = (host.control.clone(), handle.incoming(), stop.clone());
    let task = tokio::spawn(async move {
        if let Err(error) = control::serve_unix(&path, incoming, stopped).await {
            tracing::error!(%error, socket = %path.display(), "instances cannot connect");
        }
    });
    Part { task, stop }
}

fn start_activator(activator: Activator, handle: &Handle) -> Part {
    let stop = CancellationToken::new();
    let link = control::local_demand_link(handle.incoming());
    Part { task: tokio::spawn(activator.run(link, stop.clone())), stop }
}

fn start_admin(listener: TcpListener, port: AdminPort, stop: CancellationToken) -> Part {
    let port = Arc::new(port);
    let handler = move |request| {
        let port = Arc::clone(&port);
        async move { port.respond(request).await }
    };
    Part { task: tokio::spawn(wisp_chassis::admin::serve(listener, handler, stop.clone())), stop }
}

fn common(registry: Registry, index: &Arc<Index>) -> Admin {
    let dumped = Arc::clone(index);
    Admin {
        registry,
        ready: Box::new(|| true),
        dump: Box::new(move || serde_json::to_value(dumped.snapshot()).unwrap_or_default()),
    }
}

/// Half of the cores: the other half is for instances, which do most of the work.
fn default_threads() -> NonZero<usize> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    NonZero::new(cores / 2).unwrap_or(NonZero::<usize>::MIN)
}

/// What a URL needs after its host: nothing for the usual port.
fn port_suffix(listen: SocketAddr) -> String {
    match listen.port() {
        80 => String::new(),
        port => format!(":{port}"),
    }
}

async fn ended<T>(name: &str, task: JoinHandle<T>) -> Option<T> {
    task.await.inspect_err(|error| tracing::error!(%error, "{name} ended by itself")).ok()
}
