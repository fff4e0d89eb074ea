//! What is more than a plain request: TLS, upgrades, HTTP/2 with trailers.

use futures::future::join_all;
use http::{Request, StatusCode};
use serde_json::json;
use wisp_platform::{Platform, function, hello};

use crate::certificate::Certificate;
use crate::controllers::{Controller, GATEWAY, controllers};
use crate::exchange::{self, message, no_body};
use crate::reached::{behind, get, host, reached, secured};

#[tokio::test]
async fn an_ingress_shows_the_certificate_of_the_functions_secret() {
    let Some(controllers) = controllers().await else { return };
    let platform = &controllers.platform;
    join_all(controllers.each().map(async |controller| {
        let name = format!("safe-{}", controller.class);
        let certificate = Certificate::of(&host(&name));
        platform.apply(&certificate.secret("default", &name).to_string()).await.unwrap();
        let function = behind(controller, function(platform, &name, "guests")).with("ingress.tlsSecret", name.as_str());
        function.deploy(platform).await;
        let answer = secured(platform, controller, &certificate, || get(&name, "/headers")).await;
        let seen = String::from_utf8(answer.into_body().to_bytes().to_vec()).unwrap();
        // So that a function can make links to itself. Skipper does not know by which protocol it was asked.
        let protocol = if controller.class == "skipper" { "http" } else { "https" };
        assert!(seen.contains(&format!(r#""x-forwarded-proto":"{protocol}""#)), "{name}: {seen}");
    }))
    .await;
}

#[tokio::test]
async fn an_upgrade_is_refused_in_words() {
    let Some(controllers) = controllers().await else { return };
    let platform = &controllers.platform;
    join_all(controllers.each().map(async |controller| {
        let name = format!("chat-{}", controller.class);
        behind(controller, hello(platform, &name)).deploy(platform).await;
        reached(platform, &controller.client(&host(&name)), "/").await;
        let request = Request::get("/")
            .header("host", host(&name))
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let answer = exchange::plain(&controller.address, request.body(no_body()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_IMPLEMENTED, "{name}: {answer:?}");
        assert_eq!(answer.headers()["x-wisp-error"], "no-upgrade", "{name}");
        let body = answer.into_body().to_bytes();
        assert!(String::from_utf8_lossy(&body).contains("websocket"), "{name}: {body:?}");
    }))
    .await;
}

/// What gRPC is made of: HTTP/2 all the way, and trailers of the answer.
#[tokio::test]
async fn http2_and_trailers_pass_an_ingress_and_a_gateway() {
    let Some(controllers) = controllers().await else { return };
    let (platform, traefik) = (&controllers.platform, &controllers.traefik);
    let ingress = json!({"gateway": GATEWAY, "hosts": [host("calls-gate")], "protocol": "h2c"});
    function(platform, "calls-gate", "guests").with("ingress", ingress).deploy(platform).await;
    calls(platform, traefik, "calls-gate", &controllers.certificate).await;

    let certificate = Certificate::of(&host("calls-door"));
    platform.apply(&certificate.secret("default", "calls-door").to_string()).await.unwrap();
    let function = behind(traefik, function(platform, "calls-door", "guests"));
    function.with("ingress.tlsSecret", "calls-door").with("ingress.protocol", "h2c").deploy(platform).await;
    // Traefik heeds appProtocol for routes only; the operator leaves alone what others annotate.
    let annotation = "traefik.ingress.kubernetes.io/service.serversscheme=h2c";
    platform.kubectl(["annotate", "service/calls-door", annotation]).await.unwrap();
    calls(platform, traefik, "calls-door", &certificate).await;
}

async fn calls(platform: &Platform, controller: &Controller, name: &str, certificate: &Certificate) {
    let request = || {
        let request = Request::post(format!("https://{}/trailers", host(name)));
        let request = request.header("content-type", "application/grpc").header("te", "trailers");
        request.body(message(b"\0\0\0\0\0")).unwrap()
    };
    let answer = secured(platform, controller, certificate, request).await;
    let trailers = answer.body().trailers().expect("the answer's trailers were lost on the way");
    assert_eq!(trailers["x-status"], "ok");
}
