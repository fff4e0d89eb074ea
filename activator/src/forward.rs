//! One attempt: a request to one instance, over a connection that is there or a new one.

use std::time::Duration;

use http::request::Parts;
use http::{Request, Response, Version};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::endpoint::Lane;
use crate::http1::Http1;
use crate::http2;
use crate::revision::Permit;
use crate::upload::Upload;
use crate::workers::WorkerId;

/// What is lost sooner than this has crossed with the end of its connection: an instance that dies of a request has begun it.
const CROSSED_WITHIN: Duration = Duration::from_millis(50);

/// The head of an answer, and the connection that its body comes by, when it is its alone.
pub(crate) type Answered = (Response<Incoming>, Option<Box<Http1>>);

/// Why an attempt brought no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Not a byte of the request was sent: any instance may have it.
    #[error("the instance cannot be reached: {0}")]
    Unsent(String),
    /// The instance said that it did not look at it.
    #[error("the instance did not take the request")]
    Unprocessed,
    /// A connection that had been idle was closed just when it was used. It asks for nothing to be changed, so that it may be
    /// sent once more, even if it was worked on.
    #[error("the instance closed the connection: {0}")]
    Crossed(hyper::Error),
    /// It may have been worked on.
    #[error("the instance ended before it answered: {0}")]
    Broken(hyper::Error),
}

/// Sends a request. HTTP/2 stays HTTP/2, for the sake of trailers; all else is HTTP/1.1.
pub(crate) async fn send(worker: WorkerId, permit: &Permit, head: &Parts, body: &Upload) -> Result<Answered, Failure> {
    let (endpoint, lane) = (permit.endpoint(), permit.endpoint().lane(worker));
    if head.version == Version::HTTP_2 {
        return send_http2(lane, permit, request(head, body, Version::HTTP_2)).await;
    }
    while let Some(connection) = lane.http1.take() {
        let sent = Instant::now();
        match exchange(connection, permit, request(head, body, Version::HTTP_11)).await {
            // It was closed between the look at it and its use.
            Err(Failure::Unsent(_)) => {}
            Err(Failure::Broken(error))
                if head.method.is_safe() && is_end(&error) && sent.elapsed() < CROSSED_WITHIN =>
            {
                return Err(Failure::Crossed(error));
            }
            result => return result,
        }
    }
    let unsent = |error: &dyn std::error::Error| Failure::Unsent(error.to_string());
    let socket = endpoint.address.connect().await.map_err(|error| unsent(&error))?;
    let connection = Http1::new(socket).await.map_err(|error| unsent(&error))?;
    exchange(connection, permit, request(head, body, Version::HTTP_11)).await
}

/// Whether a request that broke says that the instance may be dying. One stream's end does not, nor an answer that cannot
/// be read.
fn is_end(error: &hyper::Error) -> bool {
    !error.is_parse() && !error.is_user() && !http2::is_reset(error)
}

async fn exchange(mut connection: Box<Http1>, permit: &Permit, request: Request<Upload>) -> Result<Answered, Failure> {
    match connection.exchange(request, permit).await {
        Ok(response) => Ok((response, Some(connection))),
        Err(error) if error.message().is_some() => Err(Failure::Unsent(error.into_error().to_string())),
        Err(error) => Err(broken(permit, error.into_error())),
    }
}

fn broken(permit: &Permit, error: hyper::Error) -> Failure {
    if is_end(&error) {
        permit.broke();
    }
    Failure::Broken(error)
}

async fn send_http2(lane: &Lane, permit: &Permit, request: Request<Upload>) -> Result<Answered, Failure> {
    let sender = lane.http2.get(&permit.endpoint().address).await;
    let sender = sender.map_err(|error| Failure::Unsent(error.to_string()))?;
    // An instance that closes this connection names the streams that it did not begin: nothing is lost from here on.
    permit.sent();
    match http2::exchange(sender, request).await {
        Ok(response) => Ok((response, None)),
        // The connection ended just now; the instance may be well, so that this is not held against it.
        Err(error) if error.message().is_some() => Err(Failure::Unprocessed),
        Err(error) => {
            let error = error.into_error();
            Err(if http2::is_unprocessed(&error) { Failure::Unprocessed } else { broken(permit, error) })
        }
    }
}

/// The request is kept, in case that another instance must have it.
fn request(head: &Parts, body: &Upload, version: Version) -> Request<Upload> {
    let mut request = Request::new(body.clone());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = head.uri.clone();
    *request.version_mut() = version;
    *request.headers_mut() = head.headers.clone();
    request
}
