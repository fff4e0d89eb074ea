//! Asking until a controller leads to a function: it learns of an Ingress a little later than the operator has made it.

use http::{Request, StatusCode};
use serde_json::json;
use wisp_cluster::until;
use wisp_platform::{Answer, Client, Function, PATIENCE, Platform, look};

use crate::certificate::Certificate;
use crate::controllers::Controller;
use crate::exchange::{self, no_body};

/// Of no namespace's domain: nothing but a function's own Ingress or route leads there.
pub(crate) fn host(name: &str) -> String {
    format!("{name}.example.org")
}

pub(crate) fn behind(controller: &Controller, function: Function) -> Function {
    let hosts = json!([host(&function.name)]);
    function.with("ingress", json!({"className": controller.class, "hosts": hosts}))
}

pub(crate) fn get(name: &str, path: &str) -> Request<exchange::Body> {
    Request::get(format!("https://{}{path}", host(name))).body(no_body()).unwrap()
}

/// The function's first answer: a controller learns of an Ingress a little later than the operator has made it.
pub(crate) async fn reached(platform: &Platform, client: &Client, path: &str) -> Answer {
    let mut last = None;
    let answered = until("the function answers", PATIENCE, async || {
        let answer = client.get(path).await;
        let is_good = answer.as_ref().is_ok_and(|answer| answer.status == StatusCode::OK);
        last = Some(answer);
        Ok(is_good.then_some(()))
    });
    match (answered.await, last) {
        (Ok(()), Some(Ok(answer))) => answer,
        (_, last) => panic!("the function does not answer at {path}, but {last:?}\n{}", look(platform).await),
    }
}

/// The same by HTTP/2 and TLS.
pub(crate) async fn secured(
    platform: &Platform,
    controller: &Controller,
    certificate: &Certificate,
    request: impl Fn() -> Request<exchange::Body>,
) -> exchange::Answer {
    let mut last = None;
    let answered = until("the function answers", PATIENCE, async || {
        let answer = exchange::secure(&controller.address, certificate, request()).await;
        let is_good = answer.as_ref().is_ok_and(|answer| answer.status() == StatusCode::OK);
        last = Some(answer);
        Ok(is_good.then_some(()))
    });
    match (answered.await, last) {
        (Ok(()), Some(Ok(answer))) => answer,
        (_, last) => panic!("{} does not lead to it by TLS, but: {last:?}\n{}", controller.class, look(platform).await),
    }
}
