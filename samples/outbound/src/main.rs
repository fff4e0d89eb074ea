//! Fetches `?url=` and hands the answer on. Which URLs it may reach is not in this code but in function.yaml.

use wstd::http::{Body, Client, Error, Request, Response, StatusCode};

const DEFAULT_URL: &str = "https://example.com/";

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let query = request.uri().query().unwrap_or_default();
    let url = query.split('&').find_map(|pair| pair.strip_prefix("url=")).unwrap_or(DEFAULT_URL);
    let Ok(fetch) = Request::get(url).body(Body::empty()) else {
        return answer(StatusCode::BAD_REQUEST, format!("{url} is not a URL\n").into());
    };
    match Client::new().send(fetch).await {
        Ok(fetched) => answer(fetched.status(), fetched.into_body()),
        Err(error) => answer(StatusCode::BAD_GATEWAY, format!("cannot fetch {url}: {error}\n").into()),
    }
}

fn answer(status: StatusCode, body: Body) -> Result<Response<Body>, Error> {
    Ok(Response::builder().status(status).body(body)?)
}
