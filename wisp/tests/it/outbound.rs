//! What a function may call.

use std::net::SocketAddr;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::harness::{Place, Wisp, function};

/// A server that answers each request with `reached`, and a redirect for `/away`.
async fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut head = vec![0; 4096];
                let read = stream.read(&mut head).await.unwrap_or(0);
                let away = head[..read].starts_with(b"GET /away");
                let status = if away { "302 Found\r\nlocation: http://169.254.169.254/" } else { "200 OK" };
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 7\r\nconnection: close\r\n\r\nreached");
                drop(stream.write_all(answer.as_bytes()).await);
            });
        }
    });
    address
}

/// What came of a function's call.
async fn call(wisp: &Wisp, function: &str, url: &str) -> serde_json::Value {
    wisp.get(function, &format!("/outbound-attack?url={url}")).await.json()[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_call_what_both_their_manifest_and_the_machine_allow() {
    let server = server().await;
    let here = format!("http://{server}");
    let metadata = "http://169.254.169.254";
    let granted = function("granted").with("capabilities.outbound", json!([here, metadata]));
    let place = Place::new(&[granted, function("denied")]).await;
    let manifests = place.manifests();
    let manifests = manifests.to_str().unwrap();

    let open = place.up_with(&[manifests, "--allow-private-outbound", &server.to_string()]).await;
    assert_eq!(call(&open, "granted", &here).await["body"], "reached");
    let away = call(&open, "granted", &format!("{here}/away")).await;
    assert_eq!((&away["status"], &away["location"]), (&"302".into(), &format!("{metadata}/").into()), "not followed");
    for (function, url) in [
        ("denied", here.as_str()),
        ("granted", metadata),
        ("granted", &format!("http://{}", open.admin)),
        ("granted", &format!("http://localhost:{}", server.port())),
        ("granted", &format!("http://[::ffff:127.0.0.1]:{}", server.port())),
        ("granted", &format!("https://{server}")),
    ] {
        assert!(call(&open, function, url).await["error"].is_string(), "{function} reached {url}");
    }
    open.stop().await;

    // A manifest alone does not open the machine.
    let closed = Place::up(&place).await;
    assert!(call(&closed, "granted", &here).await["error"].is_string());
}
