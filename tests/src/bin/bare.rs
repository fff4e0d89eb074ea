//! An HTTP server that does nothing: answers every request with the same bytes. `make bench` measures hosts beside it.

#![forbid(unsafe_code)]

use std::convert::Infallible;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening tcp:{}", listener.local_addr()?);
    loop {
        let (connection, _) = listener.accept().await?;
        connection.set_nodelay(true)?;
        tokio::spawn(async move {
            let service =
                service_fn(|_| async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello\n")))) });
            // A client that goes away is no event here.
            let _ended = http1::Builder::new().serve_connection(TokioIo::new(connection), service).await;
        });
    }
}
