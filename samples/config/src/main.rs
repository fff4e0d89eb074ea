//! Shows the four ways in which settings reach a function: environment variables, secrets among them,
//! `wasi:config/store`, and files of a mounted folder.

use std::env;
use std::fs;

use bindings::wasi::config::store;
use wstd::http::{Body, Error, Request, Response};

mod bindings {
    wit_bindgen::generate!({ world: "config", generate_all });
}

#[wstd::http_server]
async fn main(_request: Request<Body>) -> Result<Response<Body>, Error> {
    let greeting = env::var("GREETING").unwrap_or_else(|_| "not set".to_owned());
    // A secret's length proves that it arrived; its value belongs in no answer and no log.
    let secret = env::var("API_KEY").map_or_else(|_| "not set".to_owned(), |key| format!("{} characters", key.len()));
    let feature = match store::get("feature") {
        Ok(value) => value.unwrap_or_else(|| "not set".to_owned()),
        Err(error) => format!("unreadable: {error:?}"),
    };
    let motd = fs::read_to_string("/etc/motd.d/motd.txt").unwrap_or_else(|error| format!("unreadable: {error}"));
    let lines = [
        format!("GREETING from the environment: {greeting}"),
        format!("API_KEY from a secret: {secret}"),
        format!("feature from wasi:config/store: {feature}"),
        format!("/etc/motd.d/motd.txt from a mounted folder: {}", motd.trim_end()),
    ];
    Ok(Response::new((lines.join("\n") + "\n").into()))
}
