//! Changes under load: no request that was accepted is lost.

use std::time::Duration;

use serde_json::json;
use wisp_platform::Load;

use crate::platform::{ACTIVATORS, SYSTEM, hello, platform};

#[tokio::test]
async fn no_request_is_lost_while_a_function_changes_and_activators_are_rolled() {
    let Some(platform) = platform().await else { return };
    let function = hello(&platform, "changing");
    function.deploy(&platform).await;
    let client = function.client(&platform).await;
    client.get("/").await.unwrap();
    let load = Load::start(&client, "/", Duration::from_millis(10));
    for version in 0..3 {
        function.clone().with("args", json!([format!("version-{version}")])).deploy(&platform).await;
    }
    let _turn = ACTIVATORS.lock().await;
    platform.kubectl(["-n", SYSTEM, "rollout", "restart", "deployment/wisp-activator"]).await.unwrap();
    platform.kubectl(["-n", SYSTEM, "rollout", "status", "deployment/wisp-activator", "--timeout=120s"]).await.unwrap();
    load.end_without_loss().await;
}
