//! Functions, as tests write and watch them.

use std::time::Duration;

use serde_json::{Value, json};
use wisp_cluster::{Cluster, until};

use crate::client::{Client, is_known};
use crate::platform::{DOMAIN, PATIENCE, SYSTEM, look};

/// Each look starts a kubectl, which is no small thing where cores are few.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// Where an activator's pod takes requests.
const ACTIVATOR_PORT: u16 = 8080;

/// A function's manifest, as a sentence.
#[derive(Clone, Debug)]
pub struct Function {
    /// Of the object.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its spec.
    pub spec: Value,
}

/// The smallest component, from the registry.
#[must_use]
pub fn hello(cluster: &Cluster, name: &str) -> Function {
    function(cluster, name, "hello")
}

/// A function of one of the tests' components.
#[must_use]
pub fn function(cluster: &Cluster, name: &str, component: &str) -> Function {
    let image = format!("{}/{component}:1", cluster.registry().address());
    Function { name: name.to_owned(), namespace: "default".to_owned(), spec: json!({"component": {"image": image}}) }
}

impl Function {
    /// The same in another namespace.
    #[must_use]
    pub fn within(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.namespace);
        self
    }

    /// Sets a field of the spec, by a path such as `scaling.idle`.
    #[must_use]
    pub fn with(mut self, path: &str, value: impl Into<Value>) -> Self {
        let at = path.split('.').fold(&mut self.spec, |at, step| &mut at[step]);
        *at = value.into();
        self
    }

    /// Applies it, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready in time, with all that tells why.
    pub async fn deploy(&self, cluster: &Cluster) {
        self.apply(cluster).await;
        let path =
            "{.metadata.generation} {.status.observedGeneration} {.status.conditions[?(@.type=='Ready')].status}";
        let is_ready = |found: &str| {
            let words: Vec<&str> = found.split(' ').collect();
            words.len() == 3 && words[0] == words[1] && words[2] == "True"
        };
        self.until(cluster, path, is_ready).await;
        self.until_known(cluster).await;
    }

    /// Waits until all activators that are ready know it: they watch for themselves.
    async fn until_known(&self, cluster: &Cluster) {
        let ready = "jsonpath={range .items[*].endpoints[?(@.conditions.ready==true)]}{.addresses[0]} {end}";
        let slices = ["-n", SYSTEM, "get", "endpointslices", "-l", "kubernetes.io/service-name=wisp-activator"];
        let path = self.spec["ingress"]["path"].as_str().unwrap_or("/");
        let mut last = String::new();
        let known = until("activators know the function", PATIENCE, async || {
            last = cluster.kubectl([&slices[..], &["-o", ready]].concat()).await?;
            let mut addresses = last.split_whitespace().map(|address| format!("{address}:{ACTIVATOR_PORT}")).peekable();
            let mut all = addresses.peek().is_some();
            for address in addresses {
                // One that does not answer may have gone.
                all &= is_known(&address, &self.host(), path).await.unwrap_or(false);
            }
            Ok(all.then_some(()))
        });
        if let Err(error) = known.await {
            panic!("{error:#}: {last:?}\n{}", look(cluster).await);
        }
    }

    fn host(&self) -> String {
        format!("{}.{}.{DOMAIN}", self.name, self.namespace)
    }

    /// Applies it.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn apply(&self, cluster: &Cluster) {
        let metadata = json!({"name": self.name, "namespace": self.namespace});
        let object =
            json!({"apiVersion": "wisp.dev/v1alpha1", "kind": "WasmFunction", "metadata": metadata, "spec": self.spec});
        cluster.apply(&object.to_string()).await.unwrap();
    }

    /// A client of the function from outside of the cluster.
    ///
    /// # Panics
    /// When Wisp is not installed.
    pub async fn client(&self, cluster: &Cluster) -> Client {
        let address = cluster
            .kubectl(["-n", SYSTEM, "get", "service/wisp-activator", "-o", "jsonpath={.spec.clusterIP}"])
            .await
            .unwrap();
        Client::new(&address, &self.host())
    }

    /// Waits until its status says so.
    ///
    /// # Panics
    /// When it does not in time, with all that tells why.
    pub async fn until_replicas(&self, cluster: &Cluster, wanted: u32) {
        self.until(cluster, "{.status.replicas}", |found| found.parse() == Ok(wanted)).await;
    }

    /// Waits until a field of the object is as wanted.
    ///
    /// # Panics
    /// When it is not in time, with all that tells why.
    pub async fn until(&self, cluster: &Cluster, path: &str, wanted: impl Fn(&str) -> bool) {
        let (object, mut last) = (format!("wf/{}", self.name), String::new());
        let path = format!("jsonpath={path}");
        let what = format!("{object} is as wanted by {path}");
        let found = until(&what, PATIENCE, async || {
            last = cluster.kubectl(["-n", &self.namespace, "get", &object, "-o", &path]).await?;
            if wanted(&last) {
                return Ok(Some(()));
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
            Ok(None)
        })
        .await;
        if let Err(error) = found {
            panic!("{error:#}: {last:?}\n{}", look(cluster).await);
        }
    }
}
