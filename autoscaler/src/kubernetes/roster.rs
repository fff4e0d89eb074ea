//! The instances' pods, as the API server shows them. Pure.

use std::collections::{BTreeSet, HashMap};

use k8s_openapi::api::core::v1::Pod;
use wisp_api::RevisionKey;
use wisp_api::names::{LABEL_INSTANCE, LABEL_POOL, LABEL_REVISION};

/// The pods that live, by UID.
#[derive(Debug, Default)]
pub(crate) struct Roster(HashMap<String, PodFact>);

/// What is to be known of an instance's pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodFact {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    /// The node that runs it, once there is one.
    pub(crate) node: Option<String>,
    /// Its pool, while nobody has claimed it.
    pub(crate) pool: Option<String>,
    /// What it serves, once it has a revision.
    pub(crate) revision: Option<RevisionKey>,
}

/// What the autoscaler is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// An instance is being started.
    Expected(PodFact),
    /// One is gone.
    Exited { uid: String, cause: String },
}

impl Roster {
    pub(crate) fn apply(&mut self, pod: &Pod) -> Option<News> {
        let fact = PodFact::of(pod)?;
        if let Some(cause) = end_of(pod) {
            return self.remove(&fact.uid, cause);
        }
        let is_new = self.0.insert(fact.uid.clone(), fact.clone()).is_none();
        is_new.then_some(News::Expected(fact))
    }

    pub(crate) fn delete(&mut self, uid: &str) -> Option<News> {
        self.remove(uid, "its pod was deleted".to_owned())
    }

    /// What went while nobody watched.
    pub(crate) fn keep(&mut self, listed: &BTreeSet<String>) -> Vec<News> {
        let gone: Vec<String> = self.0.keys().filter(|uid| !listed.contains(*uid)).cloned().collect();
        gone.iter().filter_map(|uid| self.delete(uid)).collect()
    }

    pub(crate) fn get(&self, uid: &str) -> Option<&PodFact> {
        self.0.get(uid)
    }

    fn remove(&mut self, uid: &str, cause: String) -> Option<News> {
        self.0.remove(uid).map(|known| News::Exited { uid: known.uid, cause })
    }
}

impl PodFact {
    /// None for a pod that is no instance.
    pub(crate) fn of(pod: &Pod) -> Option<Self> {
        let metadata = &pod.metadata;
        let labels = metadata.labels.as_ref()?;
        if labels.get(LABEL_INSTANCE).map(String::as_str) != Some("true") {
            return None;
        }
        let namespace = metadata.namespace.clone()?;
        let revision = labels.get(LABEL_REVISION).map(|name| RevisionKey::new(&namespace, name));
        Some(Self {
            name: metadata.name.clone()?,
            uid: metadata.uid.clone()?,
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            pool: labels.get(LABEL_POOL).cloned(),
            revision,
            namespace,
        })
    }
}

/// Why a pod has ended; none while it lives.
pub(crate) fn end_of(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let phase = status.phase.as_deref()?;
    if phase != "Succeeded" && phase != "Failed" {
        return None;
    }
    let containers = status.container_statuses.iter().flatten();
    let mut ends = containers.filter_map(|container| container.state.as_ref()?.terminated.as_ref());
    Some(match (ends.next(), &status.reason) {
        (_, Some(reason)) => reason.clone(),
        (Some(end), None) => format!("exit code {}", end.exit_code),
        (None, None) => phase.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str, labels: &str, status: &str) -> Pod {
        let text = format!(
            r#"{{"metadata": {{"name": "p-{uid}", "namespace": "shop", "uid": "{uid}", "labels": {labels}}}, "status": {status}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    const POOL: &str = r#"{"wisp.dev/instance": "true", "wisp.dev/pool": "default"}"#;
    const CART: &str = r#"{"wisp.dev/instance": "true", "wisp.dev/revision": "cart-00001"}"#;
    const RUNS: &str = r#"{"phase": "Running"}"#;

    #[test]
    fn a_pod_is_expected_once_and_forgotten_when_it_ends() {
        let mut roster = Roster::default();
        let Some(News::Expected(fact)) = roster.apply(&pod("1", POOL, RUNS)) else { panic!("it is news") };
        assert_eq!((fact.pool.as_deref(), fact.revision), (Some("default"), None));
        assert_eq!(roster.apply(&pod("1", CART, RUNS)), None);
        assert_eq!(roster.get("1").unwrap().revision, Some(RevisionKey::new("shop", "cart-00001")));
        let ended = r#"{"phase": "Succeeded", "containerStatuses": [{"name": "instance", "image": "", "imageID": "",
            "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": 0}}}]}"#;
        let exited = News::Exited { uid: "1".to_owned(), cause: "exit code 0".to_owned() };
        assert_eq!(roster.apply(&pod("1", CART, ended)), Some(exited));
        assert_eq!(roster.apply(&pod("1", CART, ended)), None);
        assert_eq!(roster.delete("1"), None);
    }

    #[test]
    fn ends_are_said_in_a_few_words() {
        for (status, said) in [
            (r#"{"phase": "Pending"}"#, None),
            (RUNS, None),
            (r#"{"phase": "Failed", "reason": "Evicted"}"#, Some("Evicted")),
            (r#"{"phase": "Failed"}"#, Some("Failed")),
        ] {
            assert_eq!(end_of(&pod("1", CART, status)).as_deref(), said);
        }
    }

    #[test]
    fn what_a_new_list_lacks_is_gone_and_strangers_are_passed_over() {
        let mut roster = Roster::default();
        assert_eq!(roster.apply(&pod("9", r#"{"app": "x"}"#, RUNS)), None);
        roster.apply(&pod("1", POOL, RUNS));
        roster.apply(&pod("2", CART, RUNS));
        let news = roster.keep(&BTreeSet::from(["2".to_owned()]));
        assert_eq!(news, [News::Exited { uid: "1".to_owned(), cause: "its pod was deleted".to_owned() }]);
    }
}
