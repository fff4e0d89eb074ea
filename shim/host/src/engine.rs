//! Every wasmtime setting in one place, for the compiler and for the runner.
//!
//! Two engines, because the settings are a property of the world: a 0.2 guest needs none of the machinery for
//! concurrent tasks in one store, and pays for it with each call when it is there.

use std::sync::OnceLock;

use ring::digest;
use wasmtime::component::Linker;
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};
use wasmtime_wasi_config::WasiConfig;

use crate::context::Guest;
use crate::inspect::World;

/// Wasm instances that a warm host's pool has room for: a warm host makes its pool before it knows a spec, and 100 slots
/// are the default. Linear memory is only reserved, but each stack's guard page costs a system call at the start.
pub const WARM_POOL_SLOTS: u32 = 128;
/// The most slots that a revision can have; memory for that many reserves 6 TiB of the 128 TiB of address space.
pub const POOL_SLOTS_MAX: u32 = 1024;
/// Core instances, tables and memories that one component may have: adapters and shims make several per component.
const CORE_INSTANCES_PER_COMPONENT: u32 = 64;
const TABLES_PER_COMPONENT: u32 = 32;
const MEMORIES_PER_COMPONENT: u32 = 4;
/// Room in the pool per slot; most components have about four core instances and three tables.
const CORE_INSTANCES_PER_SLOT: u32 = 6;
const TABLES_PER_SLOT: u32 = 4;
/// Dirty pages up to this are cleared in place and stay mapped; above it they are given back to the system.
const MEMORY_KEEP_RESIDENT_BYTES: usize = 1 << 20;
const TABLE_KEEP_RESIDENT_BYTES: usize = 64 << 10;
/// The wasm stack, and the native stack under it: the host's own frames need the difference.
const WASM_STACK_BYTES: usize = 512 << 10;
const ASYNC_STACK_BYTES: usize = 1 << 20;
/// Bump when a change of Wisp itself makes stored artifacts useless.
const ARTIFACT_VERSION: &[u8] = b"wisp artifact 2";

/// What the engine is for. Settings that only one side needs do not change the code that is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Makes native code; runs nothing.
    Compile,
    /// Runs sealed code; cannot compile, so that nothing compiles while a request waits.
    Run {
        /// Wasm instances at once.
        slots: u32,
    },
    /// Runs one sealed command to its end; cannot compile either.
    RunOnce,
}

/// An engine and what its guests may link to.
pub struct Runtime {
    /// The engine.
    pub engine: Engine,
    /// All of WASI; what a guest may really do is decided by its context.
    pub linker: Linker<Guest>,
}

/// The runtimes of this process, each made when first needed.
pub struct Runtimes {
    role: Role,
    p2: OnceLock<Runtime>,
    p3: OnceLock<Runtime>,
}

/// The settings of the engine for `world`.
#[must_use]
pub fn engine_config(world: World, role: Role) -> Config {
    let mut config = Config::new();
    // Interrupts loops without counting instructions: a load and a compare at each loop head.
    config.epoch_interruption(true);
    // Functions are compiled once and run for long.
    config.cranelift_opt_level(OptLevel::Speed);
    // Traps are logged with the guest's function names, but without line tables: they would double the artifact.
    config.generate_address_map(false);
    // A fresh instance starts from a shared image of its memory; only pages that it writes are copied.
    config.memory_init_cow(true);
    config.max_wasm_stack(WASM_STACK_BYTES);
    config.async_stack_size(ASYNC_STACK_BYTES);
    // Only native profilers and C++ exceptions through wasm frames would read it.
    config.native_unwind_info(false);
    match world {
        World::P2 => config.concurrency_support(false),
        World::P3 => config.concurrency_support(true).wasm_component_model_async(true),
    };
    match role {
        // The compiler's process has a limit on address space; it allocates no instances.
        Role::Compile => config.parallel_compilation(true),
        Role::Run { slots } => {
            config.enable_compiler(false).allocation_strategy(InstanceAllocationStrategy::Pooling(pool(slots)))
        }
        // A pool pays when instances come and go; for one it only costs time at the start.
        Role::RunOnce => config.enable_compiler(false).allocation_strategy(InstanceAllocationStrategy::OnDemand),
    };
    config
}

