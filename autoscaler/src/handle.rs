//! The way into the loop from inside the program.

use tokio::sync::{broadcast, mpsc, oneshot};
use wisp_api::RevisionKey;
use wisp_chassis::control::Incoming;

use crate::catalog::{RecordError, RevisionRecord};
use crate::event::{Event, Fact};
use crate::snapshot::{Explained, Snapshot};

/// Talks to the one loop. Cheap to clone. What is sent is done in the order in which it was sent.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) incoming: mpsc::Sender<Incoming>,
    pub(crate) facts: broadcast::Sender<Happened>,
}

/// What the loop was asked from inside the program.
#[derive(Debug)]
pub(crate) enum Command {
    Tell(Event),
    Explain(String, oneshot::Sender<Option<Vec<Explained>>>),
    Snapshot(oneshot::Sender<Snapshot>),
}

/// Something that happened in the fleet, with its time.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Happened {
    /// When.
    pub unix_millis: u64,
    /// What.
    #[serde(flatten)]
    pub fact: Fact,
}

/// Why a handle could not do what it was asked.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum HandleError {
    /// The loop has ended.
    #[error("the autoscaler has stopped")]
    Stopped,
    /// The record cannot be followed; nothing was changed.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl Handle {
    /// Says that a revision exists, with these properties.
    ///
    /// # Errors
    /// When the record cannot be followed, or the loop has ended.
    pub async fn apply(&self, record: RevisionRecord) -> Result<(), HandleError> {
        let checked = record.check()?;
        self.tell(Event::Apply(Box::new(checked))).await
    }

    /// Says that a revision exists no longer. Its instances finish what they have.
    ///
    /// # Errors
    /// When the loop has ended.
    pub async fn delete(&self, revision: &RevisionKey) -> Result<(), HandleError> {
        self.tell(Event::Delete(revision.clone())).await
    }

    /// Says that an instance is being started: a warm one, or one for `revision`. To be called before the instance can
    /// connect, and it will have to show `token`. Where that is not known yet it is empty: then the instance cannot
    /// connect until it is announced once more, with one.
    ///
    /// # Errors
    /// When the loop has ended.
    pub async fn instance_expected(
        &self,
        instance: impl Into<String>,
        token: impl Into<String>,
        revision: Option<RevisionKey>,
    ) -> Result<(), HandleError> {
        let (instance, token) = (instance.into(), token.into());
        self.tell(Event::Expected { instance, token, revision }).await
    }

    /// Says that an instance is gone, and why in a few words (`exit code 0`, `signal 9`).
    ///
    /// # Errors
    /// When the loop has ended.
    pub async fn instance_exited(
        &self,
        instance: impl Into<String>,
        cause: impl Into<String>,
    ) -> Result<(), HandleError> {
        self.tell(Event::Exited { instance: instance.into(), cause: cause.into() }).await
    }

    /// Says that one instance of a revision could not be started: the answer to one of the count of
    /// [`crate::Actuation::Start`], where `instance_expected` does not come. `reason` is a word.
    ///
    /// # Errors
    /// When the loop has ended.
    pub async fn start_failed(
        &self,
        revision: &RevisionKey,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) -> Result<(), HandleError> {
        let (reason, message) = (reason.into(), message.into());
        self.tell(Event::StartFailed { revision: revision.clone(), reason, message }).await
    }

    /// The last decisions of a revision, the newest last; `None` when there is no such revision.
    ///
    /// # Errors
    /// When the loop has ended.
    pub async fn explain(&self, revision: &RevisionKey) -> Result<Option<Vec<Explained>>, HandleError> {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Explain(revision.to_string(), reply)).await?;
        answer.await.map_err(|_| HandleError::Stopped)
    }

    /// The whole fleet now.
    ///
    /// # Errors
    /// When the loop has ended.
    pub async fn snapshot(&self) -> Result<Snapshot, HandleError> {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Snapshot(reply)).await?;
        answer.await.map_err(|_| HandleError::Stopped)
    }

    /// What happens from now on. A reader that falls far behind misses the oldest, and is told how many.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Happened> {
        self.facts.subscribe()
    }

    /// Where new control streams go: to be given to `wisp_chassis::control`'s servers, or the other side of a pair.
    #[must_use]
    pub fn incoming(&self) -> mpsc::Sender<Incoming> {
        self.incoming.clone()
    }

    async fn tell(&self, event: Event) -> Result<(), HandleError> {
        self.command(Command::Tell(event)).await
    }

    async fn command(&self, command: Command) -> Result<(), HandleError> {
        self.commands.send(command).await.map_err(|_| HandleError::Stopped)
    }
}
