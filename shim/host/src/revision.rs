//! A revision that a host can serve: its code, its limits, and all that its instances share.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;
use wasmtime::component::Component;
use wasmtime::{Store, StoreContextMut, UpdateDeadline};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder};
use wasmtime_wasi_config::WasiConfigVariables;
use wasmtime_wasi_http::handler::{Proxy, ProxyPre};
use wisp_api::wire::{HostSpec, Preopen};

use crate::context::{Account, Guest, GuestParts};
use crate::limits::{HOSTCALL_BYTES_MAX, Limits, MemoryLimiter, RANDOM_BYTES_MAX};
use crate::load::Loaded;
use crate::meter::Meter;
use crate::metrics::Metrics;
use crate::outbound::{Network, OutboundHooks, Policy, PolicyError, Upstreams};
use crate::shared::{Ledger, SharedInstances};
use crate::stdio::GuestOutput;
use crate::ticker::Ticker;

/// How long a reusable instance waits for its next request before its memory is given back.
pub(crate) const PARKED_FOR: Duration = Duration::from_secs(1);

/// One revision, ready to serve.
pub struct Revision {
    /// `<namespace>/<revision>`.
    pub name: String,
    /// What a request may use.
    pub limits: Limits,
    /// Counters of the host.
    pub metrics: Arc<Metrics>,
    loaded: Loaded,
    args: Vec<String>,
    env: Vec<(String, String)>,
    preopens: Vec<Mount>,
    config: Arc<WasiConfigVariables>,
    output: Option<Arc<GuestOutput>>,
    upstreams: Option<Arc<Upstreams>>,
    parked: Mutex<Parking>,
    /// Where several requests may be in one wasm instance.
    shared: Option<Arc<SharedInstances>>,
    ticker: Ticker,
}

/// A wasm instance with its store.
pub struct Instance {
    /// Its memory and state.
    pub store: Store<Guest>,
    /// Its exports.
    pub proxy: Proxy,
    /// Requests that it has been given.
    pub requests: u32,
}

/// Instances that wait for their next request, oldest first.
#[derive(Default)]
struct Parking {
    instances: Vec<Parked>,
    /// A task looks after old ones.
    swept: bool,
}

struct Parked {
    instance: Instance,
    since: Instant,
}

struct Mount {
    host_path: PathBuf,
    guest_path: String,
    permissions: FsPerms,
    /// Set when the folder is the instance's own and goes with it.
    _own: Option<TempDir>,
}

