//! What a host shows of itself.

use tokio::net::TcpStream;

use crate::process::{Process, start_with};
use crate::support::{Answer, get, prebuilt_path, read, shared_folder, within};

/// A request to a port of another process.
pub(crate) async fn ask(address: &str, path: &str) -> Answer {
    let stream = hyper_util::rt::TokioIo::new(within(TcpStream::connect(address)).await.unwrap());
    let (mut client, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    read(within(client.send_request(get(path))).await.unwrap()).await.unwrap()
}

struct Addresses {
    listen: String,
    admin: String,
}

async fn serve(more: &[&str]) -> (Process, Addresses) {
    let (component, cache) = (prebuilt_path("guests.wasm"), shared_folder());
    let args = ["serve", component.to_str().unwrap(), "--cache", cache.to_str().unwrap()];
    let rest = ["--listen", "tcp:127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let mut process = start_with(&[&args[..], &rest[..], more].concat(), &[]);
    let (listen, admin) = (process.line("listening tcp:").await, process.line("admin tcp:").await);
    (process, Addresses { listen, admin })
}

fn number(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {metrics}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_port_tells_what_became_of_requests() {
    let (mut process, at) = serve(&[]).await;
    for path in ["/hello", "/trap", "/hello"] {
        ask(&at.listen, path).await;
    }
    for path in ["/live", "/ready"] {
        assert_eq!(ask(&at.admin, path).await.status, 200, "{path}");
    }
    let metrics = ask(&at.admin, "/metrics").await.text;
    for (name, expected) in [
        ("wisp_host_requests_finished_total", 3.0),
        ("wisp_host_requests_failed_total", 1.0),
        ("wisp_host_requests_in_flight", 0.0),
        ("wisp_host_execute_seconds_count", 3.0),
    ] {
        assert!((number(&metrics, name) - expected).abs() < f64::EPSILON, "{name} in {metrics}");
    }
    let dump = ask(&at.admin, "/dump").await.text;
    assert!(dump.contains("\"name\":\"default/guests\"") && dump.contains("\"finished\":3"), "{dump}");
    assert_eq!(ask(&at.admin, "/").await.status, 404);
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_port_that_is_taken_is_told_as_such() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (component, cache) = (prebuilt_path("guests.wasm"), shared_folder());
    let address = taken.local_addr().unwrap().to_string();
    let args = ["serve", component.to_str().unwrap(), "--cache", cache.to_str().unwrap(), "--admin-listen", &address];
    assert_eq!(start_with(&args, &[]).ended().await.code(), Some(69));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_floods_its_log_is_cut_and_the_loss_is_counted() {
    const MIB: u64 = 2;
    let (process, at) = serve(&["--inherit-stdio", "--cpu-time", "20000"]).await;
    let Process { mut child, mut lines } = process;
    let reader = tokio::spawn(async move {
        let mut bytes = 0;
        while let Ok(Some(line)) = lines.next_line().await {
            bytes += line.len() as u64 + 1;
        }
        bytes
    });
    // A busy machine may need more than a second for what is too much in one.
    let lost = within(async {
        loop {
            assert_eq!(ask(&at.listen, &format!("/log-flood?mib={MIB}&to=stdout")).await.status, 200);
            let metrics = ask(&at.admin, "/metrics").await.text;
            let lost =
                ["lines", "bytes"].map(|unit| number(&metrics, &format!("wisp_host_output_dropped_{unit}_total")));
            if lost[0] > 0.0 {
                return lost;
            }
        }
    });
    let [lines, bytes] = lost.await;
    assert!(bytes > lines, "{lines} lines of {bytes} bytes");
    child.kill().await.unwrap();
    assert!(within(reader).await.unwrap() > 0);
}
