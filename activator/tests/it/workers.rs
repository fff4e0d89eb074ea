//! What workers share, and what each has for itself.

use std::num::NonZero;
use std::sync::atomic::Ordering;

use http::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use wisp_activator::Config;

use crate::rig::{Answer, Client, Gate, Instance, Rig, full, function, get, says, soon, spawn_get, until};

const HELLO: &str = "default/hello-00001";
const WORKERS: usize = 4;

fn several_workers(config: &mut Config) {
    config.workers = NonZero::new(WORKERS).unwrap();
}

/// As many as there are workers, so that each worker has one.
async fn clients(rig: &Rig) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..WORKERS {
        let mut client = rig.client().await;
        // It is at its worker when it is answered, and is counted there.
        client.get("nobody.test", "/").await;
        clients.push(client);
    }
    clients
}

#[tokio::test]
async fn each_worker_keeps_connections_of_its_own() {
    let mut rig = Rig::start_with(several_workers).await;
    rig.deploy(function("hello"));
    let instance = Instance::unix("one", says("hello")).await;
    rig.autoscaler.endpoints(HELLO, &[instance.endpoint(100)]).await;
    let mut clients = clients(&rig).await;
    for _ in 0..20 {
        for client in &mut clients {
            assert_eq!(client.get("hello.test", "/").await.body, "hello");
        }
    }
    assert_eq!(instance.connections(), WORKERS);
}

#[tokio::test]
async fn each_worker_has_an_http2_connection_of_its_own() {
    let mut rig = Rig::start_with(several_workers).await;
    rig.deploy(function("hello"));
    let instance = Instance::unix("one", says("hello")).await;
    rig.autoscaler.endpoints(HELLO, &[instance.endpoint(100)]).await;
    let mut senders = Vec::new();
    for _ in 0..WORKERS {
        let stream = TcpStream::connect(rig.addr).await.unwrap();
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        for _ in 0..5 {
            let request = Request::get("http://hello.test/").body(full("")).unwrap();
            assert_eq!(
                Answer::read(soon("an answer", sender.send_request(request)).await.unwrap()).await.body,
                "hello"
            );
        }
        senders.push((sender, connection));
    }
    assert_eq!(instance.connections(), WORKERS);
}

#[tokio::test]
async fn clients_of_all_workers_share_the_slots_of_an_instance() {
    let mut rig = Rig::start_with(several_workers).await;
    rig.deploy(function("hello"));
    let gate = Gate::closed();
    let instance = Instance::unix("one", gate.handler()).await;
    rig.autoscaler.endpoints(HELLO, &[instance.endpoint(1)]).await;
    let mut sending = Vec::new();
    for (number, mut client) in (0u32..).zip(clients(&rig).await) {
        let path = format!("/{number}");
        sending.push(tokio::spawn(async move { client.get("hello.test", &path).await }));
        rig.until_demand(HELLO, number, 1).await;
    }
    for done in 1..=WORKERS {
        until("one is there", || gate.seen.lock().unwrap().len() == done).await;
        // The others wait, whichever worker they are at.
        rig.until_demand(HELLO, u32::try_from(WORKERS - done).unwrap(), 1).await;
        gate.open(1);
    }
    for task in sending {
        assert_eq!(soon("an answer", task).await.unwrap().status, 200);
    }
    assert_eq!(*gate.seen.lock().unwrap(), ["/0", "/1", "/2", "/3"], "the line is one for all workers, in order");
    rig.until_demand(HELLO, 0, 0).await;
}

#[tokio::test]
async fn draining_waits_for_the_clients_of_all_workers() {
    let mut rig = Rig::start_with(several_workers).await;
    rig.deploy(function("hello"));
    let gate = Gate::closed();
    let instance = Instance::unix("one", gate.handler()).await;
    rig.autoscaler.endpoints(HELLO, &[instance.endpoint(100)]).await;
    let sending: Vec<_> = (0..WORKERS).map(|number| spawn_get(rig.addr, "hello.test", &format!("/{number}"))).collect();
    until("all are there", || gate.seen.lock().unwrap().len() == WORKERS).await;
    rig.shutdown.cancel();
    gate.open(WORKERS - 1);
    rig.until_demand(HELLO, 0, 1).await;
    assert!(!rig.running.is_finished(), "it ended with a request in flight");
    gate.open(1);
    for task in sending {
        assert_eq!(soon("an answer", task).await.unwrap().status, 200);
    }
    soon("the activator ends", rig.running).await.unwrap();
}

#[tokio::test]
async fn dropping_a_running_activator_cuts_off_the_clients_of_all_workers() {
    let mut rig = Rig::start_with(several_workers).await;
    rig.deploy(function("hello"));
    let gate = Gate::closed();
    let instance = Instance::unix("one", gate.handler()).await;
    rig.autoscaler.endpoints(HELLO, &[instance.endpoint(100)]).await;
    let mut sending = Vec::new();
    for mut client in clients(&rig).await {
        sending.push(tokio::spawn(async move { client.send(get("hello.test", "/")).await }));
    }
    until("all are there", || gate.seen.lock().unwrap().len() == WORKERS).await;
    rig.running.abort();
    for task in sending {
        assert!(soon("the client is cut off", task).await.unwrap().is_err());
    }
    until("the instance is told", || instance.in_flight.load(Ordering::SeqCst) == 0).await;
}
