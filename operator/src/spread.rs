//! One watch, several controllers: a revision that changes is its function's business too, and a pod its revision's and its
//! pool's.

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use tokio::sync::mpsc;
use wisp_api::{RevisionKey, WarmPool, WasmFunction, WasmRevision};

use crate::known;
use crate::watched::Changes;

/// Changes that wait for a controller to take them; the watch waits with them.
const WAITING: usize = 1024;

/// Tells controllers.
pub(crate) struct Spread {
    functions: mpsc::Sender<ObjectRef<WasmFunction>>,
    revisions: mpsc::Sender<ObjectRef<WasmRevision>>,
    pools: mpsc::Sender<ObjectRef<WarmPool>>,
}

/// What controllers are told of.
pub(crate) struct Told {
    pub(crate) functions: mpsc::Receiver<ObjectRef<WasmFunction>>,
    pub(crate) revisions: mpsc::Receiver<ObjectRef<WasmRevision>>,
    pub(crate) pools: mpsc::Receiver<ObjectRef<WarmPool>>,
}

pub(crate) fn to_controllers() -> (Spread, Told) {
    let (to_functions, functions) = mpsc::channel(WAITING);
    let (to_revisions, revisions) = mpsc::channel(WAITING);
    let (to_pools, pools) = mpsc::channel(WAITING);
    let spread = Spread { functions: to_functions, revisions: to_revisions, pools: to_pools };
    (spread, Told { functions, revisions, pools })
}

impl Spread {
    /// The same changes, when the functions of these revisions are told. A controller pauses at an error, and the watch with
    /// it: there are none any more.
    pub(crate) fn of_revisions(&self, revisions: Changes<WasmRevision>) -> Changes<WasmRevision> {
        let functions = self.functions.clone();
        let told = revisions.filter_map(move |changed| {
            let functions = functions.clone();
            async move {
                let revision = changed.inspect_err(|error| tracing::warn!(%error, "cannot watch revisions")).ok()?;
                if let Some(owner) = owner_of(&revision) {
                    // Nobody looks at functions any more when this fails.
                    let _ended = functions.send(owner).await;
                }
                Some(Ok(revision))
            }
        });
        told.boxed()
    }

    /// Tells revisions and pools of their pods.
    pub(crate) async fn of_pods(&self, mut pods: Changes<Pod>) {
        while let Some(changed) = pods.next().await {
            let Ok(pod) = changed.inspect_err(|error| tracing::warn!(%error, "cannot watch pods")) else { continue };
            if let Some(RevisionKey { namespace, name }) = known::revision_of(&pod) {
                let _ended = self.revisions.send(ObjectRef::new(&name).within(&namespace)).await;
            }
            if let Some(pool) = owner_of(&pod) {
                let _ended = self.pools.send(pool).await;
            }
        }
    }
}

fn owner_of<Owner: Resource<DynamicType = ()>>(object: &impl ResourceExt) -> Option<ObjectRef<Owner>> {
    let namespace = object.namespace();
    object.owner_references().iter().find_map(|owner| ObjectRef::from_owner_ref(namespace.as_deref(), owner, ()))
}
