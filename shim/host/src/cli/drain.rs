//! Serving until a signal says to end, and ending gently.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

use crate::exit::Exit;
use crate::handler::Host;
use crate::server::{self, Listener, Stop};

/// Beyond the request timeout, for answers that are being written.
const DRAIN_MARGIN: Duration = Duration::from_secs(2);

/// What tells a process to end. Caught from when this is made: a container's first process gets no signal that it does
/// not catch.
pub(super) struct Signals {
    term: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn catch() -> io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for one, and says how a process ends that does nothing else about it.
    pub(super) async fn recv(&mut self) -> Exit {
        tokio::select! {
            _ = self.term.recv() => Exit::Terminated,
            _ = self.interrupt.recv() => Exit::Interrupted,
        }
    }
}

/// Serves until a signal, and then until what is in flight has ended, for as long as a request may take.
pub(super) async fn serve_until(
    mut signals: Signals,
    host: Arc<Host>,
    listener: Listener,
    timeout_of_requests: Duration,
) -> anyhow::Result<Exit> {
    let stop = Stop::default();
    let mut serving = tokio::spawn(server::serve(listener, Arc::clone(&host), stop.clone()));
    tokio::select! {
        _ = signals.recv() => {}
        ended = &mut serving => ended?,
    }
    host.leave();
    // What is in flight or has been sent is served, and so is what follows on open connections before they close.
    stop.drain.cancel();
    if timeout(timeout_of_requests + DRAIN_MARGIN, &mut serving).await.is_ok() {
        return Ok(Exit::Drained);
    }
    stop.cut.cancel();
    serving.await?;
    Ok(Exit::Cut)
}
