//! The same functions and the same requests, with `wisp up` and on the cluster: the answers are the same.

mod cases;
mod mode;
mod up;

use anyhow::Result;
use wisp_cluster::until;
use wisp_platform::{DOMAIN, PATIENCE, SYSTEM, function};

use self::cases::{cases, functions, sources, strict};
use self::mode::Mode;
use self::up::Up;
use crate::platform::{Platform, platform, wisp};

/// Deploys all functions and returns where they are asked.
async fn deploy_on(platform: &Platform) -> Result<String> {
    for object in sources() {
        platform.apply(&object.to_string()).await?;
    }
    for mut wanted in functions() {
        wanted.spec["component"] = function(platform, &wanted.name, "guests").spec["component"].clone();
        wanted.deploy(platform).await;
    }
    let address = ["-n", SYSTEM, "get", "service/wisp-activator", "-o", "jsonpath={.spec.clusterIP}"];
    Ok(format!("{}:80", platform.kubectl(address).await?))
}

#[tokio::test]
async fn answers_are_the_same_with_wisp_up_and_on_a_cluster() {
    let Some(program) = wisp() else { return };
    let up = Up::start(&program).await.unwrap();
    let mode = Mode::new("wisp up", up.requests.to_string(), "localhost");
    let first = &cases()[0];
    until("wisp up answers", PATIENCE, async || Ok(mode.check(first).await.ok())).await.unwrap();
    let mut differences = mode.differences().await;
    drop(up);
    if let Some(platform) = platform().await {
        let address = deploy_on(&platform).await.unwrap();
        let mode = Mode::new("cluster", address, DOMAIN);
        until("the cluster answers", PATIENCE, async || Ok(mode.check(first).await.ok())).await.unwrap();
        until("what has little time runs", PATIENCE, async || Ok(mode.check(&strict()).await.ok())).await.unwrap();
        differences.extend(mode.differences().await);
    }
    assert!(differences.is_empty(), "\n{}\n", differences.join("\n"));
}
