//! Hosts and activators come to the gate, are let in, and what follows is written.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use wisp_api::wire::{
    DemandDown, DemandHello, DemandUp, HostSpec, InstanceDown, InstanceHello, InstanceReady, InstanceState, InstanceUp,
    PROTOCOL, StartFailed, Wake, demand_down, demand_up, instance_down, instance_up,
};
use wisp_chassis::control::{ControlEndpoint, Link, LinkEvent, demand_link, instance_link};
use wisp_cluster::until;

use crate::rig::{NODE, PATIENCE, Rig, SHOP, SYSTEM, rig};

const AUDIENCE: &str = "wisp.dev/control";
const ACTIVATOR: (&str, &str) = (SYSTEM, "wisp-activator");

/// A host whose stream lives as long as this.
struct Host {
    link: Link<InstanceUp, InstanceDown>,
    _shutdown: tokio_util::sync::DropGuard,
}

/// An activator likewise.
struct Activator {
    link: Link<DemandUp, DemandDown>,
    _shutdown: tokio_util::sync::DropGuard,
}

fn hello(pod: &Pod, proof: &str) -> InstanceHello {
    InstanceHello {
        protocol: PROTOCOL,
        instance: pod.metadata.uid.clone().unwrap(),
        token: proof.to_owned(),
        state: InstanceState::Warm.into(),
        address: "tcp:127.0.0.1:1".to_owned(),
        slots: 100,
        namespace: SHOP.to_owned(),
        ..InstanceHello::default()
    }
}

fn serving(pod: &Pod, proof: &str, revision: &str) -> InstanceHello {
    InstanceHello { state: InstanceState::Ready.into(), revision: revision.to_owned(), ..hello(pod, proof) }
}

impl Host {
    async fn connect(endpoint: ControlEndpoint, hello: InstanceHello) -> Self {
        let shutdown = CancellationToken::new();
        let mut link = instance_link(endpoint, shutdown.clone());
        while link.events.recv().await.unwrap() != LinkEvent::Connected {}
        link.up.send(InstanceUp { message: Some(instance_up::Message::Hello(hello)) }).await.unwrap();
        Self { link, _shutdown: shutdown.drop_guard() }
    }

