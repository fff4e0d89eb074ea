//! Guests that fail and guests that attack: each costs itself, and a neighbour answers meanwhile.

use serde_json::json;

use crate::harness::{Answer, Wisp, function, prebuilt, until};

/// A function whose guests get little of everything, in one instance however slow it is, and a neighbour.
async fn cornered() -> Wisp {
    let guest = function("guest").with("limits.cpuTime", "1s").with("limits.memory", "32Mi").timeout("4s").max(1);
    let p3 = guest.clone().component(prebuilt("guests-p3.wasm")).named("guest-p3");
    Wisp::up(&[guest, p3, function("neighbour")]).await
}

/// Asks the guest, and its neighbour meanwhile.
async fn ask(wisp: &Wisp, function: &str, path: &str) -> Result<Answer, String> {
    let asked = wisp.spawn_get(function, path);
    wisp.answers("neighbour").await;
    let answer = asked.await.unwrap();
    wisp.answers("neighbour").await;
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_guests_are_answered_for_and_cost_only_themselves() {
    let wisp = cornered().await;
    wisp.answers("guest").await;
    let instances = wisp.instances("guest").await;
    assert_eq!(wisp.get("guest-p3", "/hello").await.body, "hello from p3\n");
    for (function, path, status, word) in [
        ("guest", "/trap", 502, "trap"),
        ("guest", "/stack", 502, "trap"),
        ("guest", "/exit?code=0", 502, "trap"),
        ("guest", "/no-response", 502, "no-response"),
        ("guest", "/loop", 504, "cpu-time"),
        ("guest", "/sleep?ms=600000", 504, "timeout"),
        ("guest-p3", "/trap", 502, "trap"),
        ("guest-p3", "/error", 502, "guest-error"),
        ("guest-p3", "/loop", 504, "cpu-time"),
    ] {
        let answer = ask(&wisp, function, path).await.unwrap();
        assert_eq!((answer.status, answer.error().as_str()), (status, word), "{function}{path}: {answer:?}");
    }
    // An error is proper where nothing was sent yet, as on a busy machine.
    until("an answer is cut", async || {
        let mut is_cut = false;
        for path in ["/trap/after-headers", "/loop/after-headers"] {
            match ask(&wisp, "guest", path).await {
                Ok(answer) => assert!(answer.status >= 500, "{path}: a cut answer looks whole: {answer:?}"),
                Err(_) => is_cut = true,
            }
        }
        is_cut
    })
    .await;
    assert_eq!(wisp.instances("guest").await, instances, "the instance outlives its guests");
    let lines = wisp.lines("guest").await;
    assert!(lines.iter().any(|line| line["text"].as_str().unwrap().contains("guest trapped")), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_that_use_without_end_are_bounded() {
    let wisp = cornered().await;
    wisp.answers("guest").await;
    let instances = wisp.instances("guest").await;
    let memory = ask(&wisp, "guest", "/memory-bomb").await.unwrap();
    if memory.status == 200 {
        let told = memory.json();
        assert!(told["refused"] == true && told["mib"].as_u64() < Some(32), "{told}");
    } else {
        assert!([502, 504].contains(&memory.status), "{memory:?}");
    }
    let headers = ask(&wisp, "guest", "/header-bomb").await.unwrap();
    assert!([502, 504].contains(&headers.status) || headers.json()["error"].is_string(), "{}", headers.status);
    for (path, allowed) in [
        ("/resource-bomb?kind=fields", [502, 504]),
        ("/resource-bomb?kind=pollables", [502, 504]),
        ("/clock-abuse?mode=forever", [504, 504]),
        ("/clock-abuse?mode=timers", [502, 504]),
        ("/clock-abuse?mode=spin", [504, 504]),
        ("/log-flood?mib=8", [200, 504]),
        ("/log-flood?mib=8&to=stderr", [200, 504]),
    ] {
        let answer = ask(&wisp, "guest", path).await.unwrap();
        assert!(allowed.contains(&answer.status), "{path}: {answer:?}");
    }
    assert_eq!(wisp.instances("guest").await, instances, "the instance outlives its guests");
    let lines = wisp.lines("guest").await;
    assert!((1..=1000).contains(&lines.len()), "{} lines are kept", lines.len());
    wisp.answers("guest").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_reach_nothing_that_was_not_granted() {
    let guest = function("guest").with("volumes", json!([{"name": "shared", "hostPath": {"path": "shared"}}]));
    let guest = guest.with("mounts", json!([{"name": "shared", "mountPath": "/shared"}]));
    let guest = guest.with("env", json!([{"name": "GRANTED", "value": "yes"}])).with("args", json!(["one"]));
    let place = crate::harness::Place::new(&[guest, function("neighbour")]).await;
    let shared = place.manifests().join("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::write(shared.join("readable"), "yes").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", shared.join("escape-file")).unwrap();
    std::os::unix::fs::symlink("..", shared.join("escape-folder")).unwrap();
    let wisp = place.up().await;

    let files = ask(&wisp, "guest", "/fs-attack").await.unwrap().json();
    assert_eq!((&files["reached"], &files["wrote"]), (&json!([]), &json!([])), "{files}");
    assert_eq!(files["files"], json!(["/shared/readable"]), "{files}");

    let seen = ask(&wisp, "guest", "/env-attack").await.unwrap().json();
    assert_eq!((&seen["env"], &seen["stdin_bytes"]), (&json!({"GRANTED": "yes"}), &json!(0)), "{seen}");
    assert_eq!(seen["args"].as_array().unwrap().last(), Some(&json!("one")), "{seen}");

    let (requests, admin) = (wisp.requests, wisp.admin);
    let path = format!("/socket-attack?tcp={requests}&tcp={admin}&udp={admin}&listen=127.0.0.1:0&name=localhost");
    let sockets = ask(&wisp, "guest", &path).await.unwrap().json();
    assert_eq!(sockets["reached"], json!([]), "{sockets}");
}
