//! A cluster with Wisp on it, asked with the rights of the user of a kubeconfig.
//!
//! `objects` brings what the API server has into the form of [`crate::view`]; [`logs`] reads pods; `forward` reaches an
//! activator and the leading autoscaler through the API server. [`manifests`] says what is to be applied, [`push`] makes
//! an image of a component with the credentials that [`login`] finds, [`ready`] waits until it serves, and [`traffic`]
//! decides who gets the requests.

mod forward;
pub(crate) mod login;
pub(crate) mod logs;
pub(crate) mod manifests;
mod objects;
pub(crate) mod push;
pub(crate) mod ready;
pub(crate) mod traffic;

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use http::StatusCode;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::client::UpgradeConnectionError;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, ResourceExt};
use serde::de::DeserializeOwned;
use wisp_api::ingress::TrafficTarget;
use wisp_api::names::{LABEL_FUNCTION, LABEL_INSTANCE};
use wisp_api::{FunctionKey, WarmPool, WasmFunction, WasmRevision};

use self::manifests::Planned;
use crate::cli::ClusterArgs;
use crate::view::{Detail, Overview};

/// Under which fields are set that this program applies.
const MANAGER: &str = "wisp";
/// An API server that is there answers sooner.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// It ends its own work on a request after as long.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A function at a moment, for a change that takes it as it was.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) key: FunctionKey,
    /// `metadata.resourceVersion`.
    pub(crate) version: String,
}

/// What the API server says to whom it does not let.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Denied(String);

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Done,
    /// The object had changed meanwhile: it must be looked at again.
    Stale,
}

/// A cluster with Wisp on it.
pub(crate) struct Cluster {
    client: Client,
    /// That of the context, which is meant where none is named.
    pub(crate) namespace: String,
    /// Wisp's own.
    system: String,
    /// The API server's address.
    address: String,
}

impl Cluster {
    /// The cluster of a kubeconfig, or of the pod that this runs in. Nothing is asked yet.
    ///
    /// # Errors
    /// When there is no configuration, or it is broken.
    pub(crate) async fn connect(args: &ClusterArgs) -> anyhow::Result<Self> {
        // Whatever speaks TLS here does so by ring; an earlier choice would be the same.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let mut config = config(args).await?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        let (namespace, address) = (config.default_namespace.clone(), config.cluster_url.to_string());
        let client = Client::try_from(config).context("the kubeconfig cannot be used")?;
        Ok(Self { client, namespace, system: args.system_namespace.clone(), address })
    }

    /// The functions of a namespace, or of all.
    pub(crate) async fn overview(&self, namespace: Option<&str>) -> anyhow::Result<Overview> {
        let functions = self.list::<WasmFunction>(namespace, "").await?;
        let pods = self.list::<Pod>(namespace, &format!("{LABEL_INSTANCE}=true")).await?;
        let pools = self.list::<WarmPool>(namespace, "").await?;
        let pods = objects::by_function(&pods);
        let ours = |function: &WasmFunction| pods.get(&objects::key(function)).cloned().unwrap_or_default();
        let mut functions: Vec<_> =
            functions.iter().map(|function| objects::function(function, &ours(function))).collect();
        functions.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        Ok(Overview {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            unix_millis: objects::unix_millis(Timestamp::now()),
            listen: String::new(),
            domain: String::new(),
            functions,
            warm: pools.iter().filter_map(|pool| pool.status.as_ref()).map(|status| status.ready).sum(),
            cold_starts: serde_json::Value::Null,
        })
    }

    /// A function with all that belongs to it; none when there is no such function.
    pub(crate) async fn detail(&self, key: &FunctionKey) -> anyhow::Result<Option<Detail>> {
        let Some(function) = self.function(key).await? else { return Ok(None) };
        let revisions = self.revisions(key).await?;
        let pods = self.list::<Pod>(Some(&key.namespace), &of_function(key)).await?;
        let origin = format!("cluster {}", self.address.trim_end_matches('/'));
        Ok(Some(objects::detail(&function, &revisions, &pods, (origin, Timestamp::now()))))
    }

    /// A function, if it is there.
    pub(crate) async fn function(&self, key: &FunctionKey) -> anyhow::Result<Option<WasmFunction>> {
        self.asked(self.functions(key).get_opt(&key.name)).await
    }

    /// A function's revisions, oldest first.
    pub(crate) async fn revisions(&self, key: &FunctionKey) -> anyhow::Result<Vec<WasmRevision>> {
        let mut revisions = self.list::<WasmRevision>(Some(&key.namespace), &of_function(key)).await?;
        // They are numbered with as many digits as there are for a long time.
        revisions.sort_by_key(|revision| (revision.name_any().len(), revision.name_any()));
        Ok(revisions)
    }

