//! The threads that serve clients. Each has a runtime of its own, and with it its clients and its connections to instances:
//! a warm request begins and ends on one thread, and wakes no other.
//!
//! What all of them share (the index, the slots, the lines) is behind locks that are held for the length of a look-up.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tokio::net::TcpStream;
use tokio::runtime::{self, Runtime};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::client::Place;
use crate::connection::{self, Shared};

/// Which worker: the index of its connections at each endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WorkerId(pub usize);

/// All workers. Dropping them cuts off what they still serve, and waits for their threads.
#[derive(Debug)]
pub(crate) struct Workers {
    workers: Vec<Worker>,
    abort: CancellationToken,
    /// Closed when the last worker has ended.
    ended: mpsc::Receiver<Infallible>,
}

#[derive(Debug)]
struct Worker {
    shared: Arc<Shared>,
    /// As many may be under way as there are places for clients. `None` once there will be no more.
    visitors: Option<mpsc::UnboundedSender<Visitor>>,
    thread: Option<JoinHandle<()>>,
}

/// A client that was accepted, on its way to its worker.
#[derive(Debug)]
struct Visitor {
    stream: std::net::TcpStream,
    client: IpAddr,
    place: Place,
    /// Counts it where it goes, from now on.
    counted: TaskTrackerToken,
}

impl Workers {
    /// Starts a thread for each.
    pub(crate) fn start(all: Vec<Shared>) -> io::Result<Self> {
        let abort = CancellationToken::new();
        let (alive, ended) = mpsc::channel(1);
        let mut workers = Self { workers: Vec::with_capacity(all.len()), abort, ended };
        for shared in all {
            let worker = Worker::start(Arc::new(shared), workers.abort.clone(), alive.clone())?;
            workers.workers.push(worker);
        }
        Ok(workers)
    }

    /// Gives a client to the worker that has the fewest.
    pub(crate) fn welcome(&self, stream: TcpStream, client: IpAddr, place: Place) -> io::Result<()> {
        let stream = stream.into_std()?;
        let Some(worker) = self.workers.iter().min_by_key(|worker| worker.shared.tasks.len()) else { return Ok(()) };
        let counted = worker.shared.tasks.token();
        if let Some(visitors) = &worker.visitors {
            // A worker that has ended closes the connection by dropping it.
            let _closed = visitors.send(Visitor { stream, client, place, counted });
        }
        Ok(())
    }

    /// Connections, and streams of HTTP/2, that are being served.
    pub(crate) fn in_flight(&self) -> usize {
        self.workers.iter().map(|worker| worker.shared.tasks.len()).sum()
    }

    /// Takes no more clients, and waits until all have gone.
    pub(crate) async fn finish(&mut self) {
        for worker in &mut self.workers {
            worker.visitors = None;
        }
        while self.ended.recv().await.is_some() {}
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.abort.cancel();
        for thread in self.workers.iter_mut().filter_map(|worker| worker.thread.take()) {
            if thread.join().is_err() {
                tracing::error!("a worker panicked; its clients were cut off");
            }
        }
    }
}

impl Worker {
    fn start(shared: Arc<Shared>, abort: CancellationToken, alive: mpsc::Sender<Infallible>) -> io::Result<Self> {
        let (visitors, arriving) = mpsc::unbounded_channel();
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let served = Arc::clone(&shared);
        let thread = thread::Builder::new().name(format!("activator-{}", shared.proxy.worker.0)).spawn(move || {
            run(runtime, served, arriving, &abort);
            drop(alive);
        })?;
        Ok(Self { shared, visitors: Some(visitors), thread: Some(thread) })
    }
}

/// Serves until no more clients can come and the last has gone, or until `abort`.
fn run(runtime: Runtime, shared: Arc<Shared>, arriving: mpsc::UnboundedReceiver<Visitor>, abort: &CancellationToken) {
    runtime.block_on(abort.run_until_cancelled(serve(shared, arriving)));
    // Tasks that are left end here. A look-up of a name, which has a thread of its own, is not waited for.
    runtime.shutdown_background();
}

async fn serve(shared: Arc<Shared>, mut arriving: mpsc::UnboundedReceiver<Visitor>) {
    while let Some(visitor) = arriving.recv().await {
        tokio::spawn(visitor.serve(Arc::clone(&shared)));
    }
    shared.tasks.close();
    shared.tasks.wait().await;
}

impl Visitor {
    async fn serve(self, shared: Arc<Shared>) {
        let Self { stream, client, place, counted } = self;
        let served = match TcpStream::from_std(stream) {
            Ok(stream) => connection::serve(shared, stream, client).await,
            Err(error) => Err(connection::ConnectionError::Begin(error)),
        };
        if let Err(error) = served {
            tracing::debug!(%error, %client, "a client's connection ended early");
        }
        drop((place, counted));
    }
}
