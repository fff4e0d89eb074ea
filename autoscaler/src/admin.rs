//! The admin port. `/dump` is the fleet; the rest is what every process has.

use std::sync::{Arc, OnceLock};

use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use wisp_autoscaler::Handle;
use wisp_chassis::admin::{self, Admin, Body};

/// What the admin port shows.
pub(crate) struct Port {
    common: Admin,
    handle: Arc<OnceLock<Handle>>,
}

/// Tells the port that this process leads.
pub(crate) struct Leads(Arc<OnceLock<Handle>>);

impl Leads {
    pub(crate) fn begin(self, handle: Handle) {
        self.0.get_or_init(|| handle);
    }
}

impl Port {
    pub(crate) fn new(registry: Registry, handle: Handle) -> Self {
        let (port, leads) = Self::standby(registry);
        leads.begin(handle);
        port
    }

    /// Of a process that may lead later. It is ready: it does what a standby can.
    pub(crate) fn standby(registry: Registry) -> (Self, Leads) {
        let ready = Box::new(|| true);
        // The fleet is asked by a message; see `respond`.
        let dump = Box::new(|| serde_json::Value::Null);
        let handle = Arc::new(OnceLock::new());
        let port = Self { common: Admin { registry, ready, dump }, handle: Arc::clone(&handle) };
        (port, Leads(handle))
    }

    async fn respond(&self, request: Request<Incoming>) -> Response<Body> {
        if request.uri().path() == "/dump" {
            let Some(handle) = self.handle.get() else { return admin::json(&"standing by; another leads") };
            return match handle.snapshot().await {
                Ok(snapshot) => admin::json(&snapshot),
                Err(error) => admin::text(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
            };
        }
        let unknown = || admin::text(StatusCode::NOT_FOUND, "there is /live, /ready, /metrics and /dump\n");
        self.common.respond(&request).unwrap_or_else(unknown)
    }
}

/// Serves the port until `shutdown`.
pub(crate) async fn serve(listener: TcpListener, port: Port, shutdown: CancellationToken) {
    let port = Arc::new(port);
    let respond = move |request| {
        let port = Arc::clone(&port);
        async move { port.respond(request).await }
    };
    admin::serve(listener, respond, shutdown).await;
}