    /// Deletes a function; none when there is no such function.
    pub(crate) async fn delete(&self, key: &FunctionKey) -> anyhow::Result<Option<()>> {
        let deleted = async {
            match self.functions(key).delete(&key.name, &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
                deleted => deleted.map(|_| Some(())),
            }
        };
        self.asked(deleted).await
    }

    /// Applies one object; what this program set before and does not set now is taken away.
    pub(crate) async fn apply(&self, planned: &Planned) -> anyhow::Result<()> {
        let resource = planned.kind.resource();
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &planned.namespace, &resource);
        let parameters = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(&planned.object);
        let applied = self.asked(api.patch(&planned.name, &parameters, &patch)).await;
        applied.map(drop).with_context(|| format!("{planned} is not applied"))
    }

    /// Sets where a function's requests go, unless it has changed since `seen`.
    pub(crate) async fn set_traffic(&self, seen: &Seen, targets: &[TrafficTarget]) -> anyhow::Result<Written> {
        // None, so that the field is gone and nobody's.
        let traffic = (!targets.is_empty()).then_some(targets);
        let patch = serde_json::json!({
            "metadata": {"resourceVersion": seen.version},
            "spec": {"traffic": traffic},
        });
        let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let written = async {
            match self.functions(&seen.key).patch(&seen.key.name, &parameters, &Patch::Merge(&patch)).await {
                Err(kube::Error::Api(status)) if status.is_conflict() => Ok(Written::Stale),
                written => written.map(|_| Written::Done),
            }
        };
        self.asked(written).await
    }

    /// What the API server answers, in time.
    async fn asked<T>(&self, answer: impl Future<Output = kube::Result<T>>) -> anyhow::Result<T> {
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, answer).await;
        let answer = answer
            .with_context(|| format!("the API server {} has not answered for {ANSWER_TIMEOUT:?}", self.address))?;
        answer.map_err(|error| self.said(error))
    }

    /// As [`said`], with the address that was asked.
    fn said(&self, error: kube::Error) -> anyhow::Error {
        match error {
            kube::Error::Api(_) => said(error),
            error => anyhow::Error::new(error).context(format!("the API server {} cannot be asked", self.address)),
        }
    }

    fn functions(&self, key: &FunctionKey) -> Api<WasmFunction> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    async fn list<K>(&self, namespace: Option<&str>, labels: &str) -> anyhow::Result<Vec<K>>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
        K: Clone + std::fmt::Debug + DeserializeOwned,
    {
        let api: Api<K> = match namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let listed = async {
            match api.list(&ListParams::default().labels(labels)).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
                listed => listed.map(Some),
            }
        };
        let listed = self.asked(listed).await?;
        let unknown = || format!("{} knows no {}; is Wisp installed there?", self.address, K::plural(&()));
        Ok(listed.with_context(unknown)?.items)
    }
}

/// What kubectl would use, unless something else is named.
async fn config(args: &ClusterArgs) -> anyhow::Result<Config> {
    let context = args.context.clone().filter(|context| !context.is_empty());
    let kubeconfig = match &args.kubeconfig {
        None if context.is_none() => {
            return Config::infer().await.map_err(|error| {
                anyhow!("there is no cluster to talk to; set KUBECONFIG, or give --kubeconfig ({error})")
            });
        }
        None => Kubeconfig::read().context("the kubeconfig cannot be read")?,
        Some(file) => Kubeconfig::read_from(file).with_context(|| format!("cannot read {}", file.display()))?,
    };
    if let Some(context) = &context
        && !kubeconfig.contexts.iter().any(|known| known.name == *context)
    {
        let known: Vec<_> = kubeconfig.contexts.iter().map(|known| known.name.as_str()).collect();
        bail!("the kubeconfig has no context {context:?}; it has: {}", known.join(", "));
    }
    let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
    Config::from_custom_kubeconfig(kubeconfig, &options).await.context("the kubeconfig cannot be used")
}

fn of_function(key: &FunctionKey) -> String {
    format!("{LABEL_FUNCTION}={}", key.name)
}

/// What the API server says, without the words of the client around it.
fn said(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) if [401, 403].contains(&status.code) => Denied(status.message).into(),
        kube::Error::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(StatusCode::FORBIDDEN)) => {
            Denied("it is forbidden".to_owned()).into()
        }
        kube::Error::Api(status) if !status.message.is_empty() => anyhow!("{}", status.message),
        error => anyhow::Error::new(error).context("the API server cannot be asked"),
    }
}

/// Whether asking again would bring the same: the rights are missing, or the kind is.
fn is_final(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if [401, 403, 404].contains(&status.code))
}
