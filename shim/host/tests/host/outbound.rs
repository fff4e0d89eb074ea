//! Outgoing requests of guests.

use wisp_host::outbound::Network;

use crate::support::{Served, given};

fn allowing(address: &str) -> Network {
    Network { allowed: vec![address.parse().unwrap()], ..Network::default() }
}

async fn call(host: &Served, url: &str) -> String {
    host.get(&format!("/outbound-attack?url={url}")).await.text
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_can_be_called_until_it_is_granted() {
    let target = given("guests.wasm").served().await;
    let host = given("guests.wasm").served().await;
    let text = call(&host, &format!("http://{}/hello", target.address)).await;
    assert!(text.contains("HttpRequestDenied") && !text.contains("hello\\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_granted_origin_is_called() {
    let target = given("guests.wasm").served().await;
    let origin = format!("http://{}", target.address);
    let host = given("guests.wasm").outbound(&[&origin], allowing(&target.address)).served().await;
    let text = call(&host, &format!("{origin}/hello")).await;
    assert!(text.contains("\"status\":\"200\"") && text.contains("hello"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_of_a_name_is_no_grant_of_the_address_behind_it() {
    let target = given("guests.wasm").served().await;
    let port = target.address.rsplit_once(':').unwrap().1;
    let granted = [format!("http://localhost:{port}"), "http://169.254.169.254".to_owned()];
    let granted = [granted[0].as_str(), granted[1].as_str()];
    let host = given("guests.wasm").outbound(&granted, Network::default()).served().await;
    for url in granted {
        let text = call(&host, url).await;
        assert!(text.contains("DestinationIpProhibited"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_is_told_as_such() {
    let origin = "http://127.0.0.1:1";
    let host = given("guests.wasm").outbound(&[origin], allowing("127.0.0.1:1")).served().await;
    let text = call(&host, origin).await;
    assert!(text.contains("ConnectionRefused"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_hangs_ends_with_the_request() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let origin = format!("http://{address}");
    let given = given("guests.wasm").outbound(&[&origin], allowing(&address));
    let host = given.limits(|limits| limits.timeout_millis = 300).served().await;
    let answer = host.get(&format!("/outbound-attack?url={origin}")).await;
    assert!(answer.status == 504 || answer.text.contains("ConnectionReadTimeout"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_writes_its_body_first_still_learns_why_nothing_is_sent() {
    // Made with wstd, which writes a body even where it is empty, and gives up when that fails.
    let sample = "samples/prebuilt/outbound.wasm";
    let text = given(sample).served().await.get("/?url=http://example.com/").await.text;
    assert!(text.contains("HttpRequestDenied"), "{text}");
    let origin = "http://127.0.0.1:1";
    let host = given(sample).outbound(&[origin], allowing("127.0.0.1:1")).served().await;
    let text = host.get(&format!("/?url={origin}/")).await.text;
    assert!(text.contains("ConnectionRefused"), "{text}");
    let host = given(sample).outbound(&[origin], Network::default()).served().await;
    let text = host.get(&format!("/?url={origin}/")).await.text;
    assert!(text.contains("DestinationIpProhibited"), "{text}");
}
