//! Guests that reach for the environment and the network. Each answers with what it got.

use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};

use crate::json;
use crate::request::Call;

/// What was tried: all that was `reached` is a hole, and `refused` says how each of the others failed.
#[derive(Default)]
pub struct Findings {
    reached: Vec<String>,
    refused: Vec<String>,
}

impl Findings {
    pub fn note<T, E: std::fmt::Display>(&mut self, attempt: &str, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => {
                self.reached.push(attempt.to_owned());
                Some(value)
            }
            Err(error) => {
                self.refused.push(format!("{attempt}: {error}"));
                None
            }
        }
    }

    pub fn json(&self) -> String {
        format!("\"reached\":{},\"refused\":{}", json::array(&self.reached), json::array(&self.refused))
    }
}

/// All that the guest can see of its environment.
pub fn environment(call: Call) {
    let env: Vec<(String, String)> = std::env::vars().collect();
    let args: Vec<String> = std::env::args().collect();
    let stdin = std::io::read_to_string(std::io::stdin()).map_or(0, |text| text.len());
    let env = json::object(env.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    call.json(&format!("{{\"env\":{env},\"args\":{},\"stdin_bytes\":{stdin}}}", json::array(&args)));
}

/// Connects to each `?tcp=` and `?udp=` (addresses), listens on each `?listen=`, looks up each `?name=`.
pub fn sockets(call: Call) {
    let mut findings = Findings::default();
    for address in or_default(call.params("tcp"), "127.0.0.1:80") {
        findings.note(&format!("tcp {address}"), TcpStream::connect(&address));
    }
    for address in or_default(call.params("udp"), "127.0.0.1:53") {
        let sent = UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.send_to(b"guest", &address));
        findings.note(&format!("udp {address}"), sent);
    }
    for address in or_default(call.params("listen"), "127.0.0.1:0") {
        findings.note(&format!("listen {address}"), TcpListener::bind(&address));
    }
    for name in or_default(call.params("name"), "localhost") {
        findings.note(&format!("lookup {name}"), (name.as_str(), 80).to_socket_addrs());
    }
    call.json(&format!("{{{}}}", findings.json()));
}

fn or_default(values: Vec<String>, default: &str) -> Vec<String> {
    if values.is_empty() { vec![default.to_owned()] } else { values }
}
