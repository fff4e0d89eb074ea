//! Who gets a function's requests: what `rollback` and `traffic` make of `spec.traffic`. Pure.

use std::collections::BTreeSet;

use wisp_api::FunctionKey;
use wisp_api::ingress::TrafficTarget;
use wisp_api::status::TrafficStatus;

/// The word for the newest revision, whichever it is.
const LATEST: &str = "latest";

/// A function as it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Now {
    pub(crate) function: String,
    /// `spec.traffic`.
    pub(crate) targets: Vec<TrafficTarget>,
    /// `status.traffic`.
    pub(crate) effective: Vec<TrafficStatus>,
    /// Revisions that can be given traffic, oldest first.
    pub(crate) ready: Vec<String>,
}

/// What is to be changed, in the words of the command line.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Change<'a> {
    /// `REVISION=PERCENT`; none leaves shares as they are.
    pub(crate) shares: &'a [String],
    /// `TAG=REVISION`.
    pub(crate) tags: &'a [String],
    /// Tags that go.
    pub(crate) untags: &'a [String],
}

impl Now {
    /// Everything to one revision: `to`, or the one before that which has the most now. Tags stay.
    ///
    /// # Errors
    /// When there is no such revision.
    pub(crate) fn rollback(&self, to: Option<&str>) -> Result<Vec<TrafficTarget>, String> {
        let revision = match to {
            Some(word) => self.revision(word)?,
            None => self.earlier()?,
        };
        Ok([target(Some(revision), 100)].into_iter().chain(self.tagged()).collect())
    }

    /// Everything to the newest revision, and to each that follows. Tags stay.
    pub(crate) fn latest(&self) -> Vec<TrafficTarget> {
        let tagged = self.tagged();
        if tagged.is_empty() { Vec::new() } else { [target(None, 100)].into_iter().chain(tagged).collect() }
    }

    /// What the command line asks for.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn change(&self, change: Change<'_>) -> Result<Vec<TrafficTarget>, String> {
        let shares = if change.shares.is_empty() { self.shares() } else { self.given_shares(change.shares)? };
        let mut tagged = self.tagged();
        for tag in change.untags {
            let known = tagged.len();
            tagged.retain(|target| target.tag.as_ref() != Some(tag));
            if tagged.len() == known {
                return Err(format!("no revision has the tag {tag:?}"));
            }
        }
        for given in change.tags {
            let (tag, word) =
                given.split_once('=').ok_or_else(|| format!("{given:?} is not of the form TAG=REVISION"))?;
            tagged.retain(|target| target.tag.as_deref() != Some(tag));
            tagged.push(TrafficTarget { tag: Some(tag.to_owned()), ..self.target(word, 0)? });
        }
        let all: Vec<TrafficTarget> = shares.into_iter().chain(tagged).collect();
        // The same as nothing, which is shorter.
        if all == [target(None, 100)] { Ok(Vec::new()) } else { Ok(all) }
    }

    fn given_shares(&self, shares: &[String]) -> Result<Vec<TrafficTarget>, String> {
        let (mut targets, mut seen, mut sum) = (Vec::new(), BTreeSet::new(), 0_u32);
        for share in shares {
            let form = || format!("{share:?} is not of the form REVISION=PERCENT");
            let (word, percent) = share.split_once('=').ok_or_else(form)?;
            let percent: u8 = percent.trim_end_matches('%').parse().map_err(|_| form())?;
            let target = self.target(word, percent)?;
            if !seen.insert(target.revision.clone()) {
                return Err(format!("{word:?} is given twice"));
            }
            sum += u32::from(percent);
            targets.push(target);
        }
        if sum != 100 {
            return Err(format!("percentages must sum to 100, not {sum}"));
        }
        Ok(targets)
    }

    fn target(&self, word: &str, percent: u8) -> Result<TrafficTarget, String> {
        let revision = if word == LATEST { None } else { Some(self.revision(word)?) };
        Ok(target(revision, percent))
    }

    /// The shares of now, without tags.
    fn shares(&self) -> Vec<TrafficTarget> {
        let shares: Vec<_> = self.targets.iter().filter(|target| target.percent > 0).collect();
        if shares.is_empty() {
            return vec![target(None, 100)];
        }
        shares.into_iter().map(|share| target(share.revision.clone(), share.percent)).collect()
    }

    /// The tags of now, without shares.
    fn tagged(&self) -> Vec<TrafficTarget> {
        let tagged = self.targets.iter().filter(|target| target.tag.is_some());
        tagged.map(|target| TrafficTarget { percent: 0, ..target.clone() }).collect()
    }

    /// A revision by its name or its number.
    fn revision(&self, word: &str) -> Result<String, String> {
        let numbered = word.parse().ok().map(|number| FunctionKey::new("", &self.function).revision(number).name);
        let name = numbered.unwrap_or_else(|| word.to_owned());
        if self.ready.contains(&name) {
            return Ok(name);
        }
        Err(format!("{} has no ready revision {word:?}; there is {}", self.function, or_none(&self.ready)))
    }

    fn earlier(&self) -> Result<String, String> {
        let most = self.effective.iter().max_by_key(|target| target.percent);
        let serving = most.map(|target| target.revision.as_str());
        let place = self.ready.iter().position(|name| Some(name.as_str()) == serving).unwrap_or(self.ready.len());
        match place.checked_sub(1).and_then(|place| self.ready.get(place)) {
            Some(earlier) => Ok(earlier.clone()),
            None => Err(format!("{} has no revision before {}", self.function, serving.unwrap_or("the first"))),
        }
    }
}