    /// Whether the stream stays for a while, rather than being closed by the gate.
    async fn is_let_in(&mut self) -> bool {
        // A review takes milliseconds; a refused stream is closed right after it.
        let closed = async {
            while let Some(event) = self.link.events.recv().await {
                if matches!(event, LinkEvent::Disconnected { .. }) {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(3), closed).await.is_err()
    }

    /// Whether the gate says so, before it closes the stream.
    async fn hears_that_it_is_refused(&mut self) -> bool {
        let event = tokio::time::timeout(PATIENCE, self.link.events.recv()).await.unwrap();
        let Some(LinkEvent::Message(InstanceDown { message })) = event else { return false };
        matches!(message, Some(instance_down::Message::Refused(_)))
    }

    async fn specialized(&mut self) -> HostSpec {
        loop {
            match self.link.events.recv().await.unwrap() {
                LinkEvent::Message(InstanceDown { message: Some(instance_down::Message::Specialize(order)) }) => {
                    return order.spec.unwrap();
                }
                LinkEvent::Disconnected { reason } => panic!("the stream ended: {reason}"),
                _ => {}
            }
        }
    }
}

impl Activator {
    async fn connect(rig: &Rig, endpoint: ControlEndpoint) -> Self {
        let (shutdown, token) = (CancellationToken::new(), rig.token(ACTIVATOR, AUDIENCE).await);
        let mut link = demand_link(endpoint, shutdown.clone());
        while link.events.recv().await.unwrap() != LinkEvent::Connected {}
        let hello = DemandHello { protocol: PROTOCOL, activator: "a".to_owned(), token };
        link.up.send(DemandUp { message: Some(demand_up::Message::Hello(hello)) }).await.unwrap();
        Self { link, _shutdown: shutdown.drop_guard() }
    }

    /// Until an update names the pod's instance.
    async fn until_it_knows(&mut self, pod: &Pod) {
        let uid = pod.metadata.uid.as_deref().unwrap();
        let named = async {
            loop {
                if let demand_down::Message::Endpoints(update) = self.next().await
                    && update.revisions.iter().flat_map(|it| &it.endpoints).any(|endpoint| endpoint.instance == uid)
                {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, named).await.expect("the instance is an endpoint");
    }

    /// What those are told who wait for a revision.
    async fn start_failure(&mut self, revision: &str) -> StartFailed {
        let told = async {
            loop {
                self.wake(revision).await;
                let next = tokio::time::timeout(Duration::from_secs(1), self.next());
                if let Ok(demand_down::Message::StartFailed(failed)) = next.await {
                    return failed;
                }
            }
        };
        tokio::time::timeout(PATIENCE, told).await.expect("it is told")
    }

    async fn next(&mut self) -> demand_down::Message {
        loop {
            match self.link.events.recv().await.unwrap() {
                LinkEvent::Message(DemandDown { message: Some(message) }) => return message,
                LinkEvent::Disconnected { reason } => panic!("the stream ended: {reason}"),
                _ => {}
            }
        }
    }

    async fn wake(&self, revision: &str) {
        let wake = Wake { revision: format!("{SHOP}/{revision}"), waiting: 1 };
        self.link.up.send(DemandUp { message: Some(demand_up::Message::Wake(wake)) }).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_word_of_its_node_lets_a_host_in() {
    let Some(rig) = rig().await else { return };
    let _autoscaler = rig.autoscaler("autoscaler-a");
    let endpoint = rig.endpoint(rig.leader_besides(None).await);
    let (own, other) =
        (rig.pod("own", ("wisp.dev/pool", "default")).await, rig.pod("other", ("wisp.dev/pool", "default")).await);
    let stranger = rig.pod("stranger", ("app", "stranger")).await;
    let good = rig.proof(NODE, &own);
    let mut forged = good.clone();
    let at = forged.rfind(':').unwrap() + 1;
    let letter = if forged[at..].starts_with('A') { "B" } else { "A" };
    forged.replace_range(at..=at, letter);
    let refused = [
        ("no proof", hello(&own, "")),
        ("a forged one", hello(&own, &forged)),
        ("a token", hello(&own, &rig.token((SHOP, "hosts"), AUDIENCE).await)),
        ("another node's", hello(&own, &rig.proof("not-its-node", &own))),
        ("another pod's", hello(&own, &rig.proof(NODE, &other))),
        ("a pod that is neither", hello(&stranger, &rig.proof(NODE, &stranger))),
        ("another namespace", InstanceHello { namespace: SYSTEM.to_owned(), ..hello(&own, &good) }),
    ];
    for (why, hello) in refused {
        let mut host = Host::connect(endpoint.clone(), hello).await;
        assert!(!host.is_let_in().await, "{why} was let in");
    }
    let mut host = Host::connect(endpoint.clone(), hello(&own, &forged)).await;
    assert!(host.hears_that_it_is_refused().await, "what was signed with another key will not be right later");
    let mut host = Host::connect(endpoint, hello(&own, &good)).await;
    assert!(host.is_let_in().await, "the pod's own proof was refused");
}

/// What the host is told at last. Until the catalog and the host are known there is nothing to claim: activators repeat
/// their wakes.
async fn order_after_wakes(host: &mut Host, activator: &Activator, revision: &str) -> HostSpec {
    let ordered = async {
        loop {
            activator.wake(revision).await;
            if let Ok(spec) = tokio::time::timeout(Duration::from_secs(1), host.specialized()).await {
                return spec;
            }
        }
    };
    tokio::time::timeout(PATIENCE, ordered).await.expect("the host is told a revision")
}

async fn labels_of_claimed(rig: &Rig, pod: &str) -> BTreeMap<String, String> {
    let claimed = until("the pod is labelled", PATIENCE, async || {
        let labels = rig.pods().get(pod).await?.labels().clone();
        Ok(labels.contains_key("wisp.dev/revision").then_some(labels))
    });
    claimed.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_leader_gave_to_a_revision_the_next_gives_to_no_other() {
    let Some(rig) = rig().await else { return };
    for name in ["cart", "other"] {
        rig.function(name, json!({"start": "warm"})).await;
    }
    let mut first = rig.autoscaler("autoscaler-a");
    let leader = rig.leader_besides(None).await;
    let pod = rig.pod("warm-1", ("wisp.dev/pool", "default")).await;
    let warm = hello(&pod, &rig.proof(NODE, &pod));
    let mut host = Host::connect(rig.endpoint(leader), warm.clone()).await;
    let activator = Activator::connect(&rig, rig.endpoint(leader)).await;
    assert_eq!(order_after_wakes(&mut host, &activator, "cart-00001").await.revision, "cart-00001");
    labels_of_claimed(&rig, "warm-1").await;

    first.child.kill().await.unwrap();
    let _second = rig.autoscaler("autoscaler-b");
    let endpoint = rig.endpoint(rig.leader_besides(Some(leader)).await);
    // As if its order had been lost with the stream.
    let mut host = Host::connect(endpoint.clone(), warm).await;
    let activator = Activator::connect(&rig, endpoint).await;
    assert_eq!(order_after_wakes(&mut host, &activator, "other-00001").await.revision, "cart-00001");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_one_leader_did_not_get_to_write_is_written_by_the_next() {
    let Some(rig) = rig().await else { return };
    rig.function("cart", json!({"start": "warm"})).await;
    let pod = rig.pod("warm-1", ("wisp.dev/pool", "default")).await;
    let _autoscaler = rig.autoscaler("autoscaler-a");
    let endpoint = rig.endpoint(rig.leader_besides(None).await);
    let _host = Host::connect(endpoint, serving(&pod, &rig.proof(NODE, &pod), "cart-00001")).await;
    let labels = labels_of_claimed(&rig, "warm-1").await;
    assert_eq!((labels["wisp.dev/function"].as_str(), labels["wisp.dev/revision"].as_str()), ("cart", "cart-00001"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wake_claims_a_warm_pod_and_a_finished_pod_is_forgotten() {
    let Some(rig) = rig().await else { return };
    rig.function("cart", json!({"start": "warm"})).await;
    let _autoscaler = rig.autoscaler("autoscaler-a");
    let endpoint = rig.endpoint(rig.leader_besides(None).await);
    let pod = rig.pod("warm-1", ("wisp.dev/pool", "default")).await;
    let mut host = Host::connect(endpoint.clone(), hello(&pod, &rig.proof(NODE, &pod))).await;
    let activator = Activator::connect(&rig, endpoint).await;
    let spec = order_after_wakes(&mut host, &activator, "cart-00001").await;
    assert_eq!((spec.function.as_str(), spec.revision.as_str()), ("cart", "cart-00001"));
    let artifact = spec.artifact.unwrap();
    assert_eq!((artifact.digest.as_str(), artifact.path.as_str()), ("sha256:cart", "f1"));

    let labels = labels_of_claimed(&rig, "warm-1").await;
    assert_eq!((labels["wisp.dev/function"].as_str(), labels["wisp.dev/revision"].as_str()), ("cart", "cart-00001"));
    assert!(!labels.contains_key("wisp.dev/pool"));
    rig.until_replicas("cart-00001", 1).await;

    let ready = InstanceReady { revision: "cart-00001".to_owned(), slots: 100, specialize_micros: 300 };
    host.link.up.send(InstanceUp { message: Some(instance_up::Message::Ready(ready)) }).await.unwrap();
    // The pod ends: the autoscaler closes the stream of an instance that is gone.
    let status = json!({"status": {"phase": "Succeeded"}});
    rig.pods().patch_status("warm-1", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    let forgotten = async {
        while let Some(event) = host.link.events.recv().await {
            if matches!(event, LinkEvent::Disconnected { .. }) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, forgotten).await.expect("the finished pod is forgotten");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_function_is_scaled_and_an_external_one_is_left_alone() {
    let Some(rig) = rig().await else { return };
    rig.function("fresh", json!({"start": "fresh", "min": 1})).await;
    rig.function("keda", json!({"class": "external", "min": 1})).await;
    let _autoscaler = rig.autoscaler("autoscaler-a");
    rig.until_replicas("fresh-00001", 1).await;
    let pod = rig.pod("fresh-1", ("wisp.dev/revision", "fresh-00001")).await;
    let endpoint = rig.endpoint(rig.leader_besides(None).await);
    let hello = hello(&pod, &rig.proof(NODE, &pod));
    let mut host = Host::connect(endpoint, hello).await;
    assert_eq!(host.specialized().await.revision, "fresh-00001");
    assert_eq!(rig.revisions().get("keda-00001").await.unwrap().spec.replicas, 0);
}

/// `spec.env` with a variable from a Secret that is not there.
fn env_of(secret: &str) -> Value {
    json!([{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": secret, "key": "key"}}}])
}

async fn create_secret(rig: &Rig, name: &str) {
    let secret = ["create", "secret", "generic", name, "--namespace", SHOP, "--from-literal=key=v"];
    rig.cluster.kubectl(secret).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_leader_leaves_alone_what_runs_though_it_cannot_say_what_for() {
    let Some(rig) = rig().await else { return };
    rig.function_with_environment("kept", json!({"start": "fresh"}), env_of("kept")).await;
    let pod = rig.pod("kept-1", ("wisp.dev/revision", "kept-00001")).await;
    let _autoscaler = rig.autoscaler("autoscaler-a");
    let endpoint = rig.endpoint(rig.leader_besides(None).await);
    let mut host = Host::connect(endpoint.clone(), serving(&pod, &rig.proof(NODE, &pod), "kept-00001")).await;
    let mut activator = Activator::connect(&rig, endpoint).await;
    activator.until_it_knows(&pod).await;
    assert!(host.is_let_in().await);
    let annotations = rig.pods().get("kept-1").await.unwrap().annotations().clone();
    assert!(!annotations.contains_key("wisp.dev/stop"), "{annotations:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_function_that_lacks_a_secret_is_told_until_it_is_there() {
    let Some(rig) = rig().await else { return };
    rig.function_with_environment("bare", json!({"start": "fresh"}), env_of("bare")).await;
    let _autoscaler = rig.autoscaler("autoscaler-a");
    let endpoint = rig.endpoint(rig.leader_besides(None).await);
    let mut activator = Activator::connect(&rig, endpoint).await;
    let failed = activator.start_failure("bare-00001").await;
    assert_eq!(failed.reason, "SourceMissing");
    assert_eq!(activator.start_failure("bare-00001").await, failed);
    assert_eq!(rig.revisions().get("bare-00001").await.unwrap().spec.replicas, 0);
    create_secret(&rig, "bare").await;
    until("it is started", PATIENCE, async || {
        activator.wake("bare-00001").await;
        Ok((rig.revisions().get("bare-00001").await?.spec.replicas > 0).then_some(()))
    })
    .await
    .unwrap();
}
