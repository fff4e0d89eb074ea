//! Queues, deadlines, and clients that go away or take their time.

use futures::future::join_all;
use http_body_util::BodyExt;
use hyper::body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::{Connection, Multiplexed, Wisp, full, function, get, host, post, soon, streamed, until};

/// As many as may wait for one revision.
const QUEUE: usize = 1024;
const TOO_MANY: usize = 1200;
/// Of those who wait, those who do not leave.
const PATIENT: usize = 100;
/// As many as one connection may have at once.
const STREAMS: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_and_moves_on_when_clients_leave() {
    let wisp = Wisp::up(&[function("narrow").slots(1).max(1).timeout("10m"), function("neighbour")]).await;
    let held = wisp.hold("narrow").await;
    wisp.until("narrow", "the slot is taken", |f| f["inFlight"] == 1).await;
    let (mut connections, mut asked) = (Vec::new(), Vec::new());
    for _ in 0..TOO_MANY / STREAMS {
        let connection = Multiplexed::to(wisp.requests).await;
        asked.extend((0..STREAMS).map(|_| connection.send(get(&host("narrow"), "/hello"))));
        connections.push(connection);
    }
    wisp.until("narrow", "the queue is full", |f| f["waiting"] == QUEUE).await;
    let refused = async || asked.iter().filter(|answer| answer.is_finished()).count() == TOO_MANY - QUEUE;
    until("the others are refused", refused).await;
    let refused = wisp.get("narrow", "/hello").await;
    assert_eq!(
        (refused.status, refused.error().as_str(), refused.header("retry-after").as_str()),
        (503, "queue-full", "1")
    );
    wisp.answers("neighbour").await;

    // Most who wait leave; the others are answered once the slot is free.
    asked.retain(|answer| !answer.is_finished());
    asked.drain(PATIENT..).for_each(|answer| answer.abort());
    wisp.until("narrow", "who left waits no more", |f| f["waiting"] == PATIENT).await;
    assert_eq!(held.finish().await.unwrap().status, 200);
    for answer in join_all(asked).await {
        assert_eq!(answer.unwrap().unwrap().status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlines_and_sizes_end_requests_and_a_client_that_leaves_frees_its_slot() {
    let narrow = function("narrow").slots(1).max(1);
    let brief = narrow.clone().named("brief").timeout("1s").with("limits.requestBody", "1Ki");
    let wisp = Wisp::up(&[narrow.timeout("10m"), brief]).await;

    // One runs into its deadline at the guest, the others in the queue, or at the guest when it is free just then.
    let asked: Vec<_> = (0..4).map(|_| wisp.spawn_get("brief", "/sleep?ms=600000")).collect();
    for answer in join_all(asked).await {
        let answer = answer.unwrap().unwrap();
        assert_eq!(answer.status, 504, "{answer:?}");
        assert!(["timeout", "timeout-waiting"].contains(&answer.error().as_str()), "{answer:?}");
    }

    let large =
        Connection::to(wisp.requests).await.send(post(&host("brief"), "/sink", full(vec![0; 1025]))).await.unwrap();
    assert_eq!((large.status, large.error().as_str()), (413, "body-too-large"));

    // Several times: the slot is free here before the instance has noticed.
    for _ in 0..10 {
        let sleeping = wisp.spawn_get("narrow", "/sleep?ms=600000");
        wisp.until("narrow", "the slot is taken", |f| f["inFlight"] == 1).await;
        let waiting = wisp.spawn_get("narrow", "/hello");
        wisp.until("narrow", "the next one waits", |f| f["waiting"] == 1).await;
        sleeping.abort();
        let answer = waiting.await.unwrap().unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    let held = wisp.hold("narrow").await;
    wisp.until("narrow", "the slot is taken", |f| f["inFlight"] == 1).await;
    held.disconnect();
    assert_eq!(wisp.get("narrow", "/hello").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_get_everything_and_hold_up_nobody() {
    let wisp = Wisp::up(&[function("hello"), function("neighbour")]).await;
    // A body that comes in pieces, each sent when the one before came back.
    let (pieces, body) = streamed();
    let mut connection = Connection::to(wisp.requests).await;
    let mut answer = connection.begin(post(&host("hello"), "/echo", body)).await.unwrap();
    for piece in ["one", "two", "three"] {
        pieces.send(Frame::data(piece.into())).await.unwrap();
        let frame = soon("the piece comes back", answer.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), piece);
        wisp.answers("neighbour").await;
    }
    drop(pieces);
    assert!(soon("the end of the answer", answer.frame()).await.is_none());

    // A head that comes byte by byte.
    let mut stream = TcpStream::connect(wisp.requests).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in format!("GET /hello HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", host("hello")).as_bytes() {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut text = String::new();
    soon("an answer", stream.read_to_string(&mut text)).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200") && text.contains("hello\n"), "{text}");

    // An answer that is read through a small window, while others are asked between any two reads.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(wisp.requests).await.unwrap();
    let head = format!("GET /big-response?mib=4 HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", host("hello"));
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut seen = 0;
    let mut buffer = vec![0; 256 << 10];
    loop {
        let read = soon("more of the answer", stream.read(&mut buffer)).await.unwrap();
        if read == 0 {
            break;
        }
        seen += buffer[..read].iter().filter(|byte| **byte == b'x').count();
        if seen % 7 == 0 {
            wisp.answers("neighbour").await;
        }
    }
    assert!(seen >= 4 << 20, "{seen}");
}
