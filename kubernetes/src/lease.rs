//! One leader among replicas, by a Lease of the API server.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease as Object, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::term::{Candidate, Move, Record};

/// One call may take this much of the time between two.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// The times of a lease. A standby takes over within `duration` and one `retry` of the leader's last renewal.
#[derive(Clone, Copy, Debug)]
pub struct LeaseSettings {
    /// How long a silent leader is believed to live.
    pub duration: Duration,
    /// A leader that could not renew for this long gives up; less than `duration`, so that there are never two.
    pub deadline: Duration,
    /// Between two renewals, and between two looks of a standby.
    pub retry: Duration,
}

/// Which lease, and who wants it.
#[derive(Clone, Copy, Debug)]
pub struct LeaseOf<'a> {
    /// The lease's namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// This process's alone: a pod's name does.
    pub identity: &'a str,
}

impl Default for LeaseSettings {
    /// Taken over in less than three seconds.
    fn default() -> Self {
        Self {
            duration: Duration::from_millis(2400),
            deadline: Duration::from_millis(1900),
            retry: Duration::from_millis(400),
        }
    }
}

/// A lease, and the name under which this process wants it.
#[derive(Clone, Debug)]
pub struct Lease {
    objects: Api<Object>,
    name: String,
    identity: String,
    settings: LeaseSettings,
}

/// Leadership ended: stop acting as the leader at once.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// Somebody else wrote their name, or the lease was deleted.
    #[error("lease {0} was taken over by another replica")]
    Taken(String),
    /// It could not be renewed for too long; another may lead by now.
    #[error("lease {0} could not be renewed in time: {1}")]
    Unrenewed(String, String),
}

/// What a leader knows of its lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenure {
    /// Nobody else leads.
    Sure,
    /// It could not be renewed in time, and why: write nothing, for another may lead by now.
    Unsure(String),
}

/// Why a call came to nothing.
#[derive(Debug)]
enum Failure {
    /// Somebody else wrote first.
    Conflict,
    /// The API server answers, and refuses.
    Refused(String),
    /// It does not answer, or has no store: nobody else gets an answer either, unless only the way from here is cut.
    Away(String),
}

impl Lease {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(client: Client, of: LeaseOf<'_>, settings: LeaseSettings) -> Self {
        let objects = Api::namespaced(client, of.namespace);
        Self { objects, name: of.name.to_owned(), identity: of.identity.to_owned(), settings }
    }

