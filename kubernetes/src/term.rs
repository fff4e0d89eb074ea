//! When somebody may lead, as a function of what the Lease says and the time. Pure.
//!
//! Clocks of two machines are not compared: whoever waits counts, by its own clock, how long the record has not changed.
//! That is how client-go does it.

use std::time::Duration;

/// What a Lease says of its holder. Any change means that the holder lives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) holder: Option<String>,
    pub(crate) renewed: Option<String>,
    pub(crate) transitions: i32,
}

/// A candidate, and what it has seen of the Lease so far.
#[derive(Debug)]
pub(crate) struct Candidate {
    name: String,
    // How long a silent holder is believed to live.
    duration: Duration,
    seen: Option<(Record, Duration)>,
}

/// What a candidate may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    /// Write one's own name.
    Take,
    /// Somebody else leads.
    Wait,
}

impl Candidate {
    pub(crate) fn new(name: &str, duration: Duration) -> Self {
        Self { name: name.to_owned(), duration, seen: None }
    }

    /// The Lease says `record` at `now`, by a clock of one's own.
    pub(crate) fn look(&mut self, record: &Record, now: Duration) -> Move {
        let since = match &self.seen {
            Some((seen, since)) if seen == record => *since,
            _ => {
                self.seen = Some((record.clone(), now));
                now
            }
        };
        match record.holder.as_deref() {
            None | Some("") => Move::Take,
            // From an earlier life under the same name.
            Some(holder) if holder == self.name => Move::Take,
            Some(_) if now.saturating_sub(since) >= self.duration => Move::Take,
            Some(_) => Move::Wait,
        }
    }

    /// The Lease could not be read. A holder that cannot reach the API server either is not silent: its time begins anew
    /// when the API server is back, so that it can renew.
    pub(crate) fn looked_in_vain(&mut self) {
        self.seen = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LASTS: Duration = Duration::from_secs(2);

    fn candidate() -> Candidate {
        Candidate::new("a", LASTS)
    }

    fn held(holder: &str, renewed: &str) -> Record {
        Record { holder: Some(holder.to_owned()), renewed: Some(renewed.to_owned()), transitions: 1 }
    }

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_lease_that_nobody_holds_is_taken_at_once() {
        assert_eq!(candidate().look(&Record::default(), at(0)), Move::Take);
        assert_eq!(candidate().look(&held("", "1"), at(0)), Move::Take);
        assert_eq!(candidate().look(&held("a", "1"), at(0)), Move::Take);
    }

    #[test]
    fn a_holder_that_renews_keeps_it() {
        let mut candidate = candidate();
        for second in 0..10 {
            let record = held("b", &second.to_string());
            assert_eq!(candidate.look(&record, at(second * 1500)), Move::Wait, "{second}");
        }
    }

    #[test]
    fn a_silent_holder_loses_it_after_the_whole_time_by_the_waiters_clock() {
        let mut candidate = candidate();
        let record = held("b", "1");
        assert_eq!(candidate.look(&record, at(100)), Move::Wait);
        assert_eq!(candidate.look(&record, at(2099)), Move::Wait);
        assert_eq!(candidate.look(&record, at(2100)), Move::Take);
    }

    #[test]
    fn a_holder_has_its_whole_time_again_after_nobody_could_look() {
        let mut candidate = candidate();
        let record = held("b", "1");
        candidate.look(&record, at(0));
        candidate.looked_in_vain();
        assert_eq!(candidate.look(&record, at(60_000)), Move::Wait);
        assert_eq!(candidate.look(&record, at(62_000)), Move::Take);
    }

    #[test]
    fn a_change_begins_the_time_anew() {
        let mut candidate = candidate();
        candidate.look(&held("b", "1"), at(0));
        assert_eq!(candidate.look(&held("c", "1"), at(2500)), Move::Wait);
        assert_eq!(candidate.look(&held("c", "1"), at(4500)), Move::Take);
    }
}
