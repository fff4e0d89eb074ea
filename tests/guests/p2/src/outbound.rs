//! A guest that sends a request to each `?url=` and tells what came of it.

use wasip2::http::outgoing_handler;
use wasip2::http::types::{ErrorCode, Fields, IncomingResponse, Method, OutgoingRequest, Scheme};

use crate::json;
use crate::request::Call;

const BODY_BYTES_MAX: u64 = 1024;

/// Answers an array with one object per URL: `url`, and either `status`, `location`, `body` or `error`.
/// The error is the name of the `wasi:http` error code.
pub fn attack(call: Call) {
    let answers: Vec<String> = call.params("url").iter().map(|url| answer(url)).collect();
    call.json(&format!("[{}]", answers.join(",")));
}

fn answer(url: &str) -> String {
    match send(url) {
        Ok(response) => {
            let location = response.headers().get("location").pop().unwrap_or_default();
            let (status, location) = (response.status().to_string(), String::from_utf8_lossy(&location));
            let body = String::from_utf8_lossy(&first_bytes(&response)).into_owned();
            json::object([("url", url), ("status", &status), ("location", &location), ("body", &body)])
        }
        Err(error) => {
            let error = format!("{error:?}");
            json::object([("url", url), ("error", error.trim_start_matches("ErrorCode::"))])
        }
    }
}

fn send(url: &str) -> Result<IncomingResponse, ErrorCode> {
    let (scheme, rest) = url.split_once("://").ok_or(ErrorCode::HttpRequestUriInvalid)?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    };
    let request = OutgoingRequest::new(Fields::new());
    let invalid = |()| ErrorCode::HttpRequestUriInvalid;
    request.set_method(&Method::Get).map_err(invalid)?;
    request.set_scheme(Some(&scheme)).map_err(invalid)?;
    request.set_authority(Some(authority)).map_err(invalid)?;
    request.set_path_with_query(Some(if path.is_empty() { "/" } else { path })).map_err(invalid)?;
    let future = outgoing_handler::handle(request, None)?;
    future.subscribe().block();
    future.get().expect("it is there after the wait").expect("it is taken once")
}

fn first_bytes(response: &IncomingResponse) -> Vec<u8> {
    let Ok(body) = response.consume() else { return Vec::new() };
    let Ok(stream) = body.stream() else { return Vec::new() };
    stream.blocking_read(BODY_BYTES_MAX).unwrap_or_default()
}
