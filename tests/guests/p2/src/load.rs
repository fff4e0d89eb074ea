//! Guests that use memory, resources, time, headers and logs without end. A number in the query bounds each, so that a
//! test can also stay within the limits.

use std::hint::black_box;
use std::io::Write;

use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::http::types::Fields;
use wasip2::io::poll::{Pollable, poll};

use crate::reply::Reply;
use crate::request::Call;

const MIB: usize = 1024 * 1024;
const HOUR_NANOS: u64 = 3_600_000_000_000;

/// Allocates and touches MiB after MiB until it is refused, or `?mib=` is reached.
pub fn memory_bomb(call: Call) {
    let wanted = call.number("mib", u64::MAX);
    let mut held: Vec<Vec<u8>> = Vec::new();
    while (held.len() as u64) < wanted {
        let mut block = Vec::new();
        if block.try_reserve_exact(MIB).is_err() {
            break;
        }
        block.resize(MIB, 1);
        held.push(black_box(block));
    }
    let mib = held.len() as u64;
    // The answer itself needs memory.
    drop(held);
    call.json(&format!("{{\"mib\":{mib},\"refused\":{}}}", mib < wanted));
}

/// Makes and holds `?count=` resources of `?kind=`: `fields` or `pollables`.
pub fn resource_bomb(call: Call) {
    let count = call.number("count", 1_000_000);
    let made = match call.param("kind") {
        Some("pollables") => (0..count).map(|_| subscribe_duration(HOUR_NANOS)).collect::<Vec<Pollable>>().len(),
        _ => (0..count).map(|_| Fields::new()).collect::<Vec<Fields>>().len(),
    };
    call.json(&format!("{{\"made\":{made}}}"));
}

/// Answers with `?count=` headers of `?bytes=` each, or says at which one it was refused.
pub fn header_bomb(call: Call) {
    let (count, bytes) = (call.number("count", 10_000), call.number("bytes", 1024));
    let value = vec![b'h'; usize::try_from(bytes).expect("fits memory")];
    let headers = Fields::new();
    for n in 0..count {
        if let Err(error) = headers.append(&format!("x-bomb-{n}"), &value) {
            return call.json(&format!("{{\"appended\":{n},\"error\":\"{error:?}\"}}"));
        }
    }
    Reply::start(call.out, 200, headers).finish(None);
}

/// `?mode=forever` sleeps for ever, `timers` waits on `?count=` timers at once, `spin` polls a due timer without end.
pub fn clock_abuse(call: Call) {
    match call.param("mode") {
        Some("timers") => {
            let timers: Vec<_> = (0..call.number("count", 10_000)).map(|_| subscribe_duration(HOUR_NANOS)).collect();
            poll(&timers.iter().collect::<Vec<_>>());
        }
        Some("spin") => loop {
            subscribe_duration(0).block();
        },
        _ => subscribe_duration(u64::MAX).block(),
    }
    call.text(200, "time passed\n");
}

/// Writes `?mib=` MiB of lines to stdout, or to stderr with `?to=stderr`.
pub fn log_flood(call: Call) {
    let line = [b'l'; 127];
    let lines = call.number("mib", 64) * MIB as u64 / (line.len() as u64 + 1);
    let mut log: Box<dyn Write> = match call.param("to") {
        Some("stderr") => Box::new(std::io::stderr()),
        _ => Box::new(std::io::stdout()),
    };
    let written = (0..lines).take_while(|_| log.write_all(&line).and_then(|()| log.write_all(b"\n")).is_ok()).count();
    call.json(&format!("{{\"lines\":{written}}}"));
}

/// Counts the primes below `?n=`, the slow way.
pub fn cpu(call: Call) {
    let n = call.number("n", 100_000);
    let is_prime = |number: &u64| (2..).take_while(|d| d * d <= *number).all(|d| !number.is_multiple_of(d));
    let primes = (2..n).filter(is_prime).count();
    call.json(&format!("{{\"primes\":{primes}}}"));
}
