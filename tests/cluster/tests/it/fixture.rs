//! The shared cluster, pods of it, and asking them.

use std::time::Duration;

use anyhow::Result;
use wisp_cluster::{Cluster, Settings, Shared, ask, ask_until};

pub(crate) static CLUSTER: Shared = Shared::new(Settings::default);

/// What is asked for here takes about a second on an idle machine; this one may be building next door.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// A pod of the hello image, with more lines for its `spec`.
pub(crate) fn pod(name: &str, image: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\n\
         kind: Pod\n\
         metadata: {{name: {name}, labels: {{app: {name}}}}}\n\
         spec:\n  terminationGracePeriodSeconds: 0\n  containers: [{{name: hello, image: \"{image}\", ports: [{{containerPort: 8080}}]}}]\n{more}"
    )
}

/// A service for the pods of [`pod`].
pub(crate) fn service(name: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n\
         spec: {{selector: {{app: {name}}}, ports: [{{port: 80, targetPort: 8080}}]}}\n"
    )
}

/// Pushes the hello image as `name` and runs a pod of it, of that name too, with a service.
pub(crate) async fn run_hello(cluster: &Cluster, name: &str) {
    let image = cluster.registry().push(&format!("{name}:1"), &cluster.hello()).await.expect("the image is pushed");
    cluster.apply(&(pod(name, &image, "") + &service(name))).await.expect("the manifests are right");
    wait_ready(cluster, name).await;
}

pub(crate) async fn wait_ready(cluster: &Cluster, name: &str) {
    cluster.wait_ready(name, PATIENCE).await.unwrap_or_else(|error| panic!("{error:#}"));
}

/// One field of an object, by a path such as `{.status.podIP}`.
pub(crate) async fn field(cluster: &Cluster, object: &str, path: &str) -> String {
    cluster.field(object, path).await.expect("it exists")
}

/// Asks from this machine, until there is an answer.
pub(crate) async fn get(url: &str) -> String {
    ask_until(url, PATIENCE).await.expect("it answers in time")
}

pub(crate) async fn try_get(url: &str) -> Result<String> {
    ask(url, Duration::from_secs(6)).await
}
