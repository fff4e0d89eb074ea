//! Compiled code for the nodes' agents: who gets it, and that it is what the revision was made from.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Certificate, Client, StatusCode};
use serde_json::json;

use crate::fixture::{Function, Operator, guest, operator};

const NAME: &str = "wisp-operator.wisp-system.svc";

struct Agent<'a> {
    operator: &'a Operator,
    client: Client,
}

impl<'a> Agent<'a> {
    /// Trusts whom the installation's ConfigMap names.
    async fn of(operator: &'a Operator) -> Self {
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let ca = operator
            .kubectl(&["-n", "wisp-system", "get", "configmap", "wisp-ca", "-o", "jsonpath={.data.ca\\.crt}"])
            .await;
        let client = Client::builder()
            .tls_certs_only([Certificate::from_pem(ca.as_bytes()).unwrap()])
            .resolve(NAME, operator.artifacts())
            .no_proxy()
            .build()
            .unwrap();
        Self { operator, client }
    }

    async fn token(&self, account: &str, audience: &str) -> String {
        let audience = format!("--audience={audience}");
        self.operator.kubectl(&["-n", "wisp-system", "create", "token", account, &audience]).await.trim().to_owned()
    }

    async fn get(&self, file: &str, token: Option<&str>) -> (StatusCode, usize) {
        let url = format!("https://{NAME}:{}/artifacts/{file}", self.operator.artifacts().port());
        let request = self.client.get(url);
        let request = token.map_or(request.try_clone().unwrap(), |token| request.bearer_auth(token));
        let response = request.send().await.unwrap();
        (response.status(), response.bytes().await.unwrap().len())
    }
}

#[tokio::test]
async fn compiled_code_is_for_the_agents_of_nodes_by_their_tokens() {
    let Some(operator) = operator().await else { return };
    let function = Function::hello(operator, "fetched");
    function.apply().await;
    function.until_ready().await;
    let file = operator.field("wr/fetched-00001", "{.status.artifacts[0].file}").await;
    let bytes: usize = operator.field("wr/fetched-00001", "{.status.artifacts[0].bytes}").await.parse().unwrap();
    let agent = Agent::of(operator).await;
    for account in ["wisp-node", "somebody"] {
        operator.kubectl(&["-n", "wisp-system", "create", "serviceaccount", account]).await;
    }
    let token = agent.token("wisp-node", "wisp.dev/artifacts").await;
    assert_eq!(agent.get(&file, Some(&token)).await, (StatusCode::OK, bytes));
    assert_eq!(agent.get("0000.wisp", Some(&token)).await.0, StatusCode::NOT_FOUND);
    assert_eq!(agent.get("seal.key", Some(&token)).await.0, StatusCode::NOT_FOUND);
    assert_eq!(agent.get(&file, None).await.0, StatusCode::UNAUTHORIZED);
    let stranger = agent.token("somebody", "wisp.dev/artifacts").await;
    assert_eq!(agent.get(&file, Some(&stranger)).await.0, StatusCode::FORBIDDEN);
    let misdirected = agent.token("wisp-node", "wisp.dev/control").await;
    assert_eq!(agent.get(&file, Some(&misdirected)).await.0, StatusCode::FORBIDDEN);

    // The tag moves, and a new operator has no compiled code: the revision is what it was.
    let registry = operator.cluster().registry();
    let image = registry.push_component("moving:1", &guest("samples/prebuilt/config.wasm")).await.unwrap();
    let function = Function::hello(operator, "moved").with("component", json!({"image": image}));
    function.apply().await;
    function.until("{.status.latestReadyRevision}", "moved-00001").await;
    let pinned = operator.field("wr/moved-00001", "{.spec.image}").await;
    assert!(pinned.starts_with(&format!("{}/moving@sha256:", operator.registry())), "{pinned}");
    let file = operator.field("wr/moved-00001", "{.status.artifacts[0].file}").await;
    registry.push_component("moving:1", &guest("samples/prebuilt/cpu.wasm")).await.unwrap();
    operator.remove_compiled(&file);
    let bytes: usize = operator.field("wr/moved-00001", "{.status.artifacts[0].bytes}").await.parse().unwrap();
    assert_eq!(agent.get(&file, Some(&token)).await, (StatusCode::OK, bytes));
    // A new revision takes what the tag is now.
    function.with("args", json!(["new"])).apply().await;
    operator.until("wf/moved", "{.status.latestReadyRevision}", "moved-00002").await;
    let (old, new) = (
        operator.field("wr/moved-00001", "{.spec.digest}").await,
        operator.field("wr/moved-00002", "{.spec.digest}").await,
    );
    assert_ne!(old, new);
}

#[tokio::test]
async fn a_certificate_that_somebody_brought_is_served_and_trusted_and_stays() {
    let Some(operator) = operator().await else { return };
    let of = |kind: &'static str, name: &'static str, path: &'static str| {
        ["-n", "wisp-system", "get", kind, name, "-o", path]
    };
    let decoded = async |path| STANDARD.decode(operator.kubectl(&of("secret", "wisp-tls", path)).await).unwrap();
    let served = decoded("jsonpath={.data.tls\\.crt}").await;
    let trusted = operator.kubectl(&of("configmap", "wisp-ca", "jsonpath={.data.ca\\.crt}")).await;
    assert_eq!(String::from_utf8(served).unwrap().trim(), trusted.trim());
    // Trusting that one alone, the agent gets an answer.
    assert_eq!(Agent::of(operator).await.get("0000.wisp", None).await.0, StatusCode::UNAUTHORIZED);
    let manager = "jsonpath={.metadata.managedFields[*].manager}";
    let managers = operator.kubectl(&of("secret", "wisp-tls", manager)).await;
    assert!(!managers.contains("wisp"), "{managers}");
}
