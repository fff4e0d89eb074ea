//! Where components come from.

use serde_json::json;
use sha2::{Digest, Sha256};
use wisp_cluster::Image;

use crate::fixture::{Function, guest, operator};

fn sha256(file: &str) -> String {
    let bytes = std::fs::read(guest(file)).unwrap();
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_private_image_is_pulled_with_the_secret_that_the_function_names() {
    let Some(operator) = operator().await else { return };
    let registry = operator.cluster().private_registry();
    let image = registry.push_component("secret:1", &guest("samples/prebuilt/hello.wasm")).await.unwrap();
    let without = Function::hello(operator, "keyless").with("component", json!({"image": image}));
    without.apply().await;
    without.until_reason("ImageUnauthorized").await;
    let function = without.renamed("keyed").with("pod", json!({"imagePullSecrets": [{"name": "key"}]}));
    function.apply().await;
    function.until_reason("SourceMissing").await;
    assert!(function.message().await.contains("pull secret \"key\""));
    operator.apply(&registry.pull_secret("key")).await;
    function.until_ready().await;
}

#[tokio::test]
async fn an_ordinary_image_has_its_component_as_a_file() {
    let Some(operator) = operator().await else { return };
    let image = Image::from_scratch()
        .file("/hello.wasm", guest("samples/prebuilt/hello.wasm"))
        .file("/LICENSE", guest("LICENSE"))
        .entrypoint(&["/hello.wasm"]);
    let image = operator.cluster().registry().push("ordinary:1", &image).await.unwrap();
    let function = Function::hello(operator, "ordinary").with("component", json!({"image": image}));
    function.apply().await;
    function.until_ready().await;
    let digest = operator.field("wr/ordinary-00001", "{.spec.digest}").await;
    assert_eq!(digest, format!("sha256:{}", sha256("samples/prebuilt/hello.wasm")));
}

#[tokio::test]
async fn an_image_must_have_the_sha256_that_is_given_with_it() {
    let Some(operator) = operator().await else { return };
    let image = format!("{}/hello:1", operator.registry());
    let wrong = sha256("samples/prebuilt/cpu.wasm");
    let function = Function::hello(operator, "meant").with("component", json!({"image": image, "sha256": wrong}));
    function.apply().await;
    function.until_reason("DigestMismatch").await;
    let message = function.message().await;
    let right = sha256("samples/prebuilt/hello.wasm");
    assert!(message.contains(&right) && message.contains(&wrong), "{message}");
    assert_eq!(operator.kubectl(&["get", "wr", "-l", "wisp.dev/function=meant", "-o", "name"]).await, "");
    function.with("component", json!({"image": image, "sha256": right})).apply().await;
    operator.until("wf/meant", "{.status.latestReadyRevision}", "meant-00001").await;
}

#[tokio::test]
async fn a_file_of_a_web_server_is_trusted_by_the_registries_authority() {
    let Some(operator) = operator().await else { return };
    // A registry is a web server too, with a certificate of the authority that the operator was given.
    let digest = sha256("samples/prebuilt/hello.wasm");
    let url = format!("https://{}/v2/hello/blobs/sha256:{digest}", operator.registry());
    let function = Function::hello(operator, "file").with("component", json!({"url": url, "sha256": digest}));
    function.apply().await;
    function.until_ready().await;
    assert_eq!(operator.field("wr/file-00001", "{.spec.image}").await, "");
    let other = sha256("samples/prebuilt/cpu.wasm");
    let wrong = function.renamed("otherfile").with("component", json!({"url": url, "sha256": other}));
    wrong.apply().await;
    wrong.until_reason("DigestMismatch").await;
}
