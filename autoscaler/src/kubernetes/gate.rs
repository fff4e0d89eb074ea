//! Stands before the deciding loop: a stream gets in when its hello shows a proof that says the same. An activator shows a
//! token, which the API server reviews; an instance shows what its node has signed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use wisp_api::names::CONTROL_AUDIENCE;
use wisp_api::wire::{self, DemandUp, InstanceDown, InstanceHello, InstanceUp, demand_up, instance_down, instance_up};
use wisp_autoscaler::{Actuation, Handle};
use wisp_chassis::control::{CHANNEL_MESSAGES, Incoming, Peer};
use wisp_identity::Claim;
use wisp_kubernetes::{Identity, review_token};

use super::actuator::{Actuator, lock};
use super::check::{check_activator, check_instance, told_revision};
use super::proof::{IdentityFile, ProofError};
use super::roster::{PodFact, Roster, end_of};

/// Streams that have not been let in: an installation of thousands of instances comes back in one wave.
const WAITING_MAX: usize = 4096;
/// Reviews and lookups at once: each is a call of the API server, and takes it a millisecond.
const REVIEWS_MAX: usize = 32;
/// A stream must say who it is within this time.
const HELLO_DEADLINE: Duration = Duration::from_secs(10);
/// One call of the API server; the peer comes back when it takes longer.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Lets streams in.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) client: Client,
    pub(crate) handle: Handle,
    pub(crate) roster: Arc<Mutex<Roster>>,
    pub(crate) actuator: Arc<Actuator>,
    pub(crate) system_namespace: String,
    /// What the nodes' keys are derived from.
    pub(crate) identity: IdentityFile,
}

