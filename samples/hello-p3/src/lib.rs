//! The smallest function for `wasi:http` 0.3, whose handler is async by itself: one instance can serve many requests at once.

use http::{Request, Response};
use wasip3::http::types::{self, ErrorCode};
use wasip3::http_compat::{IncomingRequestBody, http_from_wasi_request, http_into_wasi_response};

struct Hello;

impl wasip3::exports::http::handler::Guest for Hello {
    async fn handle(request: types::Request) -> Result<types::Response, ErrorCode> {
        let response = serve(http_from_wasi_request(request)?).await?;
        http_into_wasi_response(response)
    }
}

wasip3::http::service::export!(Hello);

async fn serve(_request: Request<IncomingRequestBody>) -> Result<Response<String>, ErrorCode> {
    Ok(Response::new("hello from wasi:http 0.3\n".to_owned()))
}
