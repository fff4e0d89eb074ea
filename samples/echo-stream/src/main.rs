//! Sends the request's body back while it still comes in, trailers at the end: nothing is collected in memory.

use wstd::http::{Body, Error, Request, Response};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let (head, body) = request.into_parts();
    let mut response = Response::builder();
    // HTTP/1.1 sends trailers only after they have been announced.
    for name in ["content-type", "trailer"] {
        if let Some(value) = head.headers.get(name) {
            response = response.header(name, value);
        }
    }
    Ok(response.body(body)?)
}
