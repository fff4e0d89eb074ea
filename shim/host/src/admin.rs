//! The admin port of a host, where it is asked for: `/live`, `/ready`, `/metrics` and `/dump`. On a cluster a kubelet and
//! a scraper come; `wisp up` asks for none, since the autoscaler has each host's report.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wisp_chassis::admin::{self, Admin};

use crate::exposition;
use crate::handler::Host;

/// An admin port that is open; it answers until it is closed, so that a drain can be watched.
pub struct AdminPort {
    address: SocketAddr,
    serving: JoinHandle<()>,
    shutdown: CancellationToken,
}

impl AdminPort {
    /// Shows `host` on `address`.
    ///
    /// # Errors
    /// When the address is taken or not ours.
    pub async fn open(address: SocketAddr, host: Arc<Host>) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let (address, shutdown) = (listener.local_addr()?, CancellationToken::new());
        let serving = tokio::spawn(serve(listener, host, shutdown.clone()));
        Ok(Self { address, serving, shutdown })
    }

    /// Where it really listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it.
    pub async fn close(self) {
        self.shutdown.cancel();
        if let Err(error) = self.serving.await {
            tracing::error!(%error, "the admin port failed");
        }
    }
}

async fn serve(listener: TcpListener, host: Arc<Host>, shutdown: CancellationToken) {
    let (asked, dumped) = (Arc::clone(&host), Arc::clone(&host));
    let admin = Arc::new(Admin {
        registry: exposition::registry(Arc::clone(host.metrics())),
        ready: Box::new(move || asked.is_ready()),
        dump: Box::new(move || dump(&dumped)),
    });
    let handler = move |request| {
        let admin = Arc::clone(&admin);
        async move {
            let unknown = || admin::text(http::StatusCode::NOT_FOUND, "there is /live, /ready, /metrics and /dump\n");
            admin.respond(&request).unwrap_or_else(unknown)
        }
    };
    admin::serve(listener, handler, shutdown).await;
}

fn dump(host: &Host) -> Value {
    let metrics = host.metrics();
    let revision = host.revision().map(|revision| {
        let limits = &revision.limits;
        let shared = revision.shared().map(|shared| {
            let each = shared.snapshot();
            let each = each.iter().map(|instance| {
                json!({ "in_flight": instance.in_flight, "left": instance.left, "takes_more": instance.takes_more })
            });
            each.collect::<Vec<_>>()
        });
        json!({
            "name": revision.name,
            "slots": limits.slots,
            "reuse_requests": limits.reuse_requests,
            "timeout_millis": limits.timeout.as_millis() as u64,
            "cpu_time_millis": limits.cpu_time.as_millis() as u64,
            "memory_bytes": limits.memory_bytes,
            "request_body_bytes": limits.request_body_bytes,
            "shared_wasm_instances": shared,
        })
    });
    json!({
        "ready": host.is_ready(),
        "revision": revision,
        "in_flight": metrics.in_flight(),
        "started": metrics.started.load(Relaxed),
        "finished": metrics.finished.load(Relaxed),
        "failed": metrics.failed.load(Relaxed),
        "refused": metrics.refused.load(Relaxed),
        "guest_memory_bytes": metrics.guest_memory_bytes.load(Relaxed),
    })
}
