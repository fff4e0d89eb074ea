//! What users of kubectl see and do without any program of Wisp's.

use serde_json::json;

use crate::platform::{Platform, hello, platform};

/// The words of each line but the headings, which are checked.
fn rows<'a>(table: &'a str, headings: &str) -> Vec<Vec<&'a str>> {
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let first = lines.next().unwrap_or_default().join(" ");
    assert_eq!(first, headings);
    lines.collect()
}

async fn kubectl(platform: &Platform, line: &str) -> String {
    platform.kubectl(line.split(' ')).await.unwrap()
}

#[tokio::test]
async fn get_shows_where_a_function_is_and_how_it_is() {
    let Some(platform) = platform().await else { return };
    hello(&platform, "shown").deploy(&platform).await;
    let table = kubectl(&platform, "get wf shown").await;
    let row = rows(&table, "NAME URL READY REASON REPLICAS REVISION AGE").remove(0);
    assert_eq!(row[..4], ["shown", "http://shown.default.example.com", "True", "Ready"], "{table}");
    assert_eq!(row[5], "shown-00001", "{table}");
    let table = kubectl(&platform, "get wr shown-00001").await;
    assert_eq!(rows(&table, "NAME FUNCTION REPLICAS AGE")[0][..2], ["shown-00001", "shown"]);
    let table = kubectl(&platform, "get wp default").await;
    assert_eq!(rows(&table, "NAME SIZE READY")[0][0], "default");
    let all = kubectl(&platform, "get wisp -o name").await;
    for name in ["wasmfunction.wisp.dev/shown", "wasmrevision.wisp.dev/shown-00001", "warmpool.wisp.dev/default"] {
        assert!(all.lines().any(|line| line == name), "{name} in {all}");
    }
}

#[tokio::test]
async fn explain_says_what_each_field_is_for() {
    let Some(platform) = platform().await else { return };
    for path in ["spec", "spec.component.image", "spec.scaling.idle", "spec.limits.timeout", "status.conditions"] {
        let text = kubectl(&platform, &format!("explain wf.{path}")).await;
        let described =
            text.split_once("DESCRIPTION:").is_some_and(|(_, rest)| !rest.trim_start().starts_with("<empty>"));
        assert!(described, "{text}");
    }
    let text = kubectl(&platform, "explain wf.spec.component").await;
    assert!(!text.contains("<no description>"), "{text}");
}

#[tokio::test]
async fn wait_ends_when_a_function_is_ready() {
    let Some(platform) = platform().await else { return };
    hello(&platform, "awaited").apply(&platform).await;
    let said = kubectl(&platform, "wait --for=condition=Ready wf/awaited --timeout=120s").await;
    assert_eq!(said.trim(), "wasmfunction.wisp.dev/awaited condition met");
}

#[tokio::test]
async fn scale_sets_the_number_of_a_revision_that_is_left_to_others() {
    let Some(platform) = platform().await else { return };
    let function = hello(&platform, "scaled").with("scaling", json!({"class": "external"}));
    function.deploy(&platform).await;
    for count in [2, 0] {
        kubectl(&platform, &format!("scale wr/scaled-00001 --replicas={count}")).await;
        function.until_replicas(&platform, count).await;
    }
}
