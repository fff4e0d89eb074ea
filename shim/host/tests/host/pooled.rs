//! Several requests in one wasm instance: `reuse: pooled` with a 0.3 component.

use bytes::Bytes;
use futures::StreamExt;
use http::Request;
use http_body_util::{BodyExt, Empty, Full};
use tokio::task::JoinHandle;
use wisp_host::shared::{REQUESTS_AT_ONCE_MAX, Snapshot};

use crate::support::{Answer, Given, Served, get, given, post, read, until, within};

fn pooled(requests: u32) -> Given {
    given("guests-p3.wasm").slots(200).reuse(requests)
}

impl Served {
    fn wasm_instances(&self) -> Vec<Snapshot> {
        self.host.revision().unwrap().shared().unwrap().snapshot()
    }

    /// Requests in each wasm instance that takes more, youngest last.
    fn requests(&self) -> Vec<u32> {
        self.wasm_instances().iter().map(|instance| instance.in_flight).collect()
    }

    /// A request over a connection of its own, which is closed when it is aborted.
    async fn begin(&self, path: &'static str) -> JoinHandle<Answer> {
        let mut client = self.http1().await;
        tokio::spawn(async move { read(client.send_request(get(path)).await.unwrap()).await.unwrap() })
    }

    /// A request that waits in the guest; only then does the guest have room for a next one.
    async fn sleeping(&self, path: &'static str) -> JoinHandle<Answer> {
        let (before, left) = (self.host.metrics().in_flight(), self.left());
        let running = self.begin(path).await;
        self.in_flight(before + 1).await;
        until(|| self.left() != left).await;
        self.with_room().await;
        running
    }

    /// No guest computes: a next request finds room, and does not open a wasm instance of its own.
    async fn with_room(&self) {
        until(|| self.wasm_instances().iter().all(|instance| instance.takes_more)).await;
    }

    /// Asks once there is room again: after an answer, whoever waits in the guest has to let it work first.
    async fn get_next(&self, path: &str) -> Answer {
        self.with_room().await;
        self.get(path).await
    }

    fn left(&self) -> Vec<u32> {
        self.wasm_instances().iter().map(|instance| instance.left).collect()
    }
}

