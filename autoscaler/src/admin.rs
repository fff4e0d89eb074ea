//! The admin port. `/dump` is the fleet, `/api/functions/<namespace>/<name>/decisions` why a function has the number that
//! it has, as `wisp up` tells it; the rest is what every process has.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use wisp_api::{FunctionKey, RevisionKey};
use wisp_autoscaler::{Handle, HandleError, Snapshot, Traffic};
use wisp_chassis::admin::{self, Admin, Body};

const PATHS: &str = "there is /live, /ready, /metrics, /dump and /api/functions/<namespace>/<name>/decisions\n";

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

    async fn respond<B>(&self, request: Request<B>) -> Response<Body> {
        let parts: Vec<&str> = request.uri().path().trim_matches('/').split('/').collect();
        match (request.method(), parts.as_slice()) {
            (_, ["dump"]) => self.dump().await,
            (&Method::GET, ["api", "functions", namespace, name, "decisions"]) => {
                let revision = request.uri().query().and_then(|query| query.strip_prefix("revision="));
                self.decisions(&FunctionKey::new(*namespace, *name), revision).await
            }
            _ => self.common.respond(&request).unwrap_or_else(|| admin::text(StatusCode::NOT_FOUND, PATHS)),
        }
    }

    async fn dump(&self) -> Response<Body> {
        let Some(handle) = self.handle.get() else { return admin::json(&"standing by; another leads") };
        match handle.snapshot().await {
            Ok(snapshot) => admin::json(&snapshot),
            Err(error) => unavailable(&error),
        }
    }

    /// The last decisions of one revision of a function, or of each that gets traffic.
    async fn decisions(&self, function: &FunctionKey, revision: Option<&str>) -> Response<Body> {
        let Some(handle) = self.handle.get() else {
            return admin::text(StatusCode::SERVICE_UNAVAILABLE, "standing by; ask the one that leads\n");
        };
        let revisions = match revision {
            Some(name) => vec![RevisionKey::new(&function.namespace, name)],
            None => match handle.snapshot().await {
                Ok(snapshot) => with_traffic(&snapshot),
                Err(error) => return unavailable(&error),
            },
        };
        let mut answer = BTreeMap::new();
        for key in revisions.into_iter().filter(|key| key.function() == *function) {
            match handle.explain(&key).await {
                Ok(Some(decisions)) => drop(answer.insert(key.name, decisions)),
                Ok(None) => {}
                Err(error) => return unavailable(&error),
            }
        }
        match revision {
            Some(name) if answer.is_empty() => {
                admin::text(StatusCode::NOT_FOUND, format!("{function} has no revision {name} in effect\n"))
            }
            _ => admin::json(&answer),
        }
    }
}

fn with_traffic(snapshot: &Snapshot) -> Vec<RevisionKey> {
    let active = snapshot.revisions.iter().filter(|revision| revision.traffic == Traffic::Active);
    active.filter_map(|revision| revision.revision.parse().ok()).collect()
}

fn unavailable(error: &HandleError) -> Response<Body> {
    admin::text(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n"))
}

/// Serves the port until `shutdown`.
pub(crate) async fn serve(listener: TcpListener, port: Port, shutdown: CancellationToken) {
    let port = Arc::new(port);
    let respond = move |request: Request<Incoming>| {
        let port = Arc::clone(&port);
        async move { port.respond(request).await }
    };
    admin::serve(listener, respond, shutdown).await;
}
