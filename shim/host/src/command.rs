//! One `wasi:cli` command, run to its end in this process: what a container without a server is.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtx, WasiCtxBuilder};
use wasmtime_wasi_config::WasiConfigVariables;
use wisp_api::wire::Preopen;

use crate::context::{Account, Guest, GuestParts};
use crate::limits::{HOSTCALL_BYTES_MAX, MemoryLimiter, RANDOM_BYTES_MAX};
use crate::load::LoadedCommand;
use crate::meter::Meter;
use crate::metrics::Metrics;
use crate::outbound::{Network, OutboundHooks, Policy, PolicyError, Upstreams};
use crate::ticker::Ticker;

/// A command has no deadline; its outgoing requests end by the timeouts that it gives itself.
const NO_DEADLINE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// What a command is given.
#[derive(Clone, Debug)]
pub struct CommandSpec {
    /// Its arguments, the first of which is its name.
    pub args: Vec<String>,
    /// Its environment.
    pub env: Vec<(String, String)>,
    /// Folders that it sees.
    pub preopens: Vec<Preopen>,
    /// The folder that it is told it begins in.
    pub cwd: Option<String>,
    /// Whether it may use this machine's sockets.
    pub sockets: Sockets,
    /// Origins that it may call by `wasi:http`.
    pub outbound: Vec<String>,
    /// Addresses that it may not call, whatever name led there.
    pub network: Network,
    /// Linear memory, all of it together.
    pub memory_bytes: u64,
    /// How long it may compute; for ever if none.
    pub cpu_time: Option<Duration>,
}

/// Whether a guest may use sockets and look up names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Sockets {
    /// It has none; `wasi:http` is its only way out.
    #[default]
    Deny,
    /// All that the process has; what it reaches is the container's network's business.
    Allow,
}

/// How a command ended.
#[derive(Debug)]
pub enum Ended {
    /// By itself, with this code.
    Exited(u8),
    /// By a trap or a limit.
    Trapped(wasmtime::Error),
}

/// Why a command was not begun.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// A pattern of what it may call is wrong.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A folder is not there.
    #[error("cannot open folder {path} for the guest: {message}; mount it, and let this user read it")]
    Preopen {
        /// The folder.
        path: String,
        /// Why.
        message: String,
    },
    /// No thread for the clock.
    #[error("cannot start the clock thread: {0}; raise the limit on processes")]
    Ticker(#[from] std::io::Error),
}

/// Runs `command` to its end, on the thread that polls this. Its standard streams are this process's own.
///
/// # Errors
/// When `spec` asks for what cannot be given; the guest has not run then.
pub async fn run(command: LoadedCommand, spec: CommandSpec) -> Result<Ended, CommandError> {
    let metrics = Arc::new(Metrics::default());
    let meter = Arc::new(Meter::new(Instant::now(), spec.cpu_time.unwrap_or(Duration::MAX)));
    // Without a limit nobody needs the clock: a guest that only computes has its thread to itself.
    let _ticker = match spec.cpu_time {
        Some(_) => {
            metrics.try_enter(1);
            Some(Ticker::start(command.engine().clone(), Arc::clone(&metrics))?)
        }
        None => None,
    };
    let guest = guest(&spec, &command, &metrics, &meter)?;
    let mut store = Store::new(command.engine(), guest);
    store.limiter(|guest| guest.memory());
    store.set_hostcall_fuel(HOSTCALL_BYTES_MAX);
    store.set_epoch_deadline(1);
    let paying = Arc::clone(&meter);
    store.epoch_deadline_callback(move |_| {
        paying.check_cpu_time(Instant::now())?;
        Ok(UpdateDeadline::Continue(1))
    });
    Ok(match metered(&meter, call(command, &mut store)).await {
        Ok(Ok(())) => Ended::Exited(0),
        Ok(Err(())) => Ended::Exited(1),
        Err(error) => match error.downcast_ref::<I32Exit>() {
            // As the system does it: the lowest eight bits count.
            Some(I32Exit(code)) => Ended::Exited(code.to_le_bytes()[0]),
            None => Ended::Trapped(error),
        },
    })
}

async fn call(command: LoadedCommand, store: &mut Store<Guest>) -> wasmtime::Result<Result<(), ()>> {
    match command {
        LoadedCommand::P2(pre) => pre.instantiate_async(&mut *store).await?.wasi_cli_run().call_run(store).await,
        LoadedCommand::P3(pre) => {
            let command = pre.instantiate_async(&mut *store).await?;
            store.run_concurrent(async |accessor| command.wasi_cli_run().call_run(accessor).await).await?
        }
    }
}

/// Counts the time in which `future` is polled.
async fn metered<T>(meter: &Meter, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    poll_fn(|context| {
        meter.poll_begins(Instant::now());
        let polled = future.as_mut().poll(context);
        meter.poll_ends(Instant::now());
        polled
    })
    .await
}

fn guest(
    spec: &CommandSpec,
    command: &LoadedCommand,
    metrics: &Arc<Metrics>,
    meter: &Arc<Meter>,
) -> Result<Guest, CommandError> {
    let policy = Policy::parse(&spec.outbound)?;
    let upstreams = (!policy.is_empty()).then(|| Arc::new(Upstreams::new(policy, spec.network.clone())));
    Ok(Guest::new(GuestParts {
        wasi: wasi(spec, command)?,
        hooks: OutboundHooks::new(upstreams, Instant::now() + NO_DEADLINE),
        config: Arc::new(WasiConfigVariables::default()),
        memory: MemoryLimiter::new(spec.memory_bytes, Arc::clone(metrics)),
        account: Account::One(Arc::clone(meter)),
    }))
}

/// Everything that is not granted here is denied: the builder begins with nothing.
fn wasi(spec: &CommandSpec, command: &LoadedCommand) -> Result<WasiCtx, CommandError> {
    let mut wasi = WasiCtxBuilder::new();
    wasi.args(&spec.args).envs(&spec.env).inherit_stdio().max_random_size(RANDOM_BYTES_MAX);
    // A 0.2 guest waits for each call anyway, and no neighbour waits for this thread.
    wasi.allow_blocking_current_thread(matches!(command, LoadedCommand::P2(_)));
    if let Some(cwd) = &spec.cwd {
        wasi.initial_cwd(cwd);
    }
    for Preopen { host_path, guest_path, writable } in &spec.preopens {
        let permissions = if *writable { FsPerms::ReadWrite } else { FsPerms::ReadOnly };
        wasi.preopened_dir(host_path, guest_path, permissions)
            .map_err(|error| CommandError::Preopen { path: host_path.clone(), message: format!("{error:#}") })?;
    }
    if spec.sockets == Sockets::Allow {
        wasi.inherit_network().allow_tcp(true).allow_udp(true).allow_ip_name_lookup(true);
    }
    Ok(wasi.build())
}
