//! The state of one wasm instance: what WASI shows it, and what it may do.

use std::sync::Arc;

use tokio::time::Instant;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_config::WasiConfigVariables;
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::limits::{MemoryLimiter, RESOURCES_MAX};
use crate::meter::Meter;
use crate::outbound::OutboundHooks;
use crate::shared::Ledger;

/// All that host calls of one guest work on.
pub struct Guest {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    hooks: OutboundHooks,
    config: Arc<WasiConfigVariables>,
    memory: MemoryLimiter,
    account: Account,
}

/// Who pays for what a guest computes.
#[derive(Clone)]
pub enum Account {
    /// The one request that it has.
    One(Arc<Meter>),
    /// The requests in a shared wasm instance.
    Several(Arc<Ledger>),
}

/// What a [`Guest`] is made of.
pub struct GuestParts {
    /// Arguments, environment, files, standard streams.
    pub wasi: WasiCtx,
    /// Outgoing requests.
    pub hooks: OutboundHooks,
    /// `wasi:config/store`.
    pub config: Arc<WasiConfigVariables>,
    /// Bounds its memory.
    pub memory: MemoryLimiter,
    /// Who pays.
    pub account: Account,
}

impl Guest {
    /// A guest with nothing but `parts`.
    #[must_use]
    pub fn new(parts: GuestParts) -> Self {
        let GuestParts { wasi, hooks, config, memory, account } = parts;
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES_MAX);
        Self { wasi, http: WasiHttpCtx::new(), table, hooks, config, memory, account }
    }

    /// From now on the guest serves the request that `meter` belongs to, until `deadline`.
    pub fn begin_request(&mut self, meter: Arc<Meter>, deadline: Instant) {
        self.account = Account::One(meter);
        self.hooks.set_deadline(deadline);
    }

    /// The guest serves one more request besides those that it has, until `deadline`.
    pub fn add_request(&mut self, deadline: Instant) {
        self.hooks.extend_deadline(deadline);
    }

    /// The configuration that `wasi:config/store` shows.
    #[must_use]
    pub fn config(&self) -> &WasiConfigVariables {
        &self.config
    }

    /// Who pays for what it computes.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The limiter of its memory.
    pub fn memory(&mut self) -> &mut MemoryLimiter {
        &mut self.memory
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.hooks, table: &mut self.table, ctx: &mut self.http }
    }
}