fn target(revision: Option<String>, percent: u8) -> TrafficTarget {
    TrafficTarget { latest: revision.is_none(), revision, percent, tag: None }
}

fn or_none(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(revision: &str, percent: u8) -> TrafficTarget {
        target((revision != LATEST).then(|| format!("hello-0000{revision}")), percent)
    }

    fn tag(tag: &str, revision: &str) -> TrafficTarget {
        TrafficTarget { tag: Some(tag.to_owned()), ..share(revision, 0) }
    }

    /// With three revisions, of which the last serves.
    fn now() -> Now {
        let name = |number: u32| format!("hello-{number:05}");
        let effective = TrafficStatus { revision: name(3), percent: 100, ..TrafficStatus::default() };
        Now {
            function: "hello".to_owned(),
            effective: vec![effective],
            ready: (1..=3).map(name).collect(),
            ..Now::default()
        }
    }

    type Words = &'static [&'static str];

    fn words(words: Words) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn a_rollback_goes_one_back_or_where_it_is_told() {
        assert_eq!(now().rollback(None), Ok(vec![share("2", 100)]));
        assert_eq!(now().rollback(Some("1")), Ok(vec![share("1", 100)]));
        assert_eq!(now().rollback(Some("hello-00002")), Ok(vec![share("2", 100)]));
        let mut rolled = now();
        rolled.effective[0].revision = "hello-00002".to_owned();
        assert_eq!(rolled.rollback(None), Ok(vec![share("1", 100)]), "again goes further");
        rolled.effective[0].revision = "hello-00001".to_owned();
        assert_eq!(rolled.rollback(None), Err("hello has no revision before hello-00001".to_owned()));
        let unknown = now().rollback(Some("9")).unwrap_err();
        assert!(unknown.ends_with("\"9\"; there is hello-00001, hello-00002, hello-00003"), "{unknown}");
    }

    #[test]
    fn tags_outlive_a_rollback_and_its_end() {
        let tagged = Now { targets: vec![TrafficTarget { percent: 100, ..tag("new", LATEST) }], ..now() };
        assert_eq!(tagged.rollback(None), Ok(vec![share("2", 100), tag("new", LATEST)]));
        assert_eq!(tagged.latest(), vec![share(LATEST, 100), tag("new", LATEST)]);
        assert_eq!(now().latest(), Vec::new(), "the field goes");
    }

    #[test]
    fn shares_replace_shares_and_tags_are_kept() {
        let before = Now { targets: vec![share("1", 100), tag("old", "1")], ..now() };
        let table: [(Words, Words, Words, Vec<TrafficTarget>); 6] = [
            (&["latest=90", "2=10%"], &[], &[], vec![share(LATEST, 90), share("2", 10), tag("old", "1")]),
            (&[], &["new=latest"], &[], vec![share("1", 100), tag("old", "1"), tag("new", LATEST)]),
            (&[], &["old=2"], &[], vec![share("1", 100), tag("old", "2")]),
            (&[], &[], &["old"], vec![share("1", 100)]),
            (&["latest=100"], &[], &["old"], Vec::new()),
            (&["hello-00003=100"], &[], &[], vec![share("3", 100), tag("old", "1")]),
        ];
        for (shares, tags, untags, wanted) in table {
            let (shares, tags, untags) = (words(shares), words(tags), words(untags));
            let change = Change { shares: &shares, tags: &tags, untags: &untags };
            assert_eq!(before.change(change), Ok(wanted), "{change:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        let table: [(Words, Words, Words, &str); 7] = [
            (&["1"], &[], &[], "is not of the form REVISION=PERCENT"),
            (&["1=many"], &[], &[], "is not of the form REVISION=PERCENT"),
            (&["1=50", "2=49"], &[], &[], "percentages must sum to 100, not 99"),
            (&["1=50", "hello-00001=50"], &[], &[], "is given twice"),
            (&["7=100"], &[], &[], "has no ready revision \"7\""),
            (&[], &["x"], &[], "is not of the form TAG=REVISION"),
            (&[], &[], &["x"], "no revision has the tag \"x\""),
        ];
        for (shares, tags, untags, wanted) in table {
            let (shares, tags, untags) = (words(shares), words(tags), words(untags));
            let problem = now().change(Change { shares: &shares, tags: &tags, untags: &untags }).unwrap_err();
            assert!(problem.contains(wanted), "{problem}");
        }
    }
}
