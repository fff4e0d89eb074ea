//! Bodies that are larger than any buffer.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Frame;

use crate::harness::{
    Connection, Wisp, function, get, host, peak_bytes, post, reset_peak, resident_bytes, soon, streamed,
};

const MIB: usize = 1 << 20;
const BODY_MIB: usize = 100;
/// What `wisp up` and the instance may each grow by meanwhile: less than a third of what passes.
const GROWTH_MAX: u64 = 32 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_stream_both_ways_in_little_memory() {
    let large = function("large").with("limits.requestBody", "200Mi").with("limits.cpuTime", "60s").timeout("60s");
    let wisp = Wisp::up(&[large.max(1)]).await;
    // What the first request of a process allocates is not the bodies'.
    wisp.answers("large").await;
    let mut processes = wisp.instances("large").await;
    assert_eq!(processes.len(), 1);
    processes.push(wisp.pid());
    let before: Vec<u64> = processes.iter().map(|pid| resident_bytes(*pid)).collect();
    processes.iter().for_each(|pid| reset_peak(*pid));

    let mut connection = Connection::to(wisp.requests).await;
    let path = format!("/big-response?mib={BODY_MIB}");
    let mut answer = connection.begin(get(&host("large"), &path)).await.unwrap();
    let mut received = 0;
    while let Some(frame) = soon("more of the answer", answer.frame()).await {
        received += frame.unwrap().into_data().map_or(0, |data| data.len());
    }
    assert_eq!(received, BODY_MIB * MIB);

    let (pieces, body) = streamed();
    let sent = tokio::spawn(Connection::to(wisp.requests).await.send(post(&host("large"), "/sink", body)));
    let piece = Bytes::from(vec![b'x'; MIB]);
    for _ in 0..BODY_MIB {
        pieces.send(Frame::data(piece.clone())).await.unwrap();
    }
    drop(pieces);
    assert_eq!(sent.await.unwrap().unwrap().json()["bytes"], BODY_MIB * MIB);

    for (pid, before) in processes.into_iter().zip(before) {
        let grown = peak_bytes(pid).saturating_sub(before);
        assert!(grown < GROWTH_MAX, "process {pid} grew by {} MiB", grown >> 20);
    }
}
