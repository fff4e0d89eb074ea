//! What to fetch, what to remove, and when to look again: a function of what is named, what is there, and the time.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use wisp_chassis::backoff::Backoff;

use super::name::ArtifactName;
use super::named::Sizes;

/// A revision that was rolled back, or a function that is deleted and applied again, finds its code where it was.
pub(crate) const KEPT_UNNAMED: Duration = Duration::from_secs(600);
/// At once: more would only share the network's and the disk's speed.
const FETCHES_MAX: usize = 4;
/// An operator that restarts is back in a second; one that is away for long is not asked by each node each second.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_CAP: Duration = Duration::from_secs(30);

/// The state of a node's artifacts.
#[derive(Default)]
pub(crate) struct Ledger {
    /// None until all revisions are known: before, nobody can say what is not named.
    named: Option<Sizes>,
    present: Sizes,
    fetches: BTreeMap<ArtifactName, Fetch>,
    unnamed: BTreeMap<ArtifactName, Instant>,
}

/// An artifact that is missing.
enum Fetch {
    // (new | Failed) => Running
    Running { backoff: Backoff },
    // Running => Failed
    Failed { again: Instant, backoff: Backoff },
}

/// What is to be done now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) fetch: Vec<(ArtifactName, u64)>,
    pub(crate) remove: Vec<ArtifactName>,
    /// When there will be more, if nothing happens before.
    pub(crate) next: Option<Instant>,
}

impl Ledger {
    /// Revisions name these, and no others.
    pub(crate) fn name(&mut self, named: Sizes) {
        // One that nobody wants any more is begun anew when somebody does; what runs ends by itself.
        self.fetches.retain(|name, fetch| named.contains_key(name) || matches!(fetch, Fetch::Running { .. }));
        self.named = Some(named);
    }

    /// These are in the folder, and no others.
    pub(crate) fn find(&mut self, present: Sizes) {
        self.present = present;
    }

    /// One was fetched, and is in the folder.
    pub(crate) fn fetched(&mut self, name: ArtifactName, bytes: u64) {
        self.fetches.remove(&name);
        self.present.insert(name, bytes);
    }

    /// One could not be fetched; it is tried again later.
    pub(crate) fn failed(&mut self, name: &ArtifactName, now: Instant) {
        if let Some(Fetch::Running { mut backoff }) = self.fetches.remove(name) {
            let again = now + backoff.wait();
            self.fetches.insert(name.clone(), Fetch::Failed { again, backoff });
        }
    }

    /// The folder is empty, and nothing is being fetched: there is another key.
    pub(crate) fn emptied(&mut self) {
        self.present.clear();
        self.fetches.clear();
    }

    /// What revisions name and the folder lacks.
    pub(crate) fn missing(&self) -> impl Iterator<Item = (&ArtifactName, u64)> {
        let named = self.named.iter().flatten();
        named.filter(|(name, bytes)| self.present.get(name) != Some(bytes)).map(|(name, bytes)| (name, *bytes))
    }

    pub(crate) fn present(&self) -> &Sizes {
        &self.present
    }

    pub(crate) fn knows_all(&self) -> bool {
        self.named.is_some()
    }

    /// What to do now. Fetches of it are taken to run from here on.
    pub(crate) fn step(&mut self, now: Instant) -> Step {
        let mut step = Step::default();
        self.step_fetches(now, &mut step);
        self.step_removals(now, &mut step);
        step
    }

    fn step_fetches(&mut self, now: Instant, step: &mut Step) {
        let mut running = self.fetches.values().filter(|fetch| matches!(fetch, Fetch::Running { .. })).count();
        let missing: Vec<_> = self.missing().map(|(name, bytes)| (name.clone(), bytes)).collect();
        for (name, bytes) in missing {
            let backoff = match self.fetches.get(&name) {
                Some(Fetch::Running { .. }) => continue,
                Some(Fetch::Failed { again, .. }) if *again > now => {
                    step.sooner(*again);
                    continue;
                }
                Some(Fetch::Failed { backoff, .. }) => backoff.clone(),
                None => Backoff::new(RETRY_FIRST, RETRY_CAP),
            };
            // The end of one that runs is the time to look again.
            if running == FETCHES_MAX {
                continue;
            }
            running += 1;
            self.fetches.insert(name.clone(), Fetch::Running { backoff });
            step.fetch.push((name, bytes));
        }
    }

    fn step_removals(&mut self, now: Instant, step: &mut Step) {
        let Some(named) = &self.named else { return };
        self.unnamed.retain(|name, _| self.present.contains_key(name) && !named.contains_key(name));
        for name in self.present.keys().filter(|name| !named.contains_key(*name)) {
            let since = *self.unnamed.entry(name.clone()).or_insert(now);
            if since + KEPT_UNNAMED <= now {
                step.remove.push(name.clone());
            } else {
                step.sooner(since + KEPT_UNNAMED);
            }
        }
        for name in &step.remove {
            self.present.remove(name);
            self.unnamed.remove(name);
        }
    }
}

