//! The admin port. `/dump` is the fleet; the rest is what every process has.

use std::sync::Arc;

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
    handle: Handle,
}

impl Port {
    pub(crate) fn new(registry: Registry, handle: Handle) -> Self {
        let ready = Box::new(|| true);
        // The fleet is asked by a message; see `respond`.
        let dump = Box::new(|| serde_json::Value::Null);
        Self { common: Admin { registry, ready, dump }, handle }
    }

    async fn respond(&self, request: Request<Incoming>) -> Response<Body> {
        if request.uri().path() == "/dump" {
            return match self.handle.snapshot().await {
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
