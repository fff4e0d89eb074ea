//! One `wasi:http` 0.2 component with many behaviours, chosen by the path: what whole-path tests need, and what a
//! malicious guest would try. Answers are text or JSON that a test can assert on; README.md lists them.
//!
//! In the order of the data: `request` parses, this file dispatches, `plain` answers well, `faults` fails,
//! `load` uses resources without end, `attack` reaches for what it must not have, `reply` writes the answer.

mod attack;
mod faults;
mod files;
mod json;
mod load;
mod outbound;
mod plain;
mod reply;
mod request;

use request::Call;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

struct Guests;

impl wasip2::exports::http::incoming_handler::Guest for Guests {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let call = Call::new(request, out);
        match call.path.as_str() {
            "/hello" => plain::hello(call),
            "/echo" => plain::echo(call),
            "/sink" => plain::sink(call),
            "/trailers" => plain::trailers(call),
            "/headers" => plain::headers(call),
            "/status" => plain::status(call),
            "/state" => plain::state(call),
            "/sleep" => plain::sleep(call),
            "/slow-body" => plain::slow_body(call),
            "/big-response" => plain::big_response(call),
            "/trap" => faults::trap(),
            "/trap/after-headers" => faults::trap_after_headers(call),
            "/loop" => faults::spin(),
            "/loop/after-headers" => faults::spin_after_headers(call),
            "/stack" => faults::overflow_stack(call),
            "/exit" => faults::exit(&call),
            "/no-response" => faults::no_response(call),
            "/memory-bomb" => load::memory_bomb(call),
            "/resource-bomb" => load::resource_bomb(call),
            "/header-bomb" => load::header_bomb(call),
            "/clock-abuse" => load::clock_abuse(call),
            "/log-flood" => load::log_flood(call),
            "/cpu" => load::cpu(call),
            "/fs-attack" => files::attack(call),
            "/env-attack" => attack::environment(call),
            "/socket-attack" => attack::sockets(call),
            "/outbound-attack" => outbound::attack(call),
            _ => call.text(404, "no such guest\n"),
        }
    }
}

wasip2::http::proxy::export!(Guests);