impl Step {
    fn sooner(&mut self, at: Instant) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ArtifactName {
        ArtifactName::parse(&format!("{text}.wisp")).unwrap()
    }

    /// Files of ten bytes each.
    fn files(names: &[&str]) -> Sizes {
        names.iter().map(|text| (name(text), 10)).collect()
    }

    fn fetches(step: &Step) -> Vec<&str> {
        step.fetch.iter().map(|(name, _)| name.as_str()).collect()
    }

    fn ledger(named: &[&str], present: &[&str]) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.find(files(present));
        ledger.name(files(named));
        ledger
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_named_and_missing_is_fetched_once() {
        let now = Instant::now();
        let mut ledger = ledger(&["a", "b"], &["a"]);
        assert_eq!(fetches(&ledger.step(now)), ["b.wisp"]);
        assert_eq!(ledger.step(now), Step::default());
        ledger.fetched(name("b"), 10);
        assert_eq!(ledger.step(now), Step::default());
        assert_eq!(ledger.missing().count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_of_another_size_is_fetched_again() {
        let mut ledger = ledger(&["a"], &[]);
        ledger.find([(name("a"), 9)].into());
        assert_eq!(fetches(&ledger.step(Instant::now())), ["a.wisp"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_fetch_is_tried_again_after_longer_and_longer() {
        let mut now = Instant::now();
        let mut ledger = ledger(&["a"], &[]);
        let mut waits = Vec::new();
        for _ in 0..12 {
            assert_eq!(fetches(&ledger.step(now)), ["a.wisp"]);
            ledger.failed(&name("a"), now);
            let step = ledger.step(now);
            assert!(step.fetch.is_empty());
            let next = step.next.unwrap();
            waits.push(next - now);
            now = next;
        }
        assert!(waits[0] <= RETRY_FIRST && waits[11] >= RETRY_CAP / 2 && waits[11] <= RETRY_CAP, "{waits:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_are_fetched_at_once() {
        let now = Instant::now();
        let mut ledger = ledger(&["a", "b", "c", "d", "e", "f"], &[]);
        assert_eq!(ledger.step(now).fetch.len(), FETCHES_MAX);
        assert!(ledger.step(now).fetch.is_empty());
        ledger.fetched(name("a"), 10);
        ledger.failed(&name("b"), now);
        assert_eq!(fetches(&ledger.step(now)), ["e.wisp", "f.wisp"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_names_is_kept_for_a_while_and_then_removed() {
        let now = Instant::now();
        let mut ledger = ledger(&["a"], &["a", "b"]);
        assert_eq!(ledger.step(now), Step { next: Some(now + KEPT_UNNAMED), ..Step::default() });
        let step = ledger.step(now + KEPT_UNNAMED);
        assert_eq!(step.remove, [name("b")]);
        assert_eq!(ledger.step(now + KEPT_UNNAMED), Step::default());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_named_again_in_time_stays() {
        let now = Instant::now();
        let mut ledger = ledger(&[], &["a"]);
        ledger.step(now);
        ledger.name(files(&["a"]));
        ledger.step(now + KEPT_UNNAMED / 2);
        ledger.name(files(&[]));
        let step = ledger.step(now + KEPT_UNNAMED);
        assert_eq!(step, Step { next: Some(now + KEPT_UNNAMED * 2), ..Step::default() });
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_removed_before_all_revisions_are_known() {
        let now = Instant::now();
        let mut ledger = Ledger::default();
        ledger.find(files(&["a"]));
        ledger.step(now);
        assert_eq!(ledger.step(now + KEPT_UNNAMED * 2), Step::default());
        ledger.name(files(&[]));
        let later = now + Duration::from_secs(3600);
        assert_eq!(ledger.step(later).next, Some(later + KEPT_UNNAMED));
    }

    #[tokio::test(start_paused = true)]
    async fn with_another_key_everything_is_fetched_anew() {
        let now = Instant::now();
        let mut ledger = ledger(&["a", "b"], &["a"]);
        ledger.step(now);
        ledger.emptied();
        assert_eq!(fetches(&ledger.step(now)), ["a.wisp", "b.wisp"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_for_what_nobody_names_any_more_is_dropped() {
        let now = Instant::now();
        let mut ledger = ledger(&["a"], &[]);
        ledger.step(now);
        ledger.failed(&name("a"), now);
        ledger.name(files(&[]));
        assert_eq!(ledger.step(now), Step::default());
        ledger.name(files(&["a"]));
        assert_eq!(fetches(&ledger.step(now)), ["a.wisp"]);
    }
}
