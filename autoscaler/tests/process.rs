//! The program itself, over TCP with TLS.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod peers;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use peers::{Activator, Host, name, record};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;
use wisp_api::wire::{InstanceState, demand_down};
use wisp_chassis::control::{ClientTls, ControlEndpoint, demand_link, instance_link};

/// Generous: the machine may be busy. A test that passes never waits for it.
const DEADLINE: Duration = Duration::from_secs(30);

struct Pki {
    ca_pem: String,
    server: (String, String),
    client: (String, String),
}

fn pki() -> Pki {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let ca_pem = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let issue = |host: &str| {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![host.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    };
    Pki { server: issue("localhost"), client: issue("activator"), ca_pem }
}

struct Process {
    child: Child,
    control: String,
    admin: String,
}

async fn start(folder: &Path, pki: &Pki) -> Process {
    let write = |file: &str, text: &str| std::fs::write(folder.join(file), text).unwrap();
    write("cert.pem", &pki.server.0);
    write("key.pem", &pki.server.1);
    write("ca.pem", &pki.ca_pem);
    write("revisions.json", &serde_json::to_string(&[record("hello"), record("other")]).unwrap());
    let mut child = Command::new(env!("CARGO_BIN_EXE_wisp-autoscaler"))
        .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log", "json", "--settle", "0"])
        .args(["--control-cert", "cert.pem", "--control-key", "key.pem", "--control-ca", "ca.pem"])
        .args(["--revisions", "revisions.json"])
        .current_dir(folder)
        .env("WISP_LOG", "info")
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let listening = tokio::time::timeout(DEADLINE, async {
        loop {
            let line = lines.next_line().await.unwrap().expect("it says where it listens");
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            if line["message"] == "listening" {
                return line;
            }
        }
    });
    let line = listening.await.expect("it listens in time");
    // What it says later must go somewhere.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    let text = |field: &str| line[field].as_str().unwrap().to_owned();
    Process { child, control: text("control"), admin: text("admin") }
}

fn endpoint(process: &Process, pki: &Pki) -> ControlEndpoint {
    let tls = ClientTls {
        ca_pem: pki.ca_pem.clone(),
        identity: Some(pki.client.clone()),
        server_name: Some("localhost".into()),
    };
    format!("https://{}", process.control).parse::<ControlEndpoint>().unwrap().with_tls(tls)
}

async fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn warm_instances_that_connect_over_tls_are_specialized_and_starts_are_refused() {
    let (folder, pki, shutdown) = (tempfile::tempdir().unwrap(), pki(), CancellationToken::new());
    let mut process = start(folder.path(), &pki).await;
    let works = async {
        let link = demand_link(endpoint(&process, &pki), shutdown.clone());
        let mut activator = Activator::hello(link, "a").await;
        let link = instance_link(endpoint(&process, &pki), shutdown.clone());
        let mut host = Host::hello(link, "w1", InstanceState::Warm, "").await;
        activator.wake("hello", 1).await;
        assert_eq!(host.revision().await, name("hello"));
        host.ready("hello").await;
        assert_eq!(activator.endpoints_of("hello").await, ["w1"]);

        // There is no second warm instance, and nothing that could start one.
        activator.wake("other", 1).await;
        let answer = activator.message(|message| matches!(message, demand_down::Message::StartFailed(_))).await;
        assert!(matches!(answer, demand_down::Message::StartFailed(failed) if failed.reason == "NoFleet"));
        assert!(get(&process.admin, "/ready").await.contains("200 OK"));
        assert!(get(&process.admin, "/dump").await.contains("\"instance\":\"w1\""));
        let decisions = get(&process.admin, "/api/functions/default/hello/decisions").await;
        assert!(decisions.contains("{\"hello-00001\":[{") && decisions.contains("\"reason\":\"Wake\""), "{decisions}");
        let unknown = get(&process.admin, "/api/functions/default/hello/decisions?revision=other-00001").await;
        assert!(unknown.starts_with("HTTP/1.1 404"), "{unknown}");
        assert!(get(&process.admin, "/metrics").await.contains("wisp_autoscaler_wakes_total 2"));
    };
    tokio::time::timeout(DEADLINE, works).await.expect("all of it happens in time");
    shutdown.cancel();
    let pid = process.child.id().expect("it runs").to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    let status = tokio::time::timeout(DEADLINE, process.child.wait()).await.expect("it ends in time").unwrap();
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn a_peer_without_a_certificate_of_the_ca_cannot_connect() {
    let (folder, ours, shutdown) = (tempfile::tempdir().unwrap(), pki(), CancellationToken::new());
    let process = start(folder.path(), &ours).await;
    let stranger = Pki { client: pki().client, ca_pem: ours.ca_pem.clone(), server: ours.server.clone() };
    let mut link = demand_link(endpoint(&process, &stranger), shutdown.clone());
    let first = tokio::time::timeout(DEADLINE, link.events.recv()).await.expect("it is refused in time");
    assert!(!matches!(first, Some(wisp_chassis::control::LinkEvent::Connected)), "{first:?}");
    shutdown.cancel();
}