/// A store's limiter enforces what a spec allows; the pool only has to have room for it.
fn pool(slots: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_stacks(slots)
        // With few slots, the largest component that is allowed must still find room.
        .total_memories(slots.max(MEMORIES_PER_COMPONENT))
        .total_core_instances((slots * CORE_INSTANCES_PER_SLOT).max(CORE_INSTANCES_PER_COMPONENT))
        .total_tables((slots * TABLES_PER_SLOT).max(TABLES_PER_COMPONENT))
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT)
        .max_tables_per_component(TABLES_PER_COMPONENT)
        .max_memories_per_component(MEMORIES_PER_COMPONENT)
        // A slot that served this component once has its image mapped: take those first.
        .max_unused_warm_slots(0)
        // Clearing by memset spares an madvise, its lock on the whole address space, and the page faults after it.
        .linear_memory_keep_resident(MEMORY_KEEP_RESIDENT_BYTES)
        .table_keep_resident(TABLE_KEEP_RESIDENT_BYTES)
        // Ask the kernel which pages are dirty and clear only those, where it can tell (Linux 6.7).
        .pagemap_scan(Enabled::Auto);
    pool
}

/// Names the code that this build of the compiler makes for `world` on this processor.
///
/// # Errors
/// When the engine cannot be made here.
pub fn compatibility_hash(world: World) -> wasmtime::Result<String> {
    let engine = Engine::new(&engine_config(world, Role::Compile))?;
    let mut hasher = DigestHasher(digest::Context::new(&digest::SHA256));
    hasher.0.update(ARTIFACT_VERSION);
    std::hash::Hash::hash(&engine.precompile_compatibility_hash(), &mut hasher);
    Ok(hex(&hasher.0.finish().as_ref()[..16]))
}

/// Lower-case hexadecimal digits of `bytes`.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The standard hasher may change with each release of Rust, this one does not: artifacts outlive a build.
struct DigestHasher(digest::Context);

impl std::hash::Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest = self.0.clone().finish();
        digest.as_ref().iter().take(8).fold(0, |sum, &byte| sum << 8 | u64::from(byte))
    }
}

impl Runtimes {
    /// Runtimes with room for `slots` wasm instances at once.
    #[must_use]
    pub fn new(slots: u32) -> Self {
        Self::of(Role::Run { slots: slots.clamp(1, POOL_SLOTS_MAX) })
    }

    /// Runtimes for one command.
    #[must_use]
    pub fn for_command() -> Self {
        Self::of(Role::RunOnce)
    }

    fn of(role: Role) -> Self {
        Self { role, p2: OnceLock::new(), p3: OnceLock::new() }
    }

    /// Wasm instances that there is room for.
    #[must_use]
    pub fn slots(&self) -> u32 {
        match self.role {
            Role::Run { slots } => slots,
            Role::RunOnce => 1,
            Role::Compile => 0,
        }
    }

    /// The runtime for `world`, made now if it is the first use.
    ///
    /// # Errors
    /// When the pool cannot reserve its address space, most likely because of a limit on virtual memory.
    pub fn get(&self, world: World) -> wasmtime::Result<&Runtime> {
        let cell = match world {
            World::P2 => &self.p2,
            World::P3 => &self.p3,
        };
        if let Some(runtime) = cell.get() {
            return Ok(runtime);
        }
        let runtime = Runtime::new(world, self.role)?;
        Ok(cell.get_or_init(|| runtime))
    }
}

impl Runtime {
    fn new(world: World, role: Role) -> wasmtime::Result<Self> {
        let engine = Engine::new(&engine_config(world, role))?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
        wasmtime_wasi_config::add_to_linker(&mut linker, |guest: &mut Guest| WasiConfig::from(guest.config()))?;
        if world == World::P3 {
            wasmtime_wasi::p3::add_to_linker(&mut linker)?;
            wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
        }
        Ok(Self { engine, linker })
    }
}
