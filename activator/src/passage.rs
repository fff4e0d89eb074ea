//! One request on its way: what was tried, and what is to be done next.

use std::time::Duration;

use http::Version;
use http::request::Parts;
use tokio::time::Instant;

use crate::admission::{Ask, EndpointId, Turn};
use crate::connection::STREAM_WINDOW_BYTES;
use crate::forward::{Answered, Failure};
use crate::headers::{self, Timing};
use crate::index::Hit;
use crate::respond::Refusal;
use crate::revision::{Capacity, Permit};
use crate::upload::{AHEAD_BYTES_MAX, Progress, Upload};

/// An instance may have a slot although it has just said no: the end of a request that was cut off is on its way to it,
/// or its connection had ended. It is asked again after this long, then after twice as long, and so on.
const PAUSE_FIRST: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(100);
/// How long the autoscaler may take to name others for instances that refused for another reason.
const OTHERS_WITHIN: Duration = Duration::from_secs(1);
/// What a waiting request holds besides its head: its task, and the connection's buffer.
const WAITING_BASE_BYTES: u64 = 2 * 1024;
/// What hyper may have read of a body that nobody asked for; an HTTP/2 client may send a window.
const HTTP1_BUFFER_BYTES: usize = 64 * 1024;

/// A request on its way.
pub(crate) struct Passage<'a> {
    pub(crate) head: &'a Parts,
    pub(crate) body: Upload,
    pub(crate) hit: Hit,
    pub(crate) deadline: Instant,
    tried: Vec<EndpointId>,
    /// Of these, those that may take it a little later.
    full: Vec<EndpointId>,
    next_pause: Duration,
    /// Its place in line, once it has had one.
    pub(crate) turn: Option<Turn>,
    pub(crate) timing: Timing,
}

/// What to do after an attempt.
pub(crate) enum Next {
    Answer(Answered),
    Retry(Again),
}

/// Where a request may go that was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// Anywhere: the instance did not see it, and is set aside.
    Anywhere,
    /// To another instance: this one has refused it.
    Elsewhere,
    /// To another instance, or a little later to the same: its slots were taken, or its connection had ended.
    WhenFree,
}

impl<'a> Passage<'a> {
    pub(crate) fn new(head: &'a Parts, body: Upload, hit: Hit, arrived: Instant) -> Self {
        Self {
            deadline: arrived + hit.limits.timeout,
            head,
            body,
            hit,
            tried: Vec::new(),
            full: Vec::new(),
            next_pause: PAUSE_FIRST,
            turn: None,
            timing: Timing::default(),
        }
    }

    /// What an attempt's result means.
    pub(crate) fn judge(&self, permit: &Permit, result: Result<Answered, Failure>) -> Result<Next, Refusal> {
        let progress = self.body.progress();
        let failure = match result {
            Ok((response, _))
                if response.headers().contains_key(headers::REFUSED) && progress == Progress::Untouched =>
            {
                let is_full = response.headers()[headers::REFUSED] == headers::REFUSED_SLOTS;
                return Ok(Next::Retry(if is_full { Again::WhenFree } else { Again::Elsewhere }));
            }
            Ok(answered) => return Ok(Next::Answer(answered)),
            Err(failure) => failure,
        };
        tracing::debug!(revision = %self.hit.revision.name, endpoint = permit.endpoint().address(), %failure);
        match (failure, progress) {
            (Failure::Unsent(_), _) => {
                permit.suspect();
                Ok(Next::Retry(Again::Anywhere))
            }
            // The connection ended, and the instance may be well.
            (Failure::Unprocessed, Progress::Untouched) => Ok(Next::Retry(Again::WhenFree)),
            // Once, lest a request that kills goes from one to the next.
            (Failure::Crossed(_), Progress::Untouched) if self.tried.is_empty() => Ok(Next::Retry(Again::Elsewhere)),
            (_, Progress::TooLarge) => Err(self.too_large()),
            (_, Progress::Broken) => Err(Refusal::BodyBroken),
            (_, Progress::Untouched | Progress::Started) => Err(Refusal::InstanceDied),
        }
    }

    /// Keeps its place in line for the next attempt.
    pub(crate) fn come_back(&mut self, permit: &Permit, again: Again) {
        self.turn = Some(permit.turn());
        if again != Again::Anywhere {
            self.tried.push(permit.id());
        }
        if again == Again::WhenFree {
            self.full.push(permit.id());
        }
    }

    /// Until when it waits in line before it looks around, which one that was refused does before its deadline.
    pub(crate) fn waits_until(&self) -> Instant {
        let now = Instant::now();
        let look = match (&self.tried[..], &self.full[..]) {
            ([], _) => self.deadline,
            (_, []) => now + OTHERS_WITHIN,
            _ => now + self.next_pause,
        };
        look.min(self.deadline)
    }

    /// Goes on waiting, and from now on for those again that may have a slot by now; unless there is nobody to wait for.
    pub(crate) fn look_around(&mut self) -> Result<(), Refusal> {
        if Instant::now() >= self.deadline {
            return Err(self.timeout_waiting());
        }
        if self.full.is_empty() && self.hit.revision.is_exhausted(&self.tried) {
            return Err(Refusal::Unreachable);
        }
        self.next_pause = (self.next_pause * 2).min(PAUSE_MAX);
        let full = std::mem::take(&mut self.full);
        self.tried.retain(|id| !full.contains(id));
        Ok(())
    }

    pub(crate) fn ask(&self) -> Ask {
        Ask { turn: self.turn, bytes: held_bytes(self.head, &self.body), tried: self.tried.clone() }
    }

    /// Splits a wait into the start of an instance and the rest of it.
    pub(crate) fn waited(&mut self, waited: Duration, capacity: Capacity, start: Duration) {
        let is_start = capacity == Capacity::Zero && !start.is_zero();
        let of_start = if is_start { start.min(waited) } else { Duration::ZERO };
        self.timing.queue += waited - of_start;
        if is_start {
            self.timing.start = Some(self.timing.start.unwrap_or_default() + of_start);
        }
    }

    fn too_large(&self) -> Refusal {
        Refusal::BodyTooLarge { limit_bytes: self.hit.limits.request_body_bytes }
    }

    pub(crate) fn timeout(&self) -> Refusal {
        Refusal::Timeout { timeout_millis: self.hit.limits.timeout.as_millis() }
    }

    fn timeout_waiting(&self) -> Refusal {
        Refusal::TimeoutWaiting { timeout_millis: self.hit.limits.timeout.as_millis() }
    }
}

/// What a request holds in memory while it waits.
fn held_bytes(head: &Parts, body: &Upload) -> u64 {
    let headers = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
    let uri = head.uri.path_and_query().map_or(0, |path| path.as_str().len());
    let unread = match body {
        Upload::Empty => 0,
        Upload::Body(_) => {
            let buffer =
                if head.version == Version::HTTP_2 { STREAM_WINDOW_BYTES as usize } else { HTTP1_BUFFER_BYTES };
            let length = http_body::Body::size_hint(body).upper().unwrap_or(u64::MAX);
            length.min((AHEAD_BYTES_MAX + buffer) as u64)
        }
    };
    WAITING_BASE_BYTES + (headers + uri) as u64 + unread
}