/// Why a spec cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum RevisionError {
    /// A pattern of `capabilities.outbound` is wrong.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A folder is not there.
    #[error("cannot open folder {path} for the guest: {message}")]
    Preopen {
        /// The folder.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// No thread for the clock.
    #[error("cannot start the clock thread: {0}; raise the limit on processes")]
    Ticker(#[from] std::io::Error),
}

impl Revision {
    /// Makes `spec` servable with its loaded code.
    ///
    /// # Errors
    /// When the spec asks for what cannot be given; every instance would fail the same way.
    pub fn new(
        spec: HostSpec,
        loaded: Loaded,
        metrics: Arc<Metrics>,
        network: &Network,
    ) -> Result<Self, RevisionError> {
        let limits = Limits::new(&spec.limits.unwrap_or_default(), &spec.concurrency.unwrap_or_default());
        let policy = Policy::parse(&spec.outbound)?;
        let ticker = Ticker::start(engine_of(&loaded).clone(), Arc::clone(&metrics))?;
        // A 0.2 guest can do only one thing at a time.
        let concurrent = matches!(&*loaded.pre, ProxyPre::P3(_)) && limits.reuse_requests > 1;
        let shared = concurrent.then(Arc::default);
        let revision = Self {
            name: format!("{}/{}", spec.namespace, spec.revision),
            limits,
            loaded,
            args: spec.args,
            env: sorted(spec.env),
            preopens: spec.preopens.into_iter().map(Mount::new).collect::<Result<_, _>>()?,
            config: Arc::new(spec.config.into_iter().collect()),
            output: spec.inherit_stdio.then(|| Arc::new(GuestOutput::new(Arc::clone(&metrics)))),
            upstreams: (!policy.is_empty()).then(|| Arc::new(Upstreams::new(policy, network.clone()))),
            parked: Mutex::default(),
            shared,
            metrics,
            ticker,
        };
        revision.wasi()?;
        Ok(revision)
    }

    /// A request was counted as in flight: the clock must run.
    pub fn request_admitted(&self) {
        self.ticker.wake();
    }

    /// An instance for the request of `meter`: a parked one, or a new one.
    ///
    /// # Errors
    /// When the pool is exhausted, or the component's start or its memory's size fails.
    pub async fn instance(&self, meter: &Arc<Meter>, deadline: Instant) -> wasmtime::Result<Instance> {
        if self.limits.reuse_requests > 1
            && let Some(mut instance) = self.unpark()
        {
            instance.store.data_mut().begin_request(Arc::clone(meter), deadline);
            instance.store.set_epoch_deadline(1);
            instance.requests += 1;
            return Ok(instance);
        }
        self.new_instance(meter, Account::One(Arc::clone(meter)), deadline).await
    }

    /// A new instance for several requests at once, who pay by `ledger`; the first is that of `meter`.
    ///
    /// # Errors
    /// As for [`Self::instance`].
    pub async fn shared_instance(&self, meter: &Meter, ledger: Arc<Ledger>) -> wasmtime::Result<Instance> {
        self.new_instance(meter, Account::Several(ledger), meter.origin() + self.limits.timeout).await
    }

    /// The wasm instances that serve several requests at once, if this revision has such.
    #[must_use]
    pub fn shared(&self) -> Option<&Arc<SharedInstances>> {
        self.shared.as_ref()
    }

    async fn new_instance(&self, meter: &Meter, account: Account, deadline: Instant) -> wasmtime::Result<Instance> {
        let began = Instant::now();
        let mut store = self.store(account, deadline)?;
        let proxy = self.loaded.pre.instantiate_async(&mut store).await?;
        let took = began.elapsed();
        meter.set_instantiate(took);
        self.metrics.instantiate.record(took);
        Ok(Instance { store, proxy, requests: 1 })
    }

    /// Keeps `instance` for a next request if it may serve one.
    pub fn park(self: &Arc<Self>, instance: Instance) {
        if instance.requests >= self.limits.reuse_requests {
            return;
        }
        let mut parked = self.parked.lock().expect("no panic while held");
        parked.instances.push(Parked { instance, since: Instant::now() });
        if !std::mem::replace(&mut parked.swept, true) {
            tokio::spawn(Arc::clone(self).sweep());
        }
    }

    /// Most recently used first: its memory is in the cache, and the others grow old.
    fn unpark(&self) -> Option<Instance> {
        let mut parked = self.parked.lock().expect("no panic while held");
        parked.instances.pop().map(|parked| parked.instance)
    }

    /// Gives back what nobody came for. Ends when nothing is parked.
    async fn sweep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(PARKED_FOR).await;
            let now = Instant::now();
            let mut parked = self.parked.lock().expect("no panic while held");
            let old = parked.instances.iter().take_while(|parked| now - parked.since >= PARKED_FOR).count();
            let old: Vec<Parked> = parked.instances.drain(..old).collect();
            let finished = parked.instances.is_empty();
            parked.swept = !finished;
            drop(parked);
            drop(old);
            if finished {
                return;
            }
        }
    }

    fn store(&self, account: Account, deadline: Instant) -> wasmtime::Result<Store<Guest>> {
        let guest = Guest::new(GuestParts {
            wasi: self.wasi().map_err(wasmtime::Error::new)?,
            hooks: OutboundHooks::new(self.upstreams.clone(), deadline),
            config: Arc::clone(&self.config),
            memory: MemoryLimiter::new(self.limits.memory_bytes, Arc::clone(&self.metrics)),
            account,
        });
        let mut store = Store::new(engine_of(&self.loaded), guest);
        store.limiter(|guest| guest.memory());
        store.set_hostcall_fuel(HOSTCALL_BYTES_MAX);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(on_tick);
        Ok(store)
    }

    /// Everything that is not granted here is denied: the builder begins with nothing.
    fn wasi(&self) -> Result<WasiCtx, RevisionError> {
        let mut wasi = WasiCtxBuilder::new();
        wasi.args(&self.args).envs(&self.env).max_random_size(RANDOM_BYTES_MAX);
        for mount in &self.preopens {
            wasi.preopened_dir(&mount.host_path, &mount.guest_path, mount.permissions).map_err(|error| {
                RevisionError::Preopen { path: mount.host_path.clone(), message: format!("{error:#}") }
            })?;
        }
        if let Some(output) = &self.output {
            wasi.stdout(output.stdout()).stderr(output.stderr());
        }
        Ok(wasi.build())
    }
}

/// Runs inside a computing guest at each tick: stop it, or let others have the thread for a turn.
fn on_tick(mut guest: StoreContextMut<'_, Guest>) -> wasmtime::Result<UpdateDeadline> {
    match guest.data().account().clone() {
        Account::One(meter) => meter.check_cpu_time(Instant::now())?,
        // The last of the stack is the call that the host made.
        Account::Several(ledger) => ledger.tick(guest.async_call_stack()?.last(), Instant::now())?,
    }
    Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
}

fn engine_of(loaded: &Loaded) -> &wasmtime::Engine {
    let component: &Component = match &*loaded.pre {
        ProxyPre::P2(pre) => pre.instance_pre().component(),
        ProxyPre::P3(pre) => pre.instance_pre().component(),
    };
    component.engine()
}

/// The order in which a guest sees its environment should not change from start to start.
fn sorted(env: impl IntoIterator<Item = (String, String)>) -> Vec<(String, String)> {
    let mut env: Vec<_> = env.into_iter().collect();
    env.sort();
    env
}

impl Mount {
    fn new(preopen: Preopen) -> Result<Self, RevisionError> {
        let own = if preopen.host_path.is_empty() { Some(own_folder()?) } else { None };
        let host_path = own.as_ref().map_or_else(|| preopen.host_path.into(), |folder| folder.path().to_owned());
        let permissions = if preopen.writable { FsPerms::ReadWrite } else { FsPerms::ReadOnly };
        Ok(Self { host_path, guest_path: preopen.guest_path, permissions, _own: own })
    }
}

/// An empty folder, removed when it is dropped.
fn own_folder() -> Result<TempDir, RevisionError> {
    TempDir::with_prefix("wisp-")
        .map_err(|error| RevisionError::Preopen { path: std::env::temp_dir(), message: error.to_string() })
}
