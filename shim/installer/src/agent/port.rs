//! The agent's admin port.

use std::sync::{Arc, Mutex, MutexGuard};

use http::StatusCode;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use wisp_chassis::admin::{self, Admin};

use super::ledger::Ledger;

/// What the agent shows of itself, published after each turn of its loop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    has_key: bool,
    has_node_key: bool,
    knows_all: bool,
    artifacts: usize,
    missing: Vec<String>,
}

impl Shown {
    pub(crate) fn publish(&self, ledger: &Ledger, has_key: bool, has_node_key: bool) {
        *self.state() = State {
            has_key,
            has_node_key,
            knows_all: ledger.knows_all(),
            artifacts: ledger.present().len(),
            missing: ledger.missing().map(|(name, _)| name.to_string()).collect(),
        };
    }

    /// A single artifact that cannot be fetched is one function's trouble, not this node's.
    fn is_ready(&self) -> bool {
        let state = self.state();
        state.has_key && state.has_node_key && state.knows_all
    }

    fn dump(&self) -> Value {
        let state = self.state();
        json!({
            "hasKey": state.has_key, "hasNodeKey": state.has_node_key, "knowsAllRevisions": state.knows_all,
            "artifacts": state.artifacts, "missing": state.missing,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic while held")
    }
}

/// Serves the port until `shutdown`.
pub(crate) async fn serve(listener: TcpListener, registry: Registry, shown: Shown, shutdown: CancellationToken) {
    let (ready, dump) = (shown.clone(), shown);
    let admin = Admin { registry, ready: Box::new(move || ready.is_ready()), dump: Box::new(move || dump.dump()) };
    let admin = Arc::new(admin);
    let respond = move |request| {
        let admin = Arc::clone(&admin);
        async move {
            let unknown = || admin::text(StatusCode::NOT_FOUND, "there is /live, /ready, /metrics and /dump\n");
            admin.respond(&request).unwrap_or_else(unknown)
        }
    };
    admin::serve(listener, respond, shutdown).await;
}
