//! What can be deployed, what is refused and why, and what reaches a guest.

use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::harness::{Place, Wisp, function, prebuilt, sample, until};

/// The URL of a server that has one file, `/guest.wasm`.
async fn file_server(bytes: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 4096];
            let read = stream.read(&mut head).await.unwrap_or(0);
            let (status, body) = match head[..read].starts_with(b"GET /guest.wasm ") {
                true => ("200 OK", bytes.as_slice()),
                false => ("404 Not Found", b"".as_slice()),
            };
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            drop(stream.write_all(&[head.as_bytes(), body].concat()).await);
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_run_is_refused_with_a_reason_and_what_to_do() {
    let place = Place::new(&[]).await;
    place.write_file("broken.wasm", b"\0asm, and then nothing good");
    place.write_file("truncated.wasm", &std::fs::read(sample("hello.wasm")).unwrap()[..100_000]);
    let wrong = "0".repeat(64);
    let cases = [
        (function("missing").component("nowhere.wasm"), "ImageNotFound", "nowhere.wasm"),
        (function("core").component(prebuilt("core.wasm")), "NotAComponent", "wasm32-wasip2"),
        (function("broken").component("broken.wasm"), "NotAComponent", "broken.wasm"),
        (function("truncated").component("truncated.wasm"), "NotAComponent", "truncated.wasm"),
        (function("digest").with("component.sha256", wrong.as_str()), "DigestMismatch", "component.sha256"),
        (function("nohttp").component(prebuilt("nohttp.wasm")), "WorldUnsupported", "wasi:http"),
        (function("command").component(prebuilt("command.wasm")), "WorldUnsupported", "wasi:http"),
        (function("secret").with("envFrom", json!([{"secretRef": {"name": "absent"}}])), "SourceMissing", "absent"),
        (function("field").with("scalling", json!({"max": 1})), "InvalidSpec", "scalling"),
        (function("value").with("scaling.max", "many"), "InvalidSpec", "spec.scaling.max"),
        (function("rule").with("scaling.min", 9).max(3), "InvalidSpec", "spec.scaling.min"),
    ];
    cases.iter().for_each(|(function, ..)| place.write(function));
    place.write(&function("good"));
    let wisp = place.up().await;
    for (function, reason, said) in &cases {
        let seen = wisp.function(function.name()).await;
        assert_eq!((&seen["ready"], &seen["reason"]), (&"False".into(), &(*reason).into()), "{seen}");
        let message = seen["message"].as_str().unwrap();
        assert!(message.contains(said), "{}: {message}", function.name());
        assert_eq!(wisp.get(function.name(), "/hello").await.status, 404);
    }
    wisp.answers("good").await;

    // What was missing comes, and the function runs.
    place.write_file("nowhere.wasm", &std::fs::read(crate::harness::guests()).unwrap());
    wisp.until("missing", "the component is found", |f| f["ready"] == "True").await;
    wisp.answers("missing").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_is_downloaded_by_url_and_must_be_the_one_that_was_meant() {
    let bytes = std::fs::read(crate::harness::guests()).unwrap();
    let sha256: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let wrong = "0".repeat(64);
    let server = file_server(bytes).await;
    let from =
        |name: &str, url: &str, sha256: &str| function(name).with("component", json!({"url": url, "sha256": sha256}));
    let place = Place::new(&[
        from("right", &format!("{server}/guest.wasm"), &sha256),
        from("wrong", &format!("{server}/guest.wasm"), &wrong),
        from("absent", &format!("{server}/absent"), &"1".repeat(64)),
        from("closed", "http://127.0.0.1:1/guest.wasm", &"2".repeat(64)),
    ])
    .await;
    let wisp = place.up().await;
    wisp.answers("right").await;
    for (function, reason, said) in [
        ("wrong", "DigestMismatch", "component.sha256"),
        ("absent", "ImageNotFound", "404"),
        ("closed", "ImageNotFound", "127.0.0.1:1"),
    ] {
        let seen = wisp.function(function).await;
        assert_eq!(seen["reason"], reason, "{seen}");
        assert!(seen["message"].as_str().unwrap().contains(said), "{seen}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_edit_is_refused_and_the_old_revision_goes_on() {
    let hello = function("hello");
    let wisp = Wisp::up(std::slice::from_ref(&hello)).await;
    wisp.place.write_file("core.wasm", &std::fs::read(prebuilt("core.wasm")).unwrap());
    for (wrong, said) in [
        (hello.clone().with("scaling.max", "many"), "spec.scaling.max"),
        (hello.clone().with("limits.memory", "64 potatoes"), "spec.limits.memory"),
        (hello.clone().with("capabilities.fly", true), "fly"),
        (hello.clone().component("core.wasm"), "wasm32-wasip2"),
    ] {
        wisp.place.write(&wrong);
        let said_so = |f: &serde_json::Value| f["ready"] == "False" && f["message"].as_str().unwrap().contains(said);
        wisp.until("hello", said, said_so).await;
        wisp.answers("hello").await;
        assert_eq!(wisp.function("hello").await["latestRevision"], "hello-00001");
    }
    // Not even YAML: nothing is taken for gone.
    wisp.place.write_file("hello.yaml", b"apiVersion: wisp.dev/v1alpha1\nkind: [");
    until("the log says so", async || std::fs::read_to_string(wisp.place.log()).unwrap().contains("is no YAML")).await;
    wisp.answers("hello").await;
    wisp.place.write(&hello);
    wisp.until("hello", "it is good again", |f| f["ready"] == "True").await;
    wisp.answers("hello").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn environment_config_secrets_and_folders_reach_the_guest() {
    let metadata = |name: &str| json!({"name": name});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata("s"), "stringData": {"k": "12345"}});
    let motd = json!({"motd.txt": "from a ConfigMap"});
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata("c"), "data": motd});
    let env = json!([
        {"name": "GREETING", "value": "good morning"},
        {"name": "API_KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    ]);
    let settings = function("settings").component(sample("config.wasm")).beside(secret.clone()).beside(map);
    let settings = settings.with("env", env).with("config.feature", "on");
    let settings = settings.with("volumes", json!([{"name": "motd", "configMap": {"name": "c"}}]));
    let settings = settings.with("mounts", json!([{"name": "motd", "mountPath": "/etc/motd.d"}]));
    let wisp = Wisp::up(std::slice::from_ref(&settings)).await;
    let body = wisp.get("settings", "/").await.body;
    for said in ["environment: good morning", "secret: 5 characters", "store: on", "folder: from a ConfigMap"] {
        assert!(body.contains(said), "{said:?} is not in {body}");
    }
    // Another value, another revision.
    let metadata = metadata("c");
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"motd.txt": "anew"}});
    wisp.place.write(&settings.without_others().beside(secret).beside(map));
    wisp.until("settings", "there is a new revision", |f| f["latestRevision"] == "settings-00002").await;
    until("it has the new value", async || wisp.get("settings", "/").await.body.contains("folder: anew")).await;
}
