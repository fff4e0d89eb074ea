//! The controllers: who is looked at when what changes.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, WatchStreamExt, reflector, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use tokio_util::sync::CancellationToken;
use wisp_api::{WarmPool, WasmFunction, WasmRevision, names};

use crate::context::{Context, Error};
use crate::metrics::{Kind, Outcome};
use crate::{function, pool, revision};

/// The activators' pods, watched.
pub struct Activators {
    /// As they are now.
    pub store: reflector::Store<Pod>,
    changes: futures::stream::BoxStream<'static, ()>,
}

impl Activators {
    /// Those of the platform in `system`.
    #[must_use]
    pub fn watch(client: &Client, system: &str) -> Self {
        let (store, writer) = reflector::store();
        let pods: Api<Pod> = Api::namespaced(client.clone(), system);
        let selector = watcher::Config::default().labels("app.kubernetes.io/name=wisp-activator");
        let events = watcher(pods, selector).default_backoff().reflect(writer).touched_objects();
        Self { store, changes: events.map(drop).boxed() }
    }
}

/// Runs all controllers until `shutdown`.
pub async fn run(context: Arc<Context>, activators: Activators, shutdown: CancellationToken) {
    let client = &context.client;
    let all = watcher::Config::default();
    let children = all.clone().labels("app.kubernetes.io/managed-by=wisp");
    let instances = all.clone().labels(&format!("{}=true", names::LABEL_INSTANCE));
    let stop = || shutdown.clone().cancelled_owned();

    let functions = Controller::new(Api::<WasmFunction>::all(client.clone()), all.clone())
        .owns(Api::<WasmRevision>::all(client.clone()), all.clone())
        .owns(Api::<Service>::all(client.clone()), children.clone())
        .owns(Api::<EndpointSlice>::all(client.clone()), children.clone())
        .owns(Api::<Ingress>::all(client.clone()), children)
        .reconcile_all_on(activators.changes)
        .graceful_shutdown_on(stop())
        .run(
            function::reconcile,
            |object, error, context| failed(Kind::Function, &*object, error, &context),
            Arc::clone(&context),
        )
        .for_each(|done| count(&context, Kind::Function, done.is_ok()));
    let revisions = Controller::new(Api::<WasmRevision>::all(client.clone()), all.clone())
        .watches(Api::<Pod>::all(client.clone()), instances.clone(), revision_of)
        .graceful_shutdown_on(stop())
        .run(
            revision::reconcile,
            |object, error, context| failed(Kind::Revision, &*object, error, &context),
            Arc::clone(&context),
        )
        .for_each(|done| count(&context, Kind::Revision, done.is_ok()));
    let pools = Controller::new(Api::<WarmPool>::all(client.clone()), all.clone())
        .owns(Api::<Pod>::all(client.clone()), instances)
        .watches(Api::<WasmFunction>::all(client.clone()), all, default_pool_of)
        .graceful_shutdown_on(stop())
        .run(
            pool::reconcile,
            |object, error, context| failed(Kind::Pool, &*object, error, &context),
            Arc::clone(&context),
        )
        .for_each(|done| count(&context, Kind::Pool, done.is_ok()));
    futures::join!(functions, revisions, pools);
}

/// By the label: a claimed pod has its revision's before it has its owner.
fn revision_of(pod: Pod) -> Option<ObjectRef<WasmRevision>> {
    let name = pod.labels().get(names::LABEL_REVISION)?;
    Some(ObjectRef::new(name).within(&pod.namespace()?))
}

fn default_pool_of(function: WasmFunction) -> Option<ObjectRef<WarmPool>> {
    Some(ObjectRef::new(names::DEFAULT_POOL).within(&function.namespace()?))
}

fn failed<K>(kind: Kind, object: &K, error: &Error, context: &Context) -> Action
where
    K: Resource<DynamicType = ()>,
{
    let name = format!("{kind:?} {}/{}", object.namespace().unwrap_or_default(), object.name_any());
    let wait: Duration = context.patience.wait(&name);
    tracing::warn!(what = name, %error, ?wait, "trying again");
    Action::requeue(wait)
}

fn count(context: &Context, kind: Kind, done: bool) -> impl Future<Output = ()> + use<> {
    context.metrics.reconciled(kind, if done { Outcome::Done } else { Outcome::Failed });
    std::future::ready(())
}