    /// Waits until this process leads. Errors of the API server are waited out.
    pub async fn acquire(&self) {
        let (origin, mut candidate) = (Instant::now(), Candidate::new(&self.identity, self.settings.duration));
        loop {
            match self.try_acquire(origin, &mut candidate).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(failure) => {
                    tracing::debug!(lease = self.name, %failure, "the lease cannot be looked at");
                    candidate.looked_in_vain();
                }
            }
            sleep(self.settings.retry).await;
        }
    }

    /// Renews while this process leads; returns when that has ended, or may have.
    pub async fn hold(&self) -> Lost {
        let (tenure, mut changes) = watch::channel(Tenure::Sure);
        let unsure = async {
            let changed = changes.wait_for(|now| *now != Tenure::Sure).await;
            changed.map_or(Tenure::Sure, |now| now.clone())
        };
        tokio::select! {
            lost = self.keep(&tenure) => lost,
            Tenure::Unsure(problem) = unsure => Lost::Unrenewed(self.name.clone(), problem),
        }
    }

    /// Renews while this process leads, and goes on to lead while the API server is away: then nobody can take over, and
    /// what needs no API server shall go on. `tenure` says whether it may write; when the API server is back and another
    /// has the lease, this returns.
    pub async fn keep(&self, tenure: &watch::Sender<Tenure>) -> Lost {
        let mut renewed = Instant::now();
        loop {
            sleep(self.settings.retry).await;
            // What was asked before is what counts: an answer may have been long on its way.
            let asked = Instant::now();
            let failure = match timeout(self.settings.retry, self.renew()).await {
                Ok(Ok(true)) => {
                    renewed = asked;
                    self.told(tenure, Tenure::Sure);
                    continue;
                }
                Ok(Ok(false)) => return Lost::Taken(self.name.clone()),
                Ok(Err(failure)) => failure,
                Err(_) => Failure::Away("no answer in time".to_owned()),
            };
            // One more try would end after the deadline.
            if renewed.elapsed() + 2 * self.settings.retry < self.settings.deadline {
                continue;
            }
            match failure {
                Failure::Away(problem) => self.told(tenure, Tenure::Unsure(problem)),
                refused => return Lost::Unrenewed(self.name.clone(), refused.to_string()),
            }
        }
    }

    /// Says so once, however long it lasts.
    fn told(&self, tenure: &watch::Sender<Tenure>, now: Tenure) {
        let is_new = tenure.send_if_modified(|before| {
            let is_new = std::mem::discriminant(before) != std::mem::discriminant(&now);
            if is_new {
                before.clone_from(&now);
            }
            is_new
        });
        match now {
            Tenure::Unsure(problem) if is_new => tracing::warn!(lease = self.name, problem, "cannot be renewed"),
            Tenure::Sure if is_new => tracing::info!(lease = self.name, "renewed again"),
            _ => {}
        }
    }

    /// Gives it up, so that a standby need not wait. To be called when this process has stopped acting as the leader.
    pub async fn release(&self) {
        let release = async {
            loop {
                let Some(mut object) = self.objects.get_opt(&self.name).await? else { return Ok(()) };
                let spec = object.spec.get_or_insert_default();
                if spec.holder_identity.as_deref() != Some(&self.identity) {
                    return Ok(());
                }
                spec.holder_identity = Some(String::new());
                match self.objects.replace(&self.name, &PostParams::default(), &object).await {
                    // A renewal that was on its way came between.
                    Err(kube::Error::Api(status)) if status.is_conflict() => {}
                    replaced => return replaced.map(drop),
                }
            }
        };
        // It ends by itself soon after.
        if let Ok(Err(error)) = timeout(CALL_TIMEOUT, release).await {
            tracing::debug!(lease = self.name, %error, "the lease was not given up");
        }
    }

    async fn try_acquire(&self, origin: Instant, candidate: &mut Candidate) -> Result<bool, Failure> {
        let Some(object) = self.call(self.objects.get_opt(&self.name)).await? else {
            let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
            let object = Object { metadata, spec: Some(self.spec(None)) };
            return conflict_is_no(self.call(self.objects.create(&PostParams::default(), &object)).await);
        };
        let record = record(&object);
        match candidate.look(&record, origin.elapsed()) {
            Move::Wait => Ok(false),
            Move::Take => self.write(object).await,
        }
    }

    /// False when somebody else has it.
    async fn renew(&self) -> Result<bool, Failure> {
        let Some(object) = self.call(self.objects.get_opt(&self.name)).await? else { return Ok(false) };
        if record(&object).holder.as_deref() != Some(&self.identity) {
            return Ok(false);
        }
        self.write(object).await
    }

    /// The object's version makes this fail when somebody else wrote since it was read.
    async fn write(&self, mut object: Object) -> Result<bool, Failure> {
        object.spec = Some(self.spec(object.spec.take()));
        let name = object.name_any();
        conflict_is_no(self.call(self.objects.replace(&name, &PostParams::default(), &object)).await)
    }

    fn spec(&self, before: Option<LeaseSpec>) -> LeaseSpec {
        let before = before.unwrap_or_default();
        let now = MicroTime(Timestamp::now());
        let same = before.holder_identity.as_deref() == Some(&self.identity);
        let transitions = before.lease_transitions.unwrap_or(0) + i32::from(!same);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            // Whole seconds are all that the object has; nobody here reads it.
            lease_duration_seconds: Some(i32::try_from(self.settings.duration.as_secs()).unwrap_or(i32::MAX).max(1)),
            acquire_time: if same { before.acquire_time } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..before
        }
    }

    async fn call<T>(&self, call: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
        match timeout(CALL_TIMEOUT, call).await {
            Ok(answer) => answer.map_err(Failure::from),
            Err(_) => Err(Failure::Away("no answer in time".to_owned())),
        }
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 409 => Self::Conflict,
            // 429 and what is 500 and above is said without a look at what was asked.
            kube::Error::Api(status) if status.code < 500 && status.code != 429 => {
                Self::Refused(status.message.clone())
            }
            other => Self::Away(other.to_string()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict => formatter.write_str("somebody else wrote first"),
            Self::Refused(problem) | Self::Away(problem) => formatter.write_str(problem),
        }
    }
}

fn conflict_is_no<T>(written: Result<T, Failure>) -> Result<bool, Failure> {
    match written {
        Ok(_) => Ok(true),
        Err(Failure::Conflict) => Ok(false),
        Err(failure) => Err(failure),
    }
}

fn record(object: &Object) -> Record {
    let spec = object.spec.clone().unwrap_or_default();
    Record {
        holder: spec.holder_identity,
        renewed: spec.renew_time.map(|time| time.0.to_string()),
        transitions: spec.lease_transitions.unwrap_or(0),
    }
}
