//! Guests that behave.

use std::fmt::Debug;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::http::types::{Fields, IncomingBody};
use wasip2::io::streams::StreamError;

use crate::json;
use crate::reply::{Reply, fields};
use crate::request::Call;

const CHUNK_BYTES: usize = 64 * 1024;
const NANOS_PER_MILLI: u64 = 1_000_000;

static REQUESTS: AtomicU64 = AtomicU64::new(0);
static INSTANCE: LazyLock<u64> = LazyLock::new(wasip2::random::random::get_random_u64);

pub fn hello(call: Call) {
    call.text(200, "hello\n");
}

/// Streams the body back as it comes, with the same trailers.
pub fn echo(call: Call) {
    let (body, input) = call.body();
    let headers = Fields::new();
    // HTTP/1.1 sends trailers only after they have been announced.
    for name in ["content-type", "trailer"] {
        headers.set(name, &call.request.headers().get(name)).expect("it came as a header");
    }
    let reply = Reply::start(call.out, 200, headers);
    while let Ok(bytes) = input.blocking_read(CHUNK_BYTES as u64) {
        if reply.write(&bytes).and_then(|()| reply.flush()).is_err() {
            return;
        }
    }
    drop(input);
    reply.finish(incoming_trailers(body));
}

/// Reads the whole body and answers how long it was.
pub fn sink(call: Call) {
    let (_body, input) = call.body();
    let mut total: u64 = 0;
    let end = loop {
        match input.blocking_read(CHUNK_BYTES as u64) {
            Ok(bytes) => total += bytes.len() as u64,
            Err(end) => break end,
        }
    };
    match end {
        StreamError::Closed => call.json(&format!("{{\"bytes\":{total}}}")),
        // The body was cut: by the client, or by the limit.
        StreamError::LastOperationFailed(error) => call.text(400, &format!("{}\n", error.to_debug_string())),
    }
}

/// Answers with trailers of its own: `x-status` and, where the request had trailers, their number in `x-received`.
pub fn trailers(call: Call) {
    let (body, input) = call.body();
    while input.blocking_read(CHUNK_BYTES as u64).is_ok() {}
    drop(input);
    let received = incoming_trailers(body).map_or(0, |trailers| trailers.entries().len());
    let reply = Reply::start(call.out, 200, fields(&[("trailer", "x-status, x-received")]));
    let _client_gone = reply.write(b"body before trailers\n");
    reply.finish(Some(fields(&[("x-status", "ok"), ("x-received", &received.to_string())])));
}

/// The request line and all headers, as the guest sees them.
pub fn headers(call: Call) {
    let request = &call.request;
    let method = variant(&request.method());
    let scheme = request.scheme().map_or_else(String::new, |scheme| variant(&scheme));
    let authority = request.authority().unwrap_or_default();
    let target = request.path_with_query().unwrap_or_default();
    let entries = request.headers().entries();
    let entries: Vec<_> = entries.iter().map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value))).collect();
    let line = [("method", method.as_str()), ("scheme", &scheme), ("authority", &authority), ("target", &target)];
    let headers = json::object(entries.iter().map(|(name, value)| (*name, value.as_ref())));
    let body = format!("{{\"request\":{},\"headers\":{headers}}}", json::object(line));
    call.json(&body);
}

/// Answers with `?code=`.
pub fn status(call: Call) {
    let code = u16::try_from(call.number("code", 200)).expect("a status code");
    let reply = Reply::start(call.out, code, Fields::new());
    reply.finish(None);
}

/// How many requests this wasm instance has seen, and which instance it is.
pub fn state(call: Call) {
    let requests = REQUESTS.fetch_add(1, Ordering::Relaxed) + 1;
    let instance = *INSTANCE;
    call.json(&format!("{{\"requests\":{requests},\"instance\":\"{instance:016x}\"}}"));
}

/// Waits `?ms=` before the headers.
pub fn sleep(call: Call) {
    wait_millis(call.number("ms", 100));
    call.text(200, "slept\n");
}

/// Sends `?chunks=` lines, one each `?ms=`.
pub fn slow_body(call: Call) {
    let (chunks, pause_millis) = (call.number("chunks", 10), call.number("ms", 100));
    let reply = Reply::start(call.out, 200, fields(&[("content-type", "text/plain")]));
    for chunk in 0..chunks {
        let line = format!("chunk {chunk}\n");
        if reply.write(line.as_bytes()).and_then(|()| reply.flush()).is_err() {
            return;
        }
        wait_millis(pause_millis);
    }
    reply.finish(None);
}

/// Streams `?mib=` MiB of the letter x.
pub fn big_response(call: Call) {
    let mib = call.number("mib", 1);
    let reply = Reply::start(call.out, 200, fields(&[("content-type", "application/octet-stream")]));
    let chunk = vec![b'x'; CHUNK_BYTES];
    for _ in 0..mib * 1024 * 1024 / CHUNK_BYTES as u64 {
        if reply.write(&chunk).is_err() {
            return;
        }
    }
    reply.finish(None);
}

/// `Get` of `Method::Get`.
fn variant(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    text.rsplit("::").next().unwrap_or(&text).to_owned()
}

fn wait_millis(millis: u64) {
    subscribe_duration(millis * NANOS_PER_MILLI).block();
}

fn incoming_trailers(body: IncomingBody) -> Option<Fields> {
    let future = IncomingBody::finish(body);
    future.subscribe().block();
    // The three layers: there yet, taken once, the client's own error.
    let trailers = future.get()?.ok()?.ok()??;
    // Incoming fields are immutable; outgoing trailers need a copy.
    Fields::from_list(&trailers.entries()).ok()
}
