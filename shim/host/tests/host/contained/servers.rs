//! HTTP components in a container.

use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use rustix::process::Signal;
use tokio::net::TcpStream;

use super::{container, request, server, signal};
use crate::support::{get, read, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_either_world_answers_and_ends_with_0() {
    for component in ["guests.wasm", "guests-p3.wasm"] {
        let (mut child, address) = server(container(component).await).await;
        assert_eq!(request(&address, "/hello").await.status, 200);
        signal(&child, Signal::TERM);
        assert_eq!(within(child.wait()).await.unwrap().code(), Some(0), "{component}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_finishes_what_is_in_flight_and_takes_nothing_new() {
    let (mut child, address) = server(container("guests.wasm").await).await;
    let stream = TokioIo::new(TcpStream::connect(&address).await.unwrap());
    let (mut client, connection) =
        hyper::client::conn::http1::handshake::<_, Empty<bytes::Bytes>>(stream).await.unwrap();
    tokio::spawn(connection);
    let answer = within(client.send_request(get("/slow-body?chunks=8&ms=100"))).await.unwrap();
    signal(&child, Signal::TERM);
    within(async { while TcpStream::connect(&address).await.is_ok() {} }).await;
    assert!(read(answer).await.unwrap().text.ends_with("chunk 7\n"));
    assert_eq!(within(child.wait()).await.unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_gets_arguments_environment_and_output() {
    let given = container("guests.wasm").await.args(&["one"]).env("ZONE", "a");
    let (mut child, address) = server(given).await;
    let answer = request(&address, "/env-attack").await.text;
    assert!(answer.contains("\"ZONE\":\"a\"") && answer.contains("\"one\"") && !answer.contains("WISP_"), "{answer}");
    child.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_69() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("tcp:{}", taken.local_addr().unwrap());
    let ran = container("guests.wasm").await.env("WISP_LISTEN", &listen).run().await;
    assert_eq!(ran.code, Some(69), "{ran:?}");
}
