//! The controllers: who is looked at when what changes.

use std::fmt::Debug;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::core::DynamicObject;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, WatchStreamExt, reflector, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wisp_api::{FunctionKey, WarmPool, WasmFunction, names};

use crate::children::{POLICY, addresses};
use crate::context::{Context, Error};
use crate::dump::Shown;
use crate::functions::News;
use crate::known::{CHILDREN, ChildChanges, InstanceChanges};
use crate::metrics::{Kind, Outcome};
use crate::reach::http_routes;
use crate::watched::watched;
use crate::{function, policy, pool, revision, spread};

/// What is watched beside the controllers' own objects.
pub struct Sources {
    /// The activators' pods.
    pub activators: Activators,
    /// Follows the functions.
    pub follow: BoxFuture<'static, ()>,
    /// What follows from their changes.
    pub news: News,
    /// Changes of their children.
    pub children: ChildChanges,
    /// Changes of their revisions, and of all pods.
    pub instances: InstanceChanges,
}

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
        let events = watcher(pods, selector).default_backoff().reflect(writer);
        let (known, mut before) = (store.clone(), Vec::new());
        // Every function is looked at for it: only another address is worth that.
        let changes = events.filter_map(move |_| {
            // What is being listed is in the store when the list is whole.
            let now = addresses(known.state().iter().map(|pod| &**pod));
            let is_other = now != before;
            before = now;
            std::future::ready(is_other.then_some(()))
        });
        Self { store, changes: changes.boxed() }
    }
}

/// Runs all controllers until `shutdown`; `shown` is told where they keep what they see.
pub async fn run(context: Arc<Context>, sources: Sources, shown: &OnceLock<Shown>, shutdown: CancellationToken) {
    let Sources { activators, follow, news, children, instances } = sources;
    let follow = async {
        shutdown.run_until_cancelled(follow).await;
    };
    let controllers = async {
        // Who has which host is known when all functions are.
        if shutdown.run_until_cancelled(context.functions.complete()).await.is_some() {
            control(&context, (activators, children, instances, news), shown, &shutdown).await;
        }
    };
    futures::join!(follow, controllers);
}

async fn control(
    context: &Arc<Context>,
    (activators, children, instances, news): (Activators, ChildChanges, InstanceChanges, News),
    shown: &OnceLock<Shown>,
    shutdown: &CancellationToken,
) {
    let client = &context.client;
    let all = watcher::Config::default();
    let policies = all.labels(CHILDREN).fields(&format!("metadata.name={POLICY}"));
    let stop = || shutdown.clone().cancelled_owned();

    let (tell, told) = spread::to_controllers();
    let functions = functions(context, children)
        .reconcile_all_on(activators.changes)
        .reconcile_on(received(told.functions))
        .reconcile_on(received(news.functions).map(|key| reference(&key)))
        .graceful_shutdown_on(stop())
        .run(
            function::reconcile,
            |object, error, context| failed(Kind::Function, &*object, error, &context),
            Arc::clone(context),
        )
        .for_each(|done| count(context, Kind::Function, done.is_ok()));
    let changed = tell.of_revisions(instances.revisions);
    let revisions = Controller::for_stream(changed, context.known.revisions.store().clone());
    let revisions = revisions.reconcile_on(received(told.revisions));
    let pools = of_all::<WarmPool>(client)
        .reconcile_on(received(told.pools))
        .reconcile_on(received(news.pools).map(|namespace| ObjectRef::new(names::DEFAULT_POOL).within(&namespace)));
    // It was not set before: there is one leader in the life of a process.
    let _set = shown.set(Shown { context: Arc::clone(context), revisions: revisions.store(), pools: pools.store() });
    let revisions = revisions
        .graceful_shutdown_on(stop())
        .run(
            revision::reconcile,
            |object, error, context| failed(Kind::Revision, &*object, error, &context),
            Arc::clone(context),
        )
        .for_each(|done| count(context, Kind::Revision, done.is_ok()));
    let pools = pools
        .graceful_shutdown_on(stop())
        .run(
            pool::reconcile,
            |object, error, context| failed(Kind::Pool, &*object, error, &context),
            Arc::clone(context),
        )
        .for_each(|done| count(context, Kind::Pool, done.is_ok()));
    let policies = Controller::new(Api::<NetworkPolicy>::all(client.clone()), policies)
        .reconcile_on(received(news.policies).map(|namespace| ObjectRef::new(POLICY).within(&namespace)))
        .graceful_shutdown_on(stop())
        .run(
            policy::reconcile,
            |object, error, context| failed(Kind::Policy, &*object, error, &context),
            Arc::clone(context),
        )
        .for_each(|done| count(context, Kind::Policy, done.is_ok()));
    let pods = shutdown.run_until_cancelled(tell.of_pods(instances.pods));
    futures::join!(functions, revisions, pools, policies, pods);
}

/// Looks at each object of a kind, and keeps what [`watched`] keeps.
fn of_all<K>(client: &Client) -> Controller<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let (mirror, changes) = watched(Api::<K>::all(client.clone()), watcher::Config::default());
    Controller::for_stream(changes, mirror.store().clone())
}

/// Functions and what they own. Policies and pools are no function's own: any function of the namespace makes them again.
fn functions(context: &Arc<Context>, children: ChildChanges) -> Controller<WasmFunction> {
    let client = &context.client;
    let all = watcher::Config::default();
    let (of_policy, of_pool, pools) =
        (Arc::clone(&context.functions), Arc::clone(&context.functions), context.known.pools.store().clone());
    // A pool's status changes with every claim, and is no function's business.
    let without_pool = move |pool: WarmPool| {
        let is_gone = pools.get(&ObjectRef::from_obj(&pool)).is_none();
        Some(reference(&of_pool.any_with_pool(&pool.namespace()?).filter(|_| is_gone)?))
    };
    let controller = of_all::<WasmFunction>(client)
        .owns_stream(children.services)
        .owns_stream(children.slices)
        .owns_stream(children.ingresses)
        .watches_stream(children.policies, move |policy| Some(reference(&of_policy.any_in(&policy.namespace()?)?)))
        .watches_stream(children.pools, without_pool);
    if !context.has_http_routes.load(Ordering::Relaxed) {
        return controller;
    }
    let routes = http_routes();
    controller.owns_with(Api::<DynamicObject>::all_with(client.clone(), &routes), routes, all.labels(CHILDREN))
}

fn reference(key: &FunctionKey) -> ObjectRef<WasmFunction> {
    ObjectRef::new(&key.name).within(&key.namespace)
}

fn received<T>(receiver: mpsc::Receiver<T>) -> impl Stream<Item = T> {
    futures::stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) })
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
