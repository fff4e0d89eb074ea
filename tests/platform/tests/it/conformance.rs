//! The same functions and the same requests, with `wisp up` and on the cluster: the answers are the same.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use wisp_cluster::until;

use wisp_platform::{DOMAIN, Function, PATIENCE, SYSTEM, function, repository};

use crate::platform::{Platform, platform};

const GUESTS: &str = "tests/guests/prebuilt/guests.wasm";
/// Longer than any request timeout below.
const ANSWER: Duration = Duration::from_secs(60);

/// One request, and what must come back from either mode.
struct Case {
    /// Which function, by its host without the domain, or a host as it is when it has a dot.
    host: &'static str,
    request: &'static str,
    body: &'static str,
    expect: Expect,
}

enum Expect {
    /// This status with this body.
    Text(u16, &'static str),
    /// 200 with JSON that has this value at this pointer.
    Json(&'static str, Value),
    /// 200 with a body of so many bytes.
    Bytes(usize),
    /// An answer that is not the function's own: its status and the word of `x-wisp-error`.
    Refused(u16, &'static str),
}

fn case(host: &'static str, request: &'static str, expect: Expect) -> Case {
    Case { host, request, body: "", expect }
}

/// In this order: some count what came before.
fn cases() -> Vec<Case> {
    use Expect::{Bytes, Json, Refused, Text};
    vec![
        case("plain", "GET /hello", Text(200, "hello\n")),
        Case { body: "a body", ..case("plain", "POST /echo", Text(200, "a body")) },
        Case { body: "a body", ..case("plain", "PUT /sink", Json("/bytes", json!(6))) },
        case("plain", "GET /status?code=418", Text(418, "")),
        case("plain", "GET /headers?a=b", Json("/request/target", json!("/headers?a=b"))),
        case("plain", "DELETE /headers", Json("/request/method", json!("DELETE"))),
        case("plain", "GET /headers", Json("/headers/x-asked", json!("yes"))),
        case(
            "plain",
            "GET /env-attack",
            Json("/env", json!({"GREETING": "hi", "KEY": "from a secret", "all": "of a map"})),
        ),
        case("plain", "GET /env-attack", Json("/args/1", json!("one"))),
        case("plain", "GET /state", Json("/requests", json!(1))),
        case("plain", "GET /state", Json("/requests", json!(1))),
        case("plain", "GET /slow-body?chunks=3&ms=20", Expect::Bytes(0)),
        case("plain", "GET /big-response?mib=3", Bytes(3 << 20)),
        case("canary-plain", "GET /hello", Text(200, "hello\n")),
        case("other-plain", "GET /hello", Refused(404, "unknown-host")),
        case("nobody", "GET /hello", Refused(404, "unknown-host")),
        case("conformance.example", "GET /hello", Text(200, "hello\n")),
        case("any.conformance.example", "GET /hello", Text(200, "hello\n")),
        case("conformance.example", "GET /headers", Json("/headers/x-asked", json!("yes"))),
        case("conformance.example", "GET /env-attack", Json("/args/1", json!("by path"))),
        case("plain", "GET /trap", Refused(502, "trap")),
        case("plain", "GET /no-response", Refused(502, "no-response")),
        case("plain", "GET /exit?code=0", Refused(502, "exit")),
        case("plain", "GET /hello", Text(200, "hello\n")),
        case("strict", "GET /hello", Text(200, "hello\n")),
        case("strict", "GET /sleep?ms=600000", Refused(504, "timeout")),
        case("strict", "GET /loop", Refused(504, "cpu-time")),
        Case { body: TOO_LARGE, ..case("strict", "POST /sink", Refused(413, "body-too-large")) },
        case("pooled", "GET /state", Json("/requests", json!(1))),
        case("pooled", "GET /state", Json("/requests", json!(2))),
        case("pooled", "GET /state", Json("/requests", json!(3))),
    ]
}

/// One byte more than `strict` takes.
const TOO_LARGE: &str = match std::str::from_utf8(&[b'x'; 1025]) {
    Ok(text) => text,
    Err(_) => "",
};

/// The functions of all cases, with a component that is still to be filled in.
fn functions() -> Vec<Function> {
    let named = |name: &str| Function { name: name.to_owned(), spec: json!({"component": {}}) };
    let env = json!([
        {"name": "GREETING", "value": "hi"},
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "conformance", "key": "key"}}},
    ]);
    let hosts = json!(["conformance.example", "*.conformance.example"]);
    vec![
        named("plain")
            .with("args", json!(["one"]))
            .with("env", env)
            .with("envFrom", json!([{"configMapRef": {"name": "conformance"}}]))
            .with("traffic", json!([{"latest": true, "percent": 100, "tag": "canary"}]))
            .with("ingress.hosts", hosts.clone()),
        named("by-path")
            .with("args", json!(["by path"]))
            .with("ingress.hosts", hosts)
            .with("ingress.path", "/env-attack"),
        named("strict").with("limits", json!({"timeout": "3s", "cpuTime": "1s", "requestBody": "1Ki"})),
        named("pooled").with("concurrency", json!({"reuse": "pooled", "slots": 1})).with("scaling.max", 1),
    ]
}

fn sources() -> [Value; 2] {
    let metadata = json!({"name": "conformance", "namespace": "default"});
    [
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"key": "from a secret"}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"all": "of a map"}}),
    ]
}

