//! What the operator sees, for people who look for a fault.

use std::sync::Arc;

use kube::ResourceExt;
use kube::runtime::reflector::Store;
use serde_json::{Value, json};
use wisp_api::{WarmPool, WasmFunction, WasmRevision};

use crate::children;
use crate::context::Context;

/// Where it is kept, once this process leads.
pub struct Shown {
    /// What the controllers share.
    pub context: Arc<Context>,
    /// All revisions.
    pub revisions: Store<WasmRevision>,
    /// All pools.
    pub pools: Store<WarmPool>,
}

/// All of it.
#[must_use]
pub fn dump(shown: Option<&Shown>) -> Value {
    let Some(Shown { context, revisions, pools }) = shown else { return json!({"leads": false}) };
    let (pulling, compiling) = context.components.busy();
    let queued = context.patience.queue().into_iter().map(
        |(what, failures, left)| json!({"what": what, "failures": failures, "againInSeconds": left.as_secs_f64()}),
    );
    let activators = context.activators.state();
    json!({
        "leads": true,
        "functions": sorted(context.functions.all().iter().map(|it| function(context, it))),
        "revisions": sorted(revisions.state().iter().map(|it| revision(it))),
        "pools": sorted(pools.state().iter().map(|it| pool(it))),
        "queued": queued.collect::<Vec<_>>(),
        "components": {"pulling": pulling, "compiling": compiling},
        "activators": children::addresses(activators.iter().map(|pod| &**pod)),
    })
}

/// The first field of each is its name.
fn sorted(found: impl Iterator<Item = (String, Value)>) -> Value {
    found.collect::<serde_json::Map<_, _>>().into()
}

fn function(context: &Context, function: &WasmFunction) -> (String, Value) {
    let status = function.status.clone().unwrap_or_default();
    let conditions = status.conditions.iter().map(|found| (found.type_.clone(), json!([found.status, found.reason])));
    let key = wisp_api::FunctionKey::new(function.namespace().unwrap_or_default(), function.name_any());
    let taken = context.functions.taken(&key);
    let seen = json!({
        "generation": function.metadata.generation,
        "observedGeneration": status.observed_generation,
        "conditions": conditions.collect::<serde_json::Map<_, _>>(),
        "latestCreatedRevision": status.latest_created_revision,
        "latestReadyRevision": status.latest_ready_revision,
        "traffic": status.traffic,
        "replicas": status.replicas,
        "hostTaken": taken.map(|taken| json!({"host": taken.host, "path": taken.path, "by": taken.by.to_string()})),
    });
    (key.to_string(), seen)
}

fn revision(revision: &WasmRevision) -> (String, Value) {
    let status = revision.status.clone().unwrap_or_default();
    let seen = json!({
        "function": revision.spec.function,
        "wanted": revision.spec.replicas,
        "replicas": status.replicas,
        "digest": revision.spec.digest,
        "image": revision.spec.image,
        "artifacts": status.artifacts,
        "conditions": status.conditions.iter().map(|found| json!([found.type_, found.status, found.reason])).collect::<Vec<_>>(),
    });
    (name_of(revision), seen)
}

fn pool(pool: &WarmPool) -> (String, Value) {
    let ready = pool.status.as_ref().map_or(0, |status| status.ready);
    (name_of(pool), json!({"size": pool.spec.size, "max": pool.spec.max, "ready": ready}))
}

fn name_of<K: kube::Resource>(object: &K) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}
