//! Applies the objects by which clients reach a function, and takes away those that it no longer asks for.

use std::fmt::Debug;
use std::sync::atomic::Ordering;
use std::time::Duration;

use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::core::{DynamicObject, GroupVersionKind, NamespaceResourceScope};
use kube::discovery::ApiResource;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wisp_api::scaling::Start;
use wisp_api::status::Reason;
use wisp_api::{WarmPool, WarmPoolSpec, names};
use wisp_kubernetes::{ApplyError, apply};

use crate::applied::{self, marked};
use crate::children::{self, Parent};
use crate::context::{Context, Error, MANAGER};
use crate::function::gone_is_good;
use crate::hosts::Taken;
use crate::policy;
use crate::status::Step;

/// Objects of others are not watched: one that stands in the way is looked for again after this time.
const FOREIGN_LOOK: Duration = Duration::from_secs(30);
const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";
const GATEWAY_VERSION: &str = "v1";

/// What came of it.
pub(crate) struct Reached {
    /// For the condition.
    pub(crate) routes: Step,
    /// When to look again, where nothing else will say so.
    pub(crate) again: Option<Duration>,
}

/// HTTPRoutes of the Gateway API.
#[must_use]
pub fn http_routes() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(GATEWAY_GROUP, GATEWAY_VERSION, "HTTPRoute"))
}

/// Whether the API server knows HTTPRoutes.
///
/// # Errors
/// When it cannot be asked.
pub async fn has_http_routes(client: &Client) -> kube::Result<bool> {
    match client.list_api_group_resources(&format!("{GATEWAY_GROUP}/{GATEWAY_VERSION}")).await {
        Ok(listed) => Ok(listed.resources.iter().any(|resource| resource.name == "httproutes")),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(error),
    }
}

/// Sees to Service, endpoints, Ingress and HTTPRoute of a function, and to what its namespace needs.
pub(crate) async fn reach(context: &Context, parent: Parent<'_>) -> Result<Reached, Error> {
    match apply_children(context, parent).await {
        Ok(()) => {
            let taken = context.functions.taken(parent.key);
            Ok(Reached { routes: taken.map_or(Step::Good, |taken| conflict(&taken)), again: None })
        }
        Err(ApplyError::Foreign { kind, name }) => {
            let message = format!(
                "{kind} {name:?} is in namespace {:?} already and is not this function's; rename one of the two",
                parent.key.namespace
            );
            Ok(Reached { routes: Step::Bad(Reason::HostConflict, message), again: Some(FOREIGN_LOOK) })
        }
        Err(ApplyError::Api(kube::Error::Api(status))) if status.code == 404 && parent.http_route().is_some() => {
            let message = "spec.ingress.gateway needs the Gateway API, and this cluster has no HTTPRoute; install it, or use className";
            let routes = Step::Bad(Reason::InvalidSpec, message.to_owned());
            Ok(Reached { routes, again: Some(FOREIGN_LOOK) })
        }
        Err(error) => Err(error.into()),
    }
}

fn conflict(Taken { host, path, by }: &Taken) -> Step {
    let message = format!(
        "host {host:?} with path {path:?} belongs to function {by}, which is older, and not to this one; take it out of \
         spec.ingress.hosts of one of the two"
    );
    Step::Bad(Reason::HostConflict, message)
}

async fn apply_children(context: &Context, parent: Parent<'_>) -> Result<(), ApplyError> {
    let (client, namespace, known) = (&context.client, &parent.key.namespace, &context.known);
    policy::ensure(context, namespace).await?;
    if parent.spec.scaling.start == Start::Warm {
        ensure_pool(context, namespace).await?;
    }
    let ingresses: Api<Ingress> = Api::namespaced(client.clone(), namespace);
    let routes: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &http_routes());
    let (ingress, route) = (parent.ingress(), parent.http_route());
    // What is no longer asked for goes first: nothing that fails below keeps it reachable.
    let reference = ObjectRef::new(&parent.key.name).within(namespace);
    if ingress.is_none() && known.ingresses.store().get(&reference).is_some() {
        withdraw(&ingresses, parent).await?;
    }
    if route.is_none() && context.has_http_routes.load(Ordering::Relaxed) {
        withdraw(&routes, parent).await?;
    }
    keep(context, known.services.store(), parent.service()).await?;
    let activators = context.activators.state();
    let addresses = children::addresses(activators.iter().map(|pod| &**pod));
    keep(context, known.slices.store(), parent.endpoints(&addresses)).await?;
    if let Some(ingress) = ingress {
        keep(context, known.ingresses.store(), ingress).await?;
    }
    if let Some(route) = route {
        apply_route(&routes, parent, route).await?;
        context.has_http_routes.store(true, Ordering::Relaxed);
    }
    Ok(())
}

/// Applies a child, unless it is there as it was applied.
async fn keep<K>(context: &Context, store: &Store<K>, object: K) -> Result<(), ApplyError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Serialize
        + DeserializeOwned
        + Clone
        + Debug
        + 'static,
{
    let object = marked(object);
    if applied::holds(store, &object) {
        return Ok(());
    }
    let api = Api::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
    apply(&api, MANAGER, &object).await?;
    context.metrics.child_applied();
    Ok(())
}

/// Takes away a child that the function no longer asks for.
async fn withdraw<K>(api: &Api<K>, parent: Parent<'_>) -> Result<(), ApplyError>
where
    K: Clone + Debug + DeserializeOwned,
{
    let name = &parent.key.name;
    let Some(found) = api.get_metadata_opt(name).await? else { return Ok(()) };
    if is_owned(&found.metadata, parent) {
        gone_is_good(api.delete(name, &DeleteParams::default()).await.map(drop))?;
    }
    Ok(())
}

fn is_owned(metadata: &ObjectMeta, parent: Parent<'_>) -> bool {
    metadata.owner_references.iter().flatten().any(|owner| owner.uid == parent.owner.uid)
}

/// The kind may not be installed, which the API server says.
async fn apply_route(api: &Api<DynamicObject>, parent: Parent<'_>, route: serde_json::Value) -> Result<(), ApplyError> {
    let name = &parent.key.name;
    if let Some(found) = api.get_metadata_opt(name).await?
        && !is_owned(&found.metadata, parent)
    {
        return Err(ApplyError::Foreign { kind: "HTTPRoute".to_owned(), name: name.clone() });
    }
    api.patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&route)).await?;
    Ok(())
}

/// The pool of the namespace; one that is there already is somebody's choice and stays as it is.
async fn ensure_pool(context: &Context, namespace: &str) -> Result<(), ApplyError> {
    if context.known.pools.store().get(&ObjectRef::new(names::DEFAULT_POOL).within(namespace)).is_some() {
        return Ok(());
    }
    let pools: Api<WarmPool> = Api::namespaced(context.client.clone(), namespace);
    let mut pool = WarmPool::new(names::DEFAULT_POOL, WarmPoolSpec::default());
    pool.labels_mut().insert("app.kubernetes.io/managed-by".to_owned(), "wisp".to_owned());
    match pools.create(&PostParams::default(), &pool).await {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        made => Ok(made.map(drop)?),
    }
}