/// Where requests go, in either mode.
struct Mode {
    name: &'static str,
    address: String,
    domain: &'static str,
    client: legacy::Client<HttpConnector, Full<Bytes>>,
}

impl Mode {
    fn new(name: &'static str, address: String, domain: &'static str) -> Self {
        Self { name, address, domain, client: legacy::Client::builder(TokioExecutor::new()).build_http() }
    }

    async fn check(&self, case: &Case) -> Result<()> {
        let host = if case.host.contains('.') {
            case.host.to_owned()
        } else {
            format!("{}.default.{}", case.host, self.domain)
        };
        let (method, path) = case.request.split_once(' ').context("a request is a method and a path")?;
        let request = Request::builder().method(method.parse::<Method>()?);
        let request =
            request.uri(format!("http://{}{path}", self.address)).header("host", host).header("x-asked", "yes");
        let exchange = async {
            let answer = self.client.request(request.body(Full::from(case.body))?).await?;
            let (head, body) = answer.into_parts();
            anyhow::Ok((head, body.collect().await?.to_bytes()))
        };
        let (head, body) = tokio::time::timeout(ANSWER, exchange).await.context("no answer in time")??;
        let (status, text) = (head.status.as_u16(), String::from_utf8_lossy(&body));
        let error = head.headers.get("x-wisp-error").map_or("", |value| value.to_str().unwrap_or("?"));
        let shown = || format!("{status}, x-wisp-error {error:?}, {} bytes: {:.300}", body.len(), text);
        match &case.expect {
            Expect::Text(wanted, words) => ensure!((status, text.as_ref(), error) == (*wanted, words, ""), shown()),
            Expect::Bytes(0) => ensure!(status == 200 && text.lines().count() == 3, shown()),
            Expect::Bytes(count) => ensure!(status == 200 && body.len() == *count, shown()),
            Expect::Refused(wanted, word) => ensure!((status, error) == (*wanted, word), shown()),
            Expect::Json(pointer, value) => {
                let json: Value = serde_json::from_slice(&body).with_context(shown)?;
                ensure!(status == 200 && json.pointer(pointer) == Some(value), shown());
            }
        }
        Ok(())
    }

    /// All that differs from what is expected.
    async fn differences(&self) -> Vec<String> {
        let mut differences = Vec::new();
        for case in cases() {
            if let Err(error) = self.check(&case).await {
                differences.push(format!("{}: {} at {}: {error:#}", self.name, case.request, case.host));
            }
        }
        differences
    }
}

/// A `wisp up` with the functions in a folder.
struct Up {
    _process: Child,
    _folder: TempDir,
    requests: SocketAddr,
}

impl Up {
    async fn start(program: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join("functions"))?;
        let objects = functions().into_iter().map(|function| {
            let function = function.with("component.path", repository().join(GUESTS).display().to_string());
            json!({"apiVersion": "wisp.dev/v1alpha1", "kind": "WasmFunction",
                   "metadata": {"name": function.name}, "spec": function.spec})
        });
        for (number, object) in objects.chain(sources()).enumerate() {
            std::fs::write(folder.path().join(format!("functions/{number}.yaml")), object.to_string())?;
        }
        let mut command = Command::new(program);
        command.args(["up", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--state"]);
        command.arg(folder.path().join("state")).arg(folder.path().join("functions"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut process = command.spawn()?;
        let mut lines = BufReader::new(process.stdout.take().context("it is piped")?).lines();
        let requests = tokio::time::timeout(PATIENCE, async {
            while let Some(line) = lines.next_line().await? {
                if let Some((_, address)) = line.split_once("   http://").filter(|_| !line.starts_with(' ')) {
                    return Ok(address.trim().parse()?);
                }
            }
            anyhow::bail!("wisp up ended")
        });
        let requests = requests.await.context("wisp up prints no address")??;
        // What it says later must go somewhere; this ends with it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { _process: process, _folder: folder, requests })
    }
}

async fn deploy_on(platform: &Platform) -> Result<String> {
    for object in sources() {
        platform.apply(&object.to_string()).await?;
    }
    for wanted in functions() {
        let Function { name, mut spec } = wanted;
        spec["component"] = function(platform, &name, "guests").spec["component"].clone();
        Function { name, spec }.deploy(platform).await;
    }
    platform.kubectl(["-n", SYSTEM, "get", "service/wisp-activator", "-o", "jsonpath={.spec.clusterIP}"]).await
}

fn program() -> Option<PathBuf> {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).parent()?.join("debug/wisp");
    program.exists().then_some(program)
}

#[tokio::test]
async fn answers_are_the_same_with_wisp_up_and_on_a_cluster() {
    let Some(program) = program() else {
        eprintln!("left out: target/debug/wisp is not built: `cargo build --workspace --bins`");
        return;
    };
    let up = Up::start(&program).await.unwrap();
    let mode = Mode::new("wisp up", up.requests.to_string(), "localhost");
    let first = &cases()[0];
    until("wisp up answers", PATIENCE, async || Ok(mode.check(first).await.ok())).await.unwrap();
    let mut differences = mode.differences().await;
    drop(up);
    if let Some(platform) = platform().await {
        let address = deploy_on(&platform).await.unwrap();
        let mode = Mode::new("cluster", address, DOMAIN);
        until("the cluster answers", PATIENCE, async || Ok(mode.check(first).await.ok())).await.unwrap();
        differences.extend(mode.differences().await);
    }
    assert!(differences.is_empty(), "\n{}\n", differences.join("\n"));
}
