//! One `wasi:http` 0.3 service with the behaviours that tests need of that world, chosen by the path.

use std::sync::atomic::{AtomicU64, Ordering};

use wasip3::clocks::monotonic_clock::wait_for;
use wasip3::http::types::{ErrorCode, Fields, Request, Response, Trailers};
use wasip3::wit_bindgen::{FutureReader, StreamReader};
use wasip3::{spawn_local, wit_future, wit_stream};

const NANOS_PER_MILLI: u64 = 1_000_000;

static REQUESTS: AtomicU64 = AtomicU64::new(0);
static IN_FLIGHT: AtomicU64 = AtomicU64::new(0);

type TrailersFuture = FutureReader<Result<Option<Trailers>, ErrorCode>>;

struct GuestsP3;

impl wasip3::exports::http::handler::Guest for GuestsP3 {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let target = request.get_path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        match path {
            "/hello" => Ok(text("hello from p3\n".to_owned())),
            "/echo" => Ok(echo(request)),
            "/state" => Ok(text(state())),
            "/sleep" => Ok(text(sleep(query).await)),
            "/trap" => unreachable!("this guest traps"),
            "/error" => Err(ErrorCode::InternalError(Some("the guest's own error".to_owned()))),
            "/loop" => loop {
                std::hint::spin_loop();
            },
            _ => not_found(),
        }
    }
}

wasip3::http::service::export!(GuestsP3);

/// The request's own stream becomes the answer's: no byte passes through the guest's memory.
fn echo(request: Request) -> Response {
    let (_result, result) = wit_future::new(|| Ok(()));
    let (body, trailers) = Request::consume_body(request, result);
    respond(Fields::new(), body, trailers)
}

/// Waits `ms` milliseconds, and says how many requests were in this wasm instance at once meanwhile.
async fn sleep(query: &str) -> String {
    let millis = query.strip_prefix("ms=").map_or(100, |text| text.parse().expect("a number"));
    let in_flight = IN_FLIGHT.fetch_add(1, Ordering::Relaxed) + 1;
    wait_for(millis * NANOS_PER_MILLI).await;
    IN_FLIGHT.fetch_sub(1, Ordering::Relaxed);
    format!("{{\"in_flight\":{in_flight}}}")
}

fn state() -> String {
    format!("{{\"requests\":{}}}", REQUESTS.fetch_add(1, Ordering::Relaxed) + 1)
}

fn not_found() -> Result<Response, ErrorCode> {
    let response = text("no such guest\n".to_owned());
    response.set_status_code(404).expect("a valid status");
    Ok(response)
}

fn text(body: String) -> Response {
    let (mut sender, stream) = wit_stream::new();
    let (_trailers, trailers) = wit_future::new(|| Ok(None));
    spawn_local(async move {
        // What remains was not read because the client has gone.
        let _remains = sender.write_all(body.into_bytes()).await;
    });
    respond(Fields::new(), stream, trailers)
}

fn respond(headers: Fields, body: StreamReader<u8>, trailers: TrailersFuture) -> Response {
    let (response, _sent) = Response::new(headers, Some(body), trailers);
    response
}
