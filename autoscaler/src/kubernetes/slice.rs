//! Where the leader is: the one EndpointSlice of the Service that has no selector.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tokio::time::timeout;
use wisp_chassis::backoff::Backoff;

use super::authority::Authority;

/// The Service, the EndpointSlice and the field manager.
pub(crate) const NAME: &str = "wisp-autoscaler";
/// The Service's port.
const PORT: &str = "control";
/// It is written again, should somebody have changed or removed it.
const REPEAT: Duration = Duration::from_secs(10);
/// One call of the API server.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// The first wait after it could not be written.
const RETRY_FIRST: Duration = Duration::from_millis(50);

/// Says that the leader is at `address`, as long as this process leads.
pub(crate) async fn publish(client: Client, namespace: String, address: SocketAddr, authority: Authority) {
    let slices: Api<EndpointSlice> = Api::namespaced(client, &namespace);
    let slice = slice(&namespace, address);
    let mut backoff = Backoff::new(RETRY_FIRST, REPEAT);
    while authority.is_given().await {
        let (parameters, patch) = (PatchParams::apply(NAME).force(), Patch::Apply(&slice));
        let wait = match timeout(CALL_TIMEOUT, slices.patch(NAME, &parameters, &patch)).await {
            Ok(Ok(_)) => {
                backoff.reset();
                REPEAT
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot say where the leader is; trying again");
                backoff.wait()
            }
            Err(_) => backoff.wait(),
        };
        tokio::select! {
            () = authority.ends() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

fn slice(namespace: &str, address: SocketAddr) -> serde_json::Value {
    let family = match address.ip() {
        IpAddr::V4(_) => "IPv4",
        IpAddr::V6(_) => "IPv6",
    };
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": NAME,
            "namespace": namespace,
            "labels": {
                "kubernetes.io/service-name": NAME,
                "endpointslice.kubernetes.io/managed-by": "wisp",
                "app.kubernetes.io/part-of": "wisp",
            },
        },
        "addressType": family,
        "endpoints": [{"addresses": [address.ip().to_string()], "conditions": {"ready": true}}],
        "ports": [{"name": PORT, "protocol": "TCP", "port": address.port()}],
    })
}
