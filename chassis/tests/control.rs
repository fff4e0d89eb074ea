//! The control streams over their real transports.

#![allow(clippy::unwrap_used, reason = "what a test sets up must be there")]

use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wisp_api::wire::{DemandHello, DemandUp, InstanceDown, InstanceUp, PROTOCOL, demand_up};
use wisp_chassis::control::{self, ClientTls, ControlEndpoint, Incoming, LinkEvent, Peer, ServerTls};

const DEADLINE: Duration = Duration::from_secs(20);

fn hello(name: &str) -> DemandUp {
    let hello = DemandHello { protocol: PROTOCOL, activator: name.to_owned(), token: String::new() };
    DemandUp { message: Some(demand_up::Message::Hello(hello)) }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("did not happen in time")
}

#[tokio::test]
async fn a_link_comes_back_when_the_server_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let stop = CancellationToken::new();
    let mut link = control::instance_link(ControlEndpoint::unix(&path), stop.clone());
    assert!(matches!(within(link.events.recv()).await, Some(LinkEvent::Disconnected { .. })));

    for round in 0..2 {
        let (sender, mut incoming) = mpsc::channel(4);
        let server_stop = CancellationToken::new();
        let server = tokio::spawn({
            let (path, stop) = (path.clone(), server_stop.clone());
            async move { control::serve_unix(&path, sender, stop).await }
        });
        let Some(Incoming::Instance(mut peer)) = within(incoming.recv()).await else { panic!("no stream") };
        while !matches!(within(link.events.recv()).await, Some(LinkEvent::Connected)) {}
        link.up.send(InstanceUp::default()).await.unwrap();
        assert_eq!(within(peer.up.recv()).await, Some(InstanceUp::default()), "round {round}");
        peer.down.send(InstanceDown::default()).await.unwrap();
        assert_eq!(within(link.events.recv()).await, Some(LinkEvent::Message(InstanceDown::default())));
        server_stop.cancel();
        within(server).await.unwrap().unwrap();
        assert!(matches!(within(link.events.recv()).await, Some(LinkEvent::Disconnected { .. })));
    }
    stop.cancel();
}

#[tokio::test]
async fn who_speaks_to_nobody_does_not_wait() {
    let folder = tempfile::tempdir().unwrap();
    let stop = CancellationToken::new();
    let mut link = control::instance_link(ControlEndpoint::unix(&folder.path().join("nobody.sock")), stop.clone());
    for _ in 0..3 * control::CHANNEL_MESSAGES {
        within(link.up.send(InstanceUp::default())).await.unwrap();
    }
    assert!(matches!(within(link.events.recv()).await, Some(LinkEvent::Disconnected { .. })));
    stop.cancel();
}

#[tokio::test]
async fn what_was_said_last_is_heard_before_a_link_has_closed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let (stop, (sender, mut incoming)) = (CancellationToken::new(), mpsc::channel(1));
    let server = tokio::spawn({
        let (path, stop) = (path.clone(), stop.clone());
        async move { control::serve_unix(&path, sender, stop).await }
    });
    let mut link = control::instance_link(ControlEndpoint::unix(&path), stop.clone());
    let Some(Incoming::Instance(mut peer)) = within(incoming.recv()).await else { panic!("no stream") };
    while !matches!(within(link.events.recv()).await, Some(LinkEvent::Connected)) {}
    // More than the channels on the way hold.
    let said = 4 * control::CHANNEL_MESSAGES;
    let speaker = tokio::spawn(async move {
        for _ in 0..said {
            link.up.send(InstanceUp::default()).await.unwrap();
        }
        link.close().await;
    });
    for _ in 0..said {
        assert!(!speaker.is_finished());
        assert_eq!(within(peer.up.recv()).await, Some(InstanceUp::default()));
    }
    assert_eq!(within(peer.up.recv()).await, None);
    assert!(!speaker.is_finished(), "the other end has yet to say that it has read all");
    drop(peer);
    within(speaker).await.unwrap();
    stop.cancel();
    within(server).await.unwrap().unwrap();
}

struct Certificates {
    ca: String,
    server: (String, String),
    client: (String, String),
}

fn certificates() -> Certificates {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let issue = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
        (certificate.pem(), key.serialize_pem())
    };
    Certificates { server: issue("autoscaler"), client: issue("activator"), ca: ca.pem() }
}

#[tokio::test]
async fn tls_lets_in_only_clients_of_the_installation() {
    let certificates = certificates();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, mut incoming) = mpsc::channel(4);
    let stop = CancellationToken::new();
    let tls = ServerTls {
        certificate_pem: certificates.server.0,
        key_pem: certificates.server.1,
        client_ca_pem: Some(certificates.ca.clone()),
    };
    let server = tokio::spawn(control::serve_tcp(listener, tls, sender, stop.clone()));

    let endpoint = |identity| {
        let tls = ClientTls { ca_pem: certificates.ca.clone(), identity, server_name: Some("autoscaler".to_owned()) };
        format!("https://{address}").parse::<ControlEndpoint>().unwrap().with_tls(tls)
    };
    let mut stranger = control::demand_link(endpoint(None), stop.clone());
    assert!(matches!(within(stranger.events.recv()).await, Some(LinkEvent::Disconnected { .. })));

    let mut link = control::demand_link(endpoint(Some(certificates.client)), stop.clone());
    assert_eq!(within(link.events.recv()).await, Some(LinkEvent::Connected));
    link.up.send(hello("a")).await.unwrap();
    let Some(Incoming::Activator(Peer { mut up, .. })) = within(incoming.recv()).await else { panic!("no stream") };
    assert_eq!(within(up.recv()).await, Some(hello("a")));
    stop.cancel();
    within(server).await.unwrap().unwrap();
}
