//! What the activator adds to a request: a bare server at 127.0.0.1:9001 (and a Unix socket), and an activator before it
//! at 127.0.0.1:9002 (by TCP, host `tcp.test`, or by the socket, host `unix.test`).
//!
//! ```text
//! cargo run --release -p wisp-activator --example bench &
//! wrk -t1 -c1 -d5 --latency http://127.0.0.1:9001/                       # the server alone
//! wrk -t1 -c1 -d5 --latency -H 'Host: unix.test' http://127.0.0.1:9002/  # through the activator
//! ```

#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;
use wisp_activator::{Activator, Config};
use wisp_api::key::FunctionKey;
use wisp_api::route::{FunctionRoute, HostClaim, RequestLimits, RouteTarget};
use wisp_api::wire::{DemandDown, Endpoint, EndpointsUpdate, RevisionEndpoints, demand_down};
use wisp_chassis::control;

const SERVER: &str = "127.0.0.1:9001";
const ACTIVATOR: &str = "127.0.0.1:9002";

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("bench.sock");
    let tcp = TcpListener::bind(SERVER).await?;
    let unix = UnixListener::bind(&socket)?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = tcp.accept().await {
            let _undelayed = stream.set_nodelay(true);
            tokio::spawn(serve(stream));
        }
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = unix.accept().await {
            tokio::spawn(serve(stream));
        }
    });

    let activator = Activator::build(Config::new(ACTIVATOR.parse()?, "bench"), &mut Registry::default())?;
    activator.index().apply(function("tcp"));
    activator.index().apply(function("unix"));
    let (link, mut peer) = control::pair();
    let revisions = vec![at("tcp", format!("tcp:{SERVER}")), at("unix", format!("unix:{}", socket.display()))];
    let update = EndpointsUpdate { sequence: 1, full: true, revisions };
    peer.down.send(DemandDown { message: Some(demand_down::Message::Endpoints(update)) }).await?;
    tokio::spawn(async move { while peer.up.recv().await.is_some() {} });
    activator.run(link, CancellationToken::new()).await;
    Ok(())
}

fn function(name: &str) -> FunctionRoute {
    let function = FunctionKey::new("default", name);
    let limits = RequestLimits {
        timeout: Duration::from_secs(30),
        request_body_bytes: 10 << 20,
        queue_requests: 1000,
        queue_bytes: 64 << 20,
    };
    FunctionRoute {
        targets: vec![RouteTarget { revision: function.revision(1), percent: 100, tag: None, limits }],
        claims: vec![HostClaim { host: format!("{name}.test"), path: "/".into(), tag: None }],
        created_unix_seconds: 0,
        function,
    }
}

fn at(name: &str, address: String) -> RevisionEndpoints {
    let endpoint = Endpoint { instance: "bench".into(), address, slots: 1000, start_micros: 0 };
    let revision = FunctionKey::new("default", name).revision(1).to_string();
    RevisionEndpoints { revision, endpoints: vec![endpoint] }
}

async fn serve<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: T) {
    let hello = |_: Request<Incoming>| async {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello from a bare server\n"))))
    };
    // A client that goes is no matter here.
    let _ended =
        auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service_fn(hello)).await;
}
