//! Reaches pods of Wisp through the API server, as `kubectl port-forward` does: no ingress is needed, and no way into
//! the cluster's network.

use anyhow::{Context, anyhow};
use bytes::Bytes;
use http::{Method, Request};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use kube::api::Api;

use super::{ANSWER_TIMEOUT, Cluster, Denied, objects, said};
use crate::client::{self, Answer, RequestBody};

const ACTIVATOR: &str = "wisp-activator";
/// Of the Lease that the leading autoscaler holds.
const AUTOSCALER: &str = "wisp-autoscaler";
/// The name of every program's admin port in its pod.
const ADMIN_PORT: &str = "admin";

impl Cluster {
    /// Sends a request to an activator, which finds the function by its host.
    pub(crate) async fn send_to_activator(&self, request: Request<RequestBody>) -> anyhow::Result<Answer> {
        let sent = async {
            let services: Api<Service> = Api::namespaced(self.client.clone(), &self.system);
            let service = self.asked(services.get(ACTIVATOR)).await?;
            let pods = self.list::<Pod>(Some(&self.system), &selector(&service)).await?;
            let ready: Vec<&Pod> = pods.iter().filter(|pod| takes_requests(pod)).collect();
            let pod = fastrand::choice(ready).with_context(|| {
                format!("no activator is ready; see `kubectl -n {} get pods -l {}`", self.system, selector(&service))
            })?;
            let port = http_port(&service, pod).with_context(|| format!("service {ACTIVATOR} has no port"))?;
            self.forward(&pod.name_any(), port, request).await
        };
        let rights = "get services, list pods, and get and create pods/portforward";
        sent.await.map_err(|error| self.explained(error, "reach an activator", rights))
    }

    /// What the leading autoscaler says on its admin port.
    pub(crate) async fn ask_autoscaler(&self, path: &str) -> anyhow::Result<Bytes> {
        let asked = async {
            let leases: Api<Lease> = Api::namespaced(self.client.clone(), &self.system);
            let lease = self.asked(leases.get(AUTOSCALER)).await?;
            let leader = lease.spec.and_then(|spec| spec.holder_identity).filter(|holder| !holder.is_empty());
            let leader = leader.context("no autoscaler leads at the moment")?;
            let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.system);
            let pod = self.asked(pods.get(&leader)).await?;
            let port =
                named_port(&pod, ADMIN_PORT).with_context(|| format!("pod {leader} has no port {ADMIN_PORT}"))?;
            let request = client::bare(Method::GET, "localhost", path);
            anyhow::Ok(self.forward(&leader, port, request).await?.success().await?.whole().await?)
        };
        let rights = "get leases and pods, and get and create pods/portforward";
        let asked = tokio::time::timeout(ANSWER_TIMEOUT, asked).await;
        let asked = asked.unwrap_or_else(|_| Err(anyhow!("no answer for {ANSWER_TIMEOUT:?}")));
        asked.map_err(|error| self.explained(error, "ask the autoscaler", rights))
    }

    fn explained(&self, error: anyhow::Error, what: &str, rights: &str) -> anyhow::Error {
        let cannot = format!("cannot {what} through the API server");
        if error.is::<Denied>() {
            return error
                .context(format!("{cannot}; that needs the rights to {rights} in namespace {:?}", self.system));
        }
        error.context(cannot)
    }

    async fn forward(&self, pod: &str, port: u16, request: Request<RequestBody>) -> anyhow::Result<Answer> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.system);
        let mut forward = pods.portforward(pod, &[port]).await.map_err(said)?;
        let stream = forward.take_stream(port).expect("it was asked for");
        let refused = forward.take_error(port).expect("it was asked for");
        let answer = client::exchange(stream, format!("pod {pod}"), request);
        tokio::select! {
            biased;
            // The kubelet says why when it cannot connect; the connection alone only ends.
            Some(reason) = refused => Err(anyhow!("port {port} of pod {pod}: {}", reason.trim())),
            answer = answer => Ok(answer?),
        }
    }
}

fn selector(service: &Service) -> String {
    let labels = service.spec.iter().flat_map(|spec| spec.selector.iter().flatten());
    labels.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
}

fn takes_requests(pod: &Pod) -> bool {
    objects::is_ready(pod) && pod.metadata.deletion_timestamp.is_none()
}

/// Where the first port of a service leads in one of its pods.
fn http_port(service: &Service, pod: &Pod) -> Option<u16> {
    let port = service.spec.as_ref()?.ports.as_ref()?.first()?;
    match &port.target_port {
        Some(IntOrString::String(name)) => named_port(pod, name),
        Some(IntOrString::Int(number)) => u16::try_from(*number).ok(),
        None => u16::try_from(port.port).ok(),
    }
}

fn named_port(pod: &Pod, name: &str) -> Option<u16> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    let port = ports.find(|port| port.name.as_deref() == Some(name))?;
    u16::try_from(port.container_port).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod() -> Pod {
        let ports = json!([{"name": "http", "containerPort": 8080}, {"name": "admin", "containerPort": 9090}]);
        serde_json::from_value(json!({
            "metadata": {"name": "a"}, "spec": {"containers": [{"name": "activator", "ports": ports}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        }))
        .unwrap()
    }

    fn service(target: &Value) -> Service {
        let port = json!({"port": 80, "targetPort": target});
        serde_json::from_value(json!({"spec": {"selector": {"b": "2", "a": "1"}, "ports": [port]}})).unwrap()
    }

    #[test]
    fn a_services_port_is_found_in_its_pod_by_name_or_number() {
        let table =
            [(json!("http"), Some(8080)), (json!(8081), Some(8081)), (Value::Null, Some(80)), (json!("no"), None)];
        for (target, port) in table {
            assert_eq!(http_port(&service(&target), &pod()), port, "{target}");
        }
        assert_eq!(selector(&service(&Value::Null)), "a=1,b=2");
    }

    #[test]
    fn a_pod_that_goes_is_not_asked() {
        let mut pod = pod();
        assert!(takes_requests(&pod));
        pod.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        assert!(!takes_requests(&pod));
    }
}
