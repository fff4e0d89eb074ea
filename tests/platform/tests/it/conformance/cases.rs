//! What is asked, what must come back in either mode, and the functions that answer.

use std::sync::LazyLock;

use serde_json::{Value, json};
use wisp_platform::Function;

/// One request, and what must come back.
pub(crate) struct Case {
    /// Which function, by its host without the domain, or a host as it is when it has a dot.
    pub(crate) host: &'static str,
    /// Method and path.
    pub(crate) request: &'static str,
    pub(crate) headers: &'static [(&'static str, &'static str)],
    pub(crate) body: &'static str,
    pub(crate) expect: Expect,
}

pub(crate) enum Expect {
    /// This status with this body.
    Text(u16, &'static str),
    /// 200 with JSON that has this value at this pointer; null where there is none.
    Json(&'static str, Value),
    /// 200 with a body of so many bytes.
    Bytes(usize),
    /// 200 with so many lines.
    Lines(usize),
    /// An answer that is not the function's own: its status and the word of `x-wisp-error`.
    Refused(u16, &'static str),
}

/// One byte more than `strict` takes.
static TOO_LARGE: LazyLock<String> = LazyLock::new(|| "x".repeat(1025));
/// More than a connection has buffers for, and less than any limit here.
static BIG: LazyLock<String> = LazyLock::new(|| "x".repeat(2 << 20));
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01";

fn case(host: &'static str, request: &'static str, expect: Expect) -> Case {
    Case { host, request, headers: &[], body: "", expect }
}

/// In this order: some count what came before.
pub(crate) fn cases() -> Vec<Case> {
    [requests(), headers(), configuration(), routes(), failures(), limits(), reuse()].into_iter().flatten().collect()
}

/// Methods, paths and bodies, as they were sent.
fn requests() -> Vec<Case> {
    use Expect::{Bytes, Json, Lines, Text};
    vec![
        case("plain", "GET /hello", Text(200, "hello\n")),
        case("plain", "HEAD /hello", Text(200, "")),
        case("plain", "GET /status?code=418", Text(418, "")),
        case("plain", "GET /status?code=204", Text(204, "")),
        case("plain", "GET /headers?a=b&c=%2F", Json("/request/target", json!("/headers?a=b&c=%2F"))),
        case("plain", "DELETE /headers", Json("/request/method", json!("Delete"))),
        case("plain", "OPTIONS /headers", Json("/request/method", json!("Options"))),
        Case { body: "a body", ..case("plain", "POST /echo", Text(200, "a body")) },
        Case { body: BIG.as_str(), ..case("plain", "POST /echo", Bytes(2 << 20)) },
        Case { body: BIG.as_str(), ..case("plain", "PUT /sink", Json("/bytes", json!(2 << 20))) },
        case("plain", "GET /slow-body?chunks=3&ms=20", Lines(3)),
        case("plain", "GET /big-response?mib=3", Bytes(3 << 20)),
    ]
}

/// What is passed on, what is not, and what is added.
fn headers() -> Vec<Case> {
    use Expect::{Json, Refused};
    let asked =
        |headers, pointer, value| Case { headers, ..case("conformance.example", "GET /headers", Json(pointer, value)) };
    vec![
        asked(&[("x-asked", "yes")], "/headers/x-asked", json!("yes")),
        asked(&[], "/headers/host", Value::Null),
        asked(&[], "/request/authority", json!("conformance.example")),
        asked(&[], "/request/scheme", json!("Http")),
        asked(&[], "/headers/x-forwarded-host", json!("conformance.example")),
        asked(&[], "/headers/x-forwarded-proto", json!("http")),
        asked(&[("connection", "x-mine"), ("x-mine", "yes")], "/headers/x-mine", Value::Null),
        asked(&[("connection", "x-mine"), ("x-mine", "yes")], "/headers/connection", Value::Null),
        asked(&[("proxy-authorization", "Basic eDp5")], "/headers/proxy-authorization", Value::Null),
        asked(&[("tracestate", "a=b"), ("traceparent", TRACE)], "/headers/tracestate", json!("a=b")),
        Case {
            headers: &[("connection", "upgrade"), ("upgrade", "websocket")],
            ..case("plain", "GET /hello", Refused(501, "no-upgrade"))
        },
    ]
}

fn configuration() -> Vec<Case> {
    use Expect::Json;
    let env = json!({"GREETING": "hi", "KEY": "from a secret", "all": "of a map"});
    vec![
        case("plain", "GET /env-attack", Json("/env", env)),
        case("plain", "GET /env-attack", Json("/args/0", json!("one"))),
        case("plain", "GET /socket-attack", Json("/reached", json!([]))),
        case("plain", "GET /outbound-attack", Json("", json!([]))),
    ]
}

fn routes() -> Vec<Case> {
    use Expect::{Json, Refused, Text};
    vec![
        case("canary-plain", "GET /hello", Text(200, "hello\n")),
        case("other-plain", "GET /hello", Refused(404, "unknown-host")),
        case("nobody", "GET /hello", Refused(404, "unknown-host")),
        case("conformance.example", "GET /hello", Text(200, "hello\n")),
        case("any.conformance.example", "GET /hello", Text(200, "hello\n")),
        case("conformance.example", "GET /env-attack", Json("/args/0", json!("by path"))),
        case("two.names.conformance.example", "GET /hello", Refused(404, "unknown-host")),
        case("plain.example:x", "GET /hello", Refused(404, "unknown-host")),
    ]
}

fn failures() -> Vec<Case> {
    use Expect::{Refused, Text};
    vec![
        case("plain", "GET /trap", Refused(502, "trap")),
        case("plain", "GET /no-response", Refused(502, "no-response")),
        case("plain", "GET /exit?code=0", Refused(502, "trap")),
        case("plain", "GET /hello", Text(200, "hello\n")),
    ]
}

/// The time of this function includes its start.
pub(crate) fn strict() -> Case {
    case("strict", "GET /hello", Expect::Text(200, "hello\n"))
}

fn limits() -> Vec<Case> {
    use Expect::Refused;
    vec![
        strict(),
        case("strict", "GET /sleep?ms=600000", Refused(504, "timeout")),
        case("strict", "GET /loop", Refused(504, "cpu-time")),
        Case { body: TOO_LARGE.as_str(), ..case("strict", "POST /sink", Refused(413, "body-too-large")) },
        strict(),
    ]
}

/// How many requests this function's wasm instance has had.
pub(crate) fn state(host: &'static str, requests: u8) -> Case {
    case(host, "GET /state", Expect::Json("/requests", json!(requests)))
}

/// A wasm instance has one request in its life.
fn reuse() -> Vec<Case> {
    vec![state("plain", 1), state("plain", 1)]
}

/// The functions of all cases, with a component that is still to be filled in.
pub(crate) fn functions() -> Vec<Function> {
    let named = |name: &str| Function {
        name: name.to_owned(),
        namespace: "default".to_owned(),
        spec: json!({"component": {}}),
    };
    let env = json!([
        {"name": "GREETING", "value": "hi"},
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "conformance", "key": "key"}}},
    ]);
    let hosts = json!(["conformance.example", "*.conformance.example"]);
    let one_slot = json!({"reuse": "pooled", "slots": 1});
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
        named("pooled").with("concurrency", one_slot.clone()).with("scaling.max", 1),
        named("full").with("concurrency", one_slot).with("scaling.max", 1).with("limits.timeout", "120s"),
    ]
}

/// What the functions name.
pub(crate) fn sources() -> [Value; 2] {
    let metadata = json!({"name": "conformance", "namespace": "default"});
    [
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"key": "from a secret"}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"all": "of a map"}}),
    ]
}
