//! What functions at rest cost. Alone in its process, because it looks at the memory of all of it.

#![forbid(unsafe_code)]

use std::time::Duration;

use prometheus_client::registry::Registry;
use wisp_activator::{Activator, Config};
use wisp_api::key::FunctionKey;
use wisp_api::route::{FunctionRoute, HostClaim, RequestLimits, RouteTarget};

const FUNCTIONS: u64 = 10_000;
/// For each function: what the design allows.
const BYTES_MAX: u64 = 2048;

fn route(number: u64) -> FunctionRoute {
    let function = FunctionKey::new("default", format!("function-{number}"));
    let host = |suffix: &str| format!("{}.default.{suffix}", function.name);
    let claim = |host| HostClaim { host, path: "/".into(), tag: None };
    let limits = RequestLimits {
        timeout: Duration::from_secs(30),
        request_body_bytes: 10 << 20,
        queue_requests: 1000,
        queue_bytes: 64 << 20,
    };
    FunctionRoute {
        created_unix_seconds: number,
        claims: vec![claim(host("localhost")), claim(host("svc.cluster.local"))],
        targets: vec![RouteTarget { revision: function.revision(1), percent: 100, tag: None, limits }],
        function,
    }
}

fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("this is Linux");
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("the second number") * 4096
}

#[tokio::test]
async fn a_function_at_rest_is_small() {
    let config = Config::new("127.0.0.1:0".parse().unwrap(), "activator-1");
    let activator = Activator::build(config, &mut Registry::default()).unwrap();
    let index = activator.index();
    let before = resident_bytes();
    for number in 0..FUNCTIONS {
        index.apply(route(number));
    }
    let each = (resident_bytes() - before) / FUNCTIONS;
    println!("{each} bytes for each of {FUNCTIONS} functions");
    assert!(each <= BYTES_MAX, "{each} bytes");
}
