//! Objects of one kind by whom they belong to, as one watch shows them, and with what the operator has written itself: the
//! watch shows that a moment later, and who does not know what it created a moment ago creates it again.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};
use tokio::time::Instant;

use crate::watched::Mirror;

/// Enough for the time that an answer of the API server takes.
const GONE_MAX: usize = 256;
/// What the watch has not shown after this time, it never will: the object went while nobody watched.
const SHOWN_WITHIN: Duration = Duration::from_secs(60);

/// Objects by group. An object may be of several.
pub(crate) struct Grouped<K: Resource<DynamicType = ()> + Clone + 'static> {
    mirror: Mirror<K>,
    groups_of: fn(&K) -> Vec<String>,
    state: Mutex<State<K>>,
}

struct State<K: Resource<DynamicType = ()> + Clone + 'static> {
    /// What the watch has shown: shared with the store, whose changes are not seen all at once.
    shown: HashMap<ObjectRef<K>, Arc<K>>,
    members: HashMap<String, HashSet<ObjectRef<K>>>,
    /// What the watch has not shown yet.
    written: HashMap<ObjectRef<K>, Written<K>>,
    /// UIDs of those that went last: an answer about one of them comes late.
    gone: VecDeque<String>,
}

/// An own write.
struct Written<K> {
    wrote: Wrote<K>,
    at: Instant,
}

