//! From zero to an answer, and back to zero.

use futures::future::join_all;

use crate::platform::{hello, platform};

#[tokio::test]
async fn the_first_request_starts_a_function_and_idleness_ends_its_last_pod() {
    let Some(platform) = platform().await else { return };
    let function = hello(&platform, "wakes").with("scaling.idle", "8s");
    function.deploy(&platform).await;
    function.until_replicas(&platform, 0).await;
    let answer = function.client(&platform).await.get("/").await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.body.trim()), (200, "hello"));
    assert!(answer.timing("start").is_some_and(|start| start > 0.0), "{:?}", answer.headers);
    function.until_replicas(&platform, 1).await;
    function.until_replicas(&platform, 0).await;
}

#[tokio::test]
async fn a_function_that_wants_pods_of_its_own_is_started_in_one() {
    let Some(platform) = platform().await else { return };
    let function = hello(&platform, "fresh").with("scaling", serde_json::json!({"idle": "3s", "start": "fresh"}));
    function.deploy(&platform).await;
    let answer = function.client(&platform).await.get("/").await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.body.trim()), (200, "hello"));
    function.until_replicas(&platform, 0).await;
}

#[tokio::test]
async fn two_hundred_requests_at_once_at_a_function_at_zero_are_all_answered() {
    let Some(platform) = platform().await else { return };
    let function = hello(&platform, "burst").with("scaling.idle", "3s");
    function.deploy(&platform).await;
    let client = function.client(&platform).await;
    let answers = join_all((0..200).map(|_| client.get("/"))).await;
    for answer in answers {
        assert_eq!(answer.unwrap().status, 200);
    }
}

#[tokio::test]
async fn nobody_else_is_reached_by_an_unknown_host() {
    let Some(platform) = platform().await else { return };
    let function = hello(&platform, "known");
    function.deploy(&platform).await;
    let unknown = crate::platform::Function { name: "unknown".to_owned(), ..function };
    let answer = unknown.client(&platform).await.get("/").await.unwrap();
    assert_eq!(answer.status, 404, "{}", answer.body);
}
