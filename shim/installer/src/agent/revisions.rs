//! The cluster's revisions, as far as a node cares: their names and their artifacts.

use futures::Stream;
use kube::api::{Api, ApiResource, NotUsed};
use kube::core::Object;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt as _};
use wisp_api::revision::{WasmRevision, WasmRevisionStatus};

use super::named::{Named, RevisionName};

/// Without its spec, which has a function's whole template.
pub(crate) type Revision = Object<NotUsed, WasmRevisionStatus>;

/// What happens to revisions of all namespaces, for ever: a watch that breaks is begun anew, after longer and longer.
pub(crate) fn watch(client: Client) -> impl Stream<Item = watcher::Result<Event<Revision>>> + Send {
    let api: Api<Revision> = Api::all_with(client, &ApiResource::erase::<WasmRevision>(&()));
    watcher(api, watcher::Config::default()).default_backoff()
}

/// Tells `named` of `event`, and says whether that changed what is named: it does not in the middle of a list.
pub(crate) fn note(named: &mut Named, event: Event<Revision>) -> bool {
    let artifacts = |revision: &Revision| revision.status.clone().unwrap_or_default().artifacts;
    let whole = !matches!(event, Event::Init | Event::InitApply(_));
    match event {
        Event::Init => named.reset(),
        Event::InitApply(revision) => named.list(name(&revision), &artifacts(&revision)),
        Event::InitDone => named.listed(),
        Event::Apply(revision) => named.apply(name(&revision), &artifacts(&revision)),
        Event::Delete(revision) => named.delete(&name(&revision)),
    }
    whole
}

fn name(revision: &Revision) -> RevisionName {
    (revision.namespace().unwrap_or_default(), revision.name_any())
}
