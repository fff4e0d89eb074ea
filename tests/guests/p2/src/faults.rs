//! Guests that fail.

use std::hint::black_box;

use wasip2::http::types::Fields;

use crate::reply::Reply;
use crate::request::Call;

pub fn trap() {
    unreachable!("this guest traps");
}

/// Sends headers and one line, then traps: the client must see a cut body.
pub fn trap_after_headers(call: Call) {
    begin(call);
    trap();
}

pub fn spin() {
    let mut round: u64 = 0;
    loop {
        round = black_box(round.wrapping_add(1));
    }
}

pub fn spin_after_headers(call: Call) {
    begin(call);
    spin();
}

/// Recurses until the stack is full, which is a trap.
pub fn overflow_stack(call: Call) {
    let depth = descend(black_box(1));
    call.text(200, &format!("{depth}\n"));
}

/// Leaves by `wasi:cli/exit` with `?code=`, before any answer.
pub fn exit(call: &Call) {
    std::process::exit(i32::try_from(call.number("code", 0)).expect("an exit code"));
}

/// Returns without ever setting a response.
pub fn no_response(call: Call) {
    drop(call);
}

fn begin(call: Call) {
    let reply = Reply::start(call.out, 200, Fields::new());
    let _client_gone = reply.write(b"the last words\n").and_then(|()| reply.flush());
    // Neither finished nor dropped: the guest is about to die with its body open.
    std::mem::forget(reply);
}

fn descend(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    if depth == u64::MAX { frame[0] } else { descend(depth + 1) + black_box(frame)[63] }
}