enum Wrote<K> {
    Object(Arc<K>),
    /// It was deleted, and may take its time.
    Deletion {
        uid: Option<String>,
    },
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> Grouped<K> {
    pub(crate) fn new(mirror: Mirror<K>, groups_of: fn(&K) -> Vec<String>) -> Self {
        let (shown, members, written) = (HashMap::new(), HashMap::new(), HashMap::new());
        let state = State { shown, members, written, gone: VecDeque::new() };
        Self { mirror, groups_of, state: Mutex::new(state) }
    }

    /// Waits until the watch has shown all once.
    pub(crate) async fn complete(&self) {
        self.mirror.complete().await;
    }

    /// All of a group that have been seen, by their names. One that the operator has deleted is there again when the watch
    /// shows how it ends.
    pub(crate) fn of(&self, group: &str) -> Vec<Arc<K>> {
        let state = self.state();
        // What was written may have another group since, or none before.
        let names: HashSet<_> = state.members.get(group).into_iter().flatten().chain(state.written.keys()).collect();
        let is_in = |object: &Arc<K>| (self.groups_of)(object).iter().any(|found| found == group);
        let mut found: Vec<_> = names.into_iter().filter_map(|name| state.get(name)).filter(is_in).collect();
        found.sort_by_key(|object| object.name_any());
        found
    }

    /// All that the watch has shown.
    pub(crate) fn store(&self) -> &Store<K> {
        self.mirror.store()
    }

    /// The object of this name, if the watch has shown it or the operator has written it.
    pub(crate) fn get(&self, name: &ObjectRef<K>) -> Option<Arc<K>> {
        self.state().get(name)
    }

    /// The operator wrote `object`.
    pub(crate) fn wrote(&self, object: K) -> Arc<K> {
        let object = Arc::new(object);
        self.note(&object, Wrote::Object(Arc::clone(&object)));
        object
    }

    /// The operator deleted `object`.
    pub(crate) fn deleted(&self, object: &K) {
        self.note(object, Wrote::Deletion { uid: object.uid() });
    }

    fn note(&self, object: &K, wrote: Wrote<K>) {
        let (name, mut state) = (ObjectRef::from_obj(object), self.state());
        // The watch may have been quicker.
        let is_gone = object.uid().is_some_and(|uid| state.gone.contains(&uid));
        if !is_gone && state.shown.get(&name).is_none_or(|shown| !wrote.is_shown_by(shown)) {
            state.written.retain(|_, written| written.counts());
            state.written.insert(name, Written { wrote, at: Instant::now() });
        }
    }

    /// Follows the watch. To be told each event after the store.
    pub(crate) fn see(&self, event: &Event<K>) {
        let mut state = self.state();
        match event {
            Event::Apply(object) => {
                let object = self.store().get(&ObjectRef::from_obj(object)).unwrap_or_else(|| Arc::new(object.clone()));
                state.put(object, self.groups_of);
            }
            Event::Delete(object) => state.remove(object, self.groups_of),
            Event::Init | Event::InitApply(_) => {}
            Event::InitDone => {
                (state.shown, state.members) = (HashMap::new(), HashMap::new());
                self.store().state().into_iter().for_each(|object| state.put(object, self.groups_of));
                self.mirror.finish();
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> State<K> {
    fn get(&self, name: &ObjectRef<K>) -> Option<Arc<K>> {
        let shown = self.shown.get(name).cloned();
        match self.written.get(name).filter(|written| written.counts()).map(|written| &written.wrote) {
            None => shown,
            Some(Wrote::Object(object)) => Some(Arc::clone(object)),
            Some(Wrote::Deletion { uid }) => shown.filter(|found| found.uid() != *uid),
        }
    }

    fn put(&mut self, object: Arc<K>, groups_of: fn(&K) -> Vec<String>) {
        let name = ObjectRef::from_obj(&*object);
        if self.written.get(&name).is_some_and(|written| written.wrote.is_shown_by(&object)) {
            self.written.remove(&name);
        }
        self.leave(&name, groups_of);
        for group in groups_of(&object) {
            self.members.entry(group).or_default().insert(name.clone());
        }
        self.shown.insert(name, object);
    }

    fn remove(&mut self, object: &K, groups_of: fn(&K) -> Vec<String>) {
        let name = ObjectRef::from_obj(object);
        self.leave(&name, groups_of);
        self.gone.extend(object.uid());
        if self.gone.len() > GONE_MAX {
            self.gone.pop_front();
        }
        let is_it = |written: &Written<K>| match &written.wrote {
            // One of this name may have been made since.
            Wrote::Object(ours) => ours.uid() == object.uid(),
            Wrote::Deletion { uid } => *uid == object.uid(),
        };
        if self.written.get(&name).is_some_and(is_it) {
            self.written.remove(&name);
        }
    }

    fn leave(&mut self, name: &ObjectRef<K>, groups_of: fn(&K) -> Vec<String>) {
        for group in self.shown.remove(name).iter().flat_map(|object| groups_of(object)) {
            if let Some(members) = self.members.get_mut(&group) {
                members.remove(name);
                if members.is_empty() {
                    self.members.remove(&group);
                }
            }
        }
    }
}

impl<K> Written<K> {
    fn counts(&self) -> bool {
        self.at.elapsed() < SHOWN_WITHIN
    }
}

impl<K: Resource<DynamicType = ()>> Wrote<K> {
    /// Whether `shown` is what was written, or newer.
    fn is_shown_by(&self, shown: &K) -> bool {
        match self {
            Self::Object(ours) => version(shown) >= version(&**ours),
            Self::Deletion { uid } => shown.uid() != *uid || shown.meta().deletion_timestamp.is_some(),
        }
    }
}

/// Versions of objects of one kind are numbers that grow, as etcd gives them, and as Kubernetes promises since 1.35.
fn version(object: &impl ResourceExt) -> Option<u64> {
    object.resource_version()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use kube::runtime::reflector;
    use kube::runtime::reflector::store::Writer;
    use serde_json::json;

    use super::*;

    /// A watch that shows what the test says.
    struct Watch {
        writer: Writer<Pod>,
        pods: Grouped<Pod>,
    }

    impl Watch {
        /// Of a cluster without pods.
        fn new() -> Self {
            let (store, writer) = reflector::store();
            let pods = Grouped::new(Mirror::new(store), |pod: &Pod| pod.labels().values().cloned().collect());
            let mut watch = Self { writer, pods };
            watch.list(&[]);
            watch
        }

        fn shows(&mut self, event: Event<Pod>) {
            self.writer.apply_watcher_event(&event);
            self.pods.see(&event);
        }

        fn list(&mut self, pods: &[Pod]) {
            self.shows(Event::Init);
            pods.iter().for_each(|pod| self.shows(Event::InitApply(pod.clone())));
            self.shows(Event::InitDone);
        }

        fn of(&self, group: &str) -> Vec<String> {
            let version = |pod: Arc<Pod>| format!("{}@{}", pod.name_any(), pod.resource_version().unwrap());
            self.pods.of(group).into_iter().map(version).collect()
        }
    }

    fn pod(name: &str, version: u32, group: &str) -> Pod {
        let metadata = json!({"name": name, "namespace": "shop", "uid": format!("uid of {name}"),
            "resourceVersion": version.to_string(), "labels": {"of": group}});
        serde_json::from_value(json!({"metadata": metadata})).unwrap()
    }

    #[test]
    fn a_pod_is_of_the_group_that_its_last_version_says() {
        let mut watch = Watch::new();
        watch.shows(Event::Apply(pod("b", 1, "pool")));
        watch.shows(Event::Apply(pod("a", 2, "pool")));
        assert_eq!(watch.of("pool"), ["a@2", "b@1"]);
        watch.shows(Event::Apply(pod("a", 3, "cart-00001")));
        assert_eq!((watch.of("pool"), watch.of("cart-00001")), (vec!["b@1".into()], vec!["a@3".into()]));
        watch.shows(Event::Delete(pod("b", 4, "pool")));
        assert!(watch.of("pool").is_empty());
        assert!(!watch.pods.state().members.contains_key("pool"), "nothing is kept of groups that are empty");
    }

    #[test]
    fn what_was_written_is_there_at_once_and_the_watch_is_right_when_it_has_come_so_far() {
        let mut watch = Watch::new();
        watch.pods.wrote(pod("a", 5, "pool"));
        assert_eq!(watch.of("pool"), ["a@5"]);
        watch.shows(Event::Apply(pod("a", 5, "pool")));
        watch.pods.wrote(pod("a", 7, "cart-00001"));
        watch.shows(Event::Apply(pod("a", 6, "pool")));
        assert!(watch.of("pool").is_empty(), "that was before");
        assert_eq!(watch.of("cart-00001"), ["a@7"]);
        watch.shows(Event::Apply(pod("a", 9, "cart-00002")));
        assert_eq!(watch.of("cart-00002"), ["a@9"]);
        watch.pods.wrote(pod("a", 8, "pool"));
        assert!(watch.of("pool").is_empty(), "the watch was quicker than the answer");
        assert!(watch.pods.state().written.is_empty());
    }

    #[test]
    fn what_was_deleted_is_not_there_any_more_but_one_of_its_name_is() {
        let mut watch = Watch::new();
        watch.shows(Event::Apply(pod("a", 1, "pool")));
        watch.pods.deleted(&pod("a", 1, "pool"));
        watch.shows(Event::Apply(pod("a", 2, "pool")));
        assert!(watch.of("pool").is_empty(), "it goes on changing until it has ended");
        let mut next = pod("a", 4, "pool");
        next.metadata.uid = Some("another".into());
        watch.shows(Event::Apply(next));
        assert_eq!(watch.of("pool"), ["a@4"]);
        assert!(watch.pods.state().written.is_empty());
        watch.pods.deleted(&pod("a", 1, "pool"));
        assert_eq!(watch.of("pool"), ["a@4"], "that one is long gone");
    }

    #[test]
    fn an_answer_about_what_is_gone_is_no_news() {
        let mut watch = Watch::new();
        watch.shows(Event::Apply(pod("a", 1, "pool")));
        watch.shows(Event::Delete(pod("a", 3, "pool")));
        watch.pods.wrote(pod("a", 2, "cart-00001"));
        watch.pods.deleted(&pod("a", 1, "pool"));
        assert!(watch.of("cart-00001").is_empty() && watch.pods.state().written.is_empty());
    }

    #[tokio::test]
    async fn all_who_wait_are_told_when_the_first_list_is_whole() {
        let (store, mut writer) = reflector::store();
        let pods = Arc::new(Grouped::new(Mirror::new(store), |_: &Pod| vec!["all".to_owned()]));
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let pods = Arc::clone(&pods);
                tokio::spawn(async move {
                    pods.complete().await;
                    pods.of("all").len()
                })
            })
            .collect();
        tokio::task::yield_now().await;
        for event in [Event::Init, Event::InitApply(pod("a", 1, "pool")), Event::InitDone] {
            writer.apply_watcher_event(&event);
            pods.see(&event);
        }
        for waiting in waiting {
            assert_eq!(waiting.await.unwrap(), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_and_went_while_nobody_watched_does_not_count_for_long() {
        let mut watch = Watch::new();
        watch.pods.wrote(pod("a", 2, "pool"));
        watch.list(&[pod("b", 3, "pool")]);
        tokio::time::advance(SHOWN_WITHIN / 2).await;
        watch.pods.wrote(pod("c", 9, "pool"));
        assert_eq!(watch.of("pool"), ["a@2", "b@3", "c@9"]);
        tokio::time::advance(SHOWN_WITHIN / 2).await;
        assert_eq!(watch.of("pool"), ["b@3", "c@9"]);
        watch.pods.deleted(&pod("b", 3, "pool"));
        assert_eq!(watch.of("pool"), ["c@9"]);
        assert_eq!(watch.pods.state().written.len(), 2, "of a nothing is kept");
    }
}