impl Gate {
    /// Takes streams until `shutdown`.
    pub(crate) async fn serve(self, mut streams: mpsc::Receiver<Incoming>, shutdown: CancellationToken) {
        let reviews = Arc::new(Semaphore::new(REVIEWS_MAX));
        let mut waiting = JoinSet::new();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some(_) = waiting.join_next() => {}
                stream = streams.recv(), if waiting.len() < WAITING_MAX => {
                    let Some(stream) = stream else { return };
                    let (gate, reviews) = (self.clone(), Arc::clone(&reviews));
                    waiting.spawn(async move { gate.admit(stream, &reviews).await });
                }
            }
        }
    }

    async fn admit(self, stream: Incoming, reviews: &Semaphore) {
        let admitted = match stream {
            Incoming::Activator(peer) => self.activator(peer, reviews).await,
            Incoming::Instance(peer) => self.instance(peer, reviews).await,
        };
        match admitted {
            Ok(stream) => {
                // The loop has ended when this fails, and the process with it.
                let _ended = self.handle.incoming().send(stream).await;
            }
            Err(reason) => tracing::warn!(reason, "a stream is refused; its peer may try again"),
        }
    }

    async fn activator(
        &self,
        mut peer: Peer<DemandUp, wire::DemandDown>,
        reviews: &Semaphore,
    ) -> Result<Incoming, String> {
        let hello = first(&mut peer.up, |message: &DemandUp| match &message.message {
            Some(demand_up::Message::Hello(hello)) => Some(hello.clone()),
            _ => None,
        });
        let hello = hello.await?;
        let refused = |reason: String| format!("activator {:?}: {reason}", hello.activator);
        let identity = self.review(&hello.token, reviews).await.map_err(refused)?;
        check_activator(&identity, &self.system_namespace).map_err(refused)?;
        let hello = DemandUp { message: Some(demand_up::Message::Hello(hello)) };
        Ok(Incoming::Activator(said_again(hello, peer)))
    }

    async fn instance(
        &self,
        mut peer: Peer<InstanceUp, InstanceDown>,
        lookups: &Semaphore,
    ) -> Result<Incoming, String> {
        let hello = first(&mut peer.up, |message: &InstanceUp| match &message.message {
            Some(instance_up::Message::Hello(hello)) => Some(hello.clone()),
            _ => None,
        });
        let hello = hello.await?;
        let refused = |reason: String| format!("instance {:?}: {reason}", hello.instance);
        let claim = match self.identity.verify(&hello.token) {
            Ok(claim) => claim,
            Err(error) => {
                if let ProofError::Refused(error) = &error {
                    let said = wire::Refused { reason: error.to_string() };
                    // One that is gone need not hear it.
                    let _ended =
                        peer.down.try_send(InstanceDown { message: Some(instance_down::Message::Refused(said)) });
                }
                return Err(refused(error.to_string()));
            }
        };
        let pod = self.pod(&claim, lookups).await.map_err(refused)?;
        check_instance(&hello, &claim, &pod).map_err(refused)?;
        self.announce(&hello, pod).await?;
        let hello = InstanceUp { message: Some(instance_up::Message::Hello(hello)) };
        Ok(Incoming::Instance(said_again(hello, peer)))
    }

    async fn announce(&self, hello: &InstanceHello, pod: PodFact) -> Result<(), String> {
        if let (None, Some(revision)) = (&pod.revision, told_revision(hello)) {
            // It was claimed by a leader that did not get to write so.
            self.actuator.push(Actuation::Claimed { instance: pod.uid.clone(), revision });
        }
        let expected = self.handle.instance_expected(pod.uid, hello.token.clone(), pod.revision);
        expected.await.map_err(|error| error.to_string())
    }

    async fn review(&self, token: &str, reviews: &Semaphore) -> Result<Identity, String> {
        if token.is_empty() {
            return Err("it shows no token".to_owned());
        }
        let _place = reviews.acquire().await.map_err(|_| "the gate is closed".to_owned())?;
        let review = timeout(CALL_TIMEOUT, review_token(&self.client, token, CONTROL_AUDIENCE));
        let review = review.await.map_err(|_| "its token could not be reviewed in time".to_owned())?;
        review.map_err(|error| error.to_string())
    }

    async fn pod(&self, claim: &Claim, lookups: &Semaphore) -> Result<PodFact, String> {
        let known = lock(&self.roster).get(&claim.uid).filter(|known| known.node.is_some()).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let _place = lookups.acquire().await.map_err(|_| "the gate is closed".to_owned())?;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &claim.namespace);
        let found = timeout(CALL_TIMEOUT, pods.get(&claim.pod));
        let found = found.await.map_err(|_| "its pod could not be looked at in time".to_owned())?;
        let found = found.map_err(|error| format!("its pod cannot be looked at: {error}"))?;
        if let Some(end) = end_of(&found) {
            return Err(format!("its pod has ended: {end}"));
        }
        // The watch is late. What is news to it is announced by the gate in a moment.
        let _announced = lock(&self.roster).apply(&found);
        PodFact::of(&found).ok_or_else(|| format!("pod {:?} is no instance of Wisp", claim.pod))
    }
}

/// The hello; what comes before it is left over from an earlier stream.
async fn first<Up, Hello>(up: &mut mpsc::Receiver<Up>, hello: impl Fn(&Up) -> Option<Hello>) -> Result<Hello, String> {
    let found = timeout(HELLO_DEADLINE, async {
        while let Some(message) = up.recv().await {
            if let Some(hello) = hello(&message) {
                return Some(hello);
            }
        }
        None
    });
    match found.await {
        Ok(Some(hello)) => Ok(hello),
        Ok(None) => Err("a stream ended before its hello".to_owned()),
        Err(_) => Err("a stream said no hello in time".to_owned()),
    }
}

/// The same stream, with its hello before all that follows.
fn said_again<Up: Send + 'static, Down>(hello: Up, peer: Peer<Up, Down>) -> Peer<Up, Down> {
    let Peer { up: mut rest, down } = peer;
    let (sender, up) = mpsc::channel(CHANNEL_MESSAGES);
    // Ends when either end does.
    tokio::spawn(async move {
        let mut message = Some(hello);
        while let Some(said) = message {
            if sender.send(said).await.is_err() {
                return;
            }
            message = tokio::select! {
                next = rest.recv() => next,
                () = sender.closed() => return,
            };
        }
    });
    Peer { up, down }
}