async fn answer(running: JoinHandle<Answer>) -> (u16, String) {
    let answer = within(running).await.unwrap();
    (answer.status.as_u16(), answer.text)
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_wait_share_one_wasm_instance_and_its_state() {
    let host = pooled(100).served().await;
    let waiting = host.sleeping("/sleep?ms=60000").await;
    assert_eq!(host.get("/sleep?ms=1").await.text, "{\"in_flight\":2}");
    for request in 1..4 {
        assert_eq!(host.get_next("/state").await.text, format!("{{\"requests\":{request}}}"));
    }
    assert_eq!(host.requests(), [1]);
    waiting.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_of_0_2_has_one_request_at_a_time() {
    assert!(given("guests.wasm").reuse(100).served().await.host.revision().unwrap().shared().is_none());
    assert!(given("guests-p3.wasm").served().await.host.revision().unwrap().shared().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wasm_instance_is_given_no_more_requests_than_it_may_have_in_its_life() {
    let host = pooled(3).served().await;
    let _waiting = [host.sleeping("/sleep?ms=60000").await, host.sleeping("/sleep?ms=60000").await];
    let seen = [host.get("/sleep?ms=1").await.text, host.get("/sleep?ms=1").await.text];
    assert_eq!(seen, ["{\"in_flight\":3}", "{\"in_flight\":1}"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wasm_instance_has_no_more_requests_at_once_than_it_bears() {
    let host = pooled(1000).served().await;
    for _ in 0..REQUESTS_AT_ONCE_MAX - 1 {
        host.sleeping("/sleep?ms=60000").await;
    }
    assert_eq!(host.get("/sleep?ms=1").await.text, format!("{{\"in_flight\":{REQUESTS_AT_ONCE_MAX}}}"));
    host.with_room().await;
    let _last = host.begin("/sleep?ms=60000").await;
    until(|| host.requests() == [REQUESTS_AT_ONCE_MAX]).await;
    assert_eq!(host.get("/sleep?ms=1").await.text, "{\"in_flight\":1}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_takes_its_neighbours_in_the_same_wasm_instance_and_nobody_else() {
    let host = pooled(2).served().await;
    let elsewhere = host.sleeping("/sleep?ms=2000").await;
    let full = host.begin("/sleep?ms=2000").await;
    until(|| host.wasm_instances().is_empty()).await;
    let neighbour = host.sleeping("/sleep?ms=60000").await;
    let trapped = host.get("/trap").await;
    assert_eq!((trapped.status.as_u16(), trapped.header("x-wisp-error")), (502, "trap"));
    assert!(trapped.text.contains("under id "), "{}", trapped.text);
    // One cause, one id.
    assert_eq!(answer(neighbour).await, (502, trapped.text));
    assert_eq!(answer(elsewhere).await.0, 200);
    assert_eq!(answer(full).await.0, 200);
    assert_eq!(host.get("/state").await.text, "{\"requests\":1}");
    host.in_flight(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_computes_gets_no_further_neighbours() {
    let host = pooled(100).limits(|limits| limits.cpu_time_millis = 20_000).served().await;
    let _waiting = host.sleeping("/sleep?ms=60000").await;
    let _looping = host.begin("/loop").await;
    until(|| host.wasm_instances().iter().any(|instance| instance.in_flight == 2)).await;
    assert_eq!(host.get("/sleep?ms=1").await.text, "{\"in_flight\":1}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_computes_too_long_is_named() {
    let host = pooled(100).limits(|limits| limits.cpu_time_millis = 1000).served().await;
    let neighbour = host.sleeping("/sleep?ms=60000").await;
    let looping = host.get("/loop").await;
    assert_eq!((looping.status.as_u16(), looping.header("x-wisp-error")), (504, "cpu-time"));
    let neighbour = within(neighbour).await.unwrap();
    assert_eq!((neighbour.status.as_u16(), neighbour.header("x-wisp-error")), (502, "trap"));
    let id = |text: &str| text.rsplit(' ').next().unwrap().to_owned();
    assert_eq!(id(&looping.text), id(&neighbour.text));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_retires_the_wasm_instance_and_its_neighbours_finish() {
    let host = pooled(100).served().await;
    let neighbour = host.sleeping("/sleep?ms=5000").await;
    let abandoned = host.sleeping("/sleep?ms=60000").await;
    assert_eq!(host.requests(), [2]);
    abandoned.abort();
    until(|| host.wasm_instances().is_empty()).await;
    assert_eq!(host.get("/sleep?ms=1").await.text, "{\"in_flight\":1}");
    assert_eq!(answer(neighbour).await.0, 200);
    host.in_flight(0).await;
    assert_eq!(host.host.metrics().failed.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_takes_too_long_ends_alone() {
    let host = pooled(100).limits(|limits| limits.timeout_millis = 5000).served().await;
    let slow = host.sleeping("/sleep?ms=60000").await;
    let neighbour = host.sleeping("/sleep?ms=2000").await;
    assert_eq!(answer(neighbour).await.0, 200);
    let slow = within(slow).await.unwrap();
    assert_eq!((slow.status.as_u16(), slow.header("x-wisp-error")), (504, "timeout"));
    assert!(host.wasm_instances().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_the_fault_of_one() {
    let host = pooled(100).limits(|limits| limits.request_body_bytes = 10).served().await;
    let neighbour = host.sleeping("/sleep?ms=1000").await;
    let body = Full::new(Bytes::from("x".repeat(100))).map_frame(|frame| frame);
    let request = Request::post("/echo").header("host", "a").header("transfer-encoding", "chunked").body(body);
    let refused = read(host.send(request.unwrap()).await).await.unwrap();
    assert_eq!((refused.status.as_u16(), refused.header("x-wisp-error")), (413, "body-too-large"));
    assert_eq!(answer(neighbour).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_pass_while_neighbours_wait() {
    let host = pooled(100).served().await;
    let _waiting = host.sleeping("/sleep?ms=60000").await;
    let body = "x".repeat(1 << 20);
    assert_eq!(read(host.send(post("/echo", body.clone())).await).await.unwrap().text, body);
    assert_eq!(host.requests(), [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_holds_up_nobody() {
    let host = pooled(100).served().await;
    let _waiting = host.sleeping("/sleep?ms=60000").await;
    // More than sockets and buffers take in.
    let unread = host.send(post("/echo", "x".repeat(9 << 20))).await;
    assert_eq!(unread.status(), 200);
    until(|| host.wasm_instances().iter().all(|instance| instance.takes_more)).await;
    assert_eq!(host.get("/sleep?ms=50").await.text, "{\"in_flight\":2}");
    assert_eq!((host.requests(), host.left()), (vec![2], vec![97]));
    assert_eq!(read(unread).await.unwrap().text.len(), 9 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_guests_own_is_the_answer_of_one() {
    let host = pooled(100).served().await;
    let _waiting = host.sleeping("/sleep?ms=60000").await;
    let answer = host.get("/error").await;
    assert_eq!((answer.status.as_u16(), answer.header("x-wisp-error")), (502, "guest-error"));
    assert_eq!(host.get_next("/sleep?ms=1").await.text, "{\"in_flight\":2}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_answer_has_a_length_while_neighbours_wait() {
    let host = pooled(100).served().await;
    let _waiting = host.sleeping("/sleep?ms=60000").await;
    // None where a neighbour was driving the guest.
    within(async { while host.get_next("/hello").await.header("content-length") != "14" {} }).await;
    assert_eq!(host.requests(), [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wasm_instance_without_requests_is_given_back() {
    let host = pooled(100).served().await;
    assert_eq!(host.get("/hello").await.status, 200);
    until(|| host.requests() == [0]).await;
    until(|| host.wasm_instances().is_empty()).await;
    let memory = || host.host.metrics().guest_memory_bytes.load(std::sync::atomic::Ordering::Relaxed);
    until(|| memory() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_all_end_with_their_own_answer() {
    let host = pooled(50).served().await;
    let clients = [host.http2().await, host.http2().await, host.http2().await];
    let requests = (0..600).map(|n| {
        let mut client = clients[n % clients.len()].clone();
        let (path, text) =
            [("/hello", "hello from p3\n"), ("/state", "{\"requests\":"), ("/sleep?ms=3", "{\"in_flight\":")][n % 3];
        async move {
            let request = Request::get(format!("http://guests.test{path}")).body(Empty::<Bytes>::new()).unwrap();
            let answer = read(client.send_request(request).await.unwrap()).await.unwrap();
            assert!(answer.status == 200 && answer.text.starts_with(text), "{path}: {answer:?}");
        }
    });
    within(futures::stream::iter(requests).for_each_concurrent(100, |request| request)).await;
    host.in_flight(0).await;
}
