//! The clock of epochs: a thread that ticks while requests are in flight and sleeps while none are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use wasmtime::Engine;

use crate::metrics::Metrics;

/// How often a computing guest yields and its CPU time is looked at: long against a context switch, short against
/// what a neighbour in the same process would notice.
pub const TICK: Duration = Duration::from_millis(10);
/// Ticks without a request before the thread goes to sleep. Waking it costs the next request a system call, so it
/// is not done between the requests of one client.
const IDLE_TICKS: u32 = 50;

/// A running clock; stops when dropped.
pub struct Ticker {
    state: Arc<State>,
    thread: Thread,
    handle: Option<JoinHandle<()>>,
}

struct State {
    asleep: AtomicBool,
    stop: AtomicBool,
}

impl Ticker {
    /// Ticks `engine` while `metrics` says that requests are in flight.
    ///
    /// # Errors
    /// When the system allows no further thread.
    pub fn start(engine: Engine, metrics: Arc<Metrics>) -> std::io::Result<Self> {
        let state = Arc::new(State { asleep: AtomicBool::new(false), stop: AtomicBool::new(false) });
        let run = {
            let state = Arc::clone(&state);
            move || tick(&state, &engine, &metrics)
        };
        // It calls nothing deep.
        let handle = std::thread::Builder::new().name("ticker".to_owned()).stack_size(64 << 10).spawn(run)?;
        Ok(Self { state, thread: handle.thread().clone(), handle: Some(handle) })
    }

    /// To be called after a request was counted as in flight.
    pub fn wake(&self) {
        if self.state.asleep.load(SeqCst) {
            self.thread.unpark();
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.state.stop.store(true, SeqCst);
        self.thread.unpark();
        if let Some(handle) = self.handle.take() {
            let _ = handle.join();
        }
    }
}

fn tick(state: &State, engine: &Engine, metrics: &Metrics) {
    let mut idle_ticks = 0;
    while !state.stop.load(SeqCst) {
        std::thread::park_timeout(TICK);
        if metrics.in_flight() > 0 {
            idle_ticks = 0;
            engine.increment_epoch();
            continue;
        }
        idle_ticks += 1;
        if idle_ticks >= IDLE_TICKS {
            // Requests are counted before they look at `asleep`, so either we see the request or it sees us asleep.
            state.asleep.store(true, SeqCst);
            while metrics.in_flight() == 0 && !state.stop.load(SeqCst) {
                std::thread::park();
            }
            state.asleep.store(false, SeqCst);
            idle_ticks = 0;
        }
    }
}
