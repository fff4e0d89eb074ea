//! Which function and which revision a request reaches.

use serde_json::json;

use crate::harness::{Answer, Connection, Wisp, function, get, host, sample};

impl Wisp {
    async fn get_at(&self, host: &str, path: &str) -> Answer {
        Connection::to(self.requests).await.send(get(host, path)).await.unwrap()
    }
}

/// The revision's number, which each was given as an argument.
fn number(answer: &Answer) -> String {
    answer.json()["args"].as_array().and_then(|args| Some(args.last()?.as_str()?.to_owned())).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_is_split_by_percent_and_a_tag_has_a_host_of_its_own() {
    let page = |number: &str| function("page").with("args", json!([number]));
    let wisp = Wisp::up(&[page("first")]).await;
    wisp.place.write(&page("second"));
    wisp.until("page", "there are two revisions", |f| f["latestRevision"] == "page-00002").await;
    let split = json!([
        {"revision": "page-00001", "percent": 50},
        {"latest": true, "percent": 50, "tag": "canary"},
    ]);
    wisp.place.write(&page("second").with("traffic", split));
    wisp.until("page", "the traffic is split", |f| f["traffic"].as_array().map(Vec::len) == Some(2)).await;
    let mut first = 0;
    for _ in 0..60 {
        first += usize::from(number(&wisp.get("page", "/env-attack").await) == "first");
        assert_eq!(number(&wisp.get_at(&host("canary-page"), "/env-attack").await), "second");
    }
    // All of one kind would come up once in 2^59 runs.
    assert!((1..60).contains(&first), "{first} of 60 reached the first revision");

    let back = json!([{"revision": "page-00001", "percent": 100}]);
    wisp.place.write(&page("second").with("traffic", back));
    wisp.until("page", "the traffic is rolled back", |f| f["traffic"][0]["percent"] == 100).await;
    for _ in 0..10 {
        assert_eq!(number(&wisp.get("page", "/env-attack").await), "first");
    }
    let unknown = json!([{"revision": "page-00009", "percent": 100}]);
    wisp.place.write(&page("second").with("traffic", unknown));
    let refused = wisp.until("page", "an unknown revision is refused", |f| f["ready"] == "False").await;
    assert!(refused["message"].as_str().unwrap().contains("page-00009"), "{refused}");
    assert_eq!(number(&wisp.get("page", "/env-attack").await), "first");
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_and_path_prefixes_lead_to_their_function_and_the_older_claim_wins() {
    let site = |name: &str, path: &str| {
        let hosts = json!(["shop.example", "*.wild.example"]);
        function(name).with("args", json!([name])).with("ingress.hosts", hosts).with("ingress.path", path)
    };
    let wisp = Wisp::up(&[site("site", "/"), site("api", "/headers")]).await;
    assert_eq!(number(&wisp.get_at("shop.example", "/env-attack").await), "site");
    assert_eq!(number(&wisp.get_at("SHOP.example:8080", "/env-attack").await), "site");
    assert_eq!(number(&wisp.get_at("any.wild.example", "/env-attack").await), "site");
    assert_eq!(wisp.get_at("wild.example", "/env-attack").await.error(), "unknown-host");
    let seen = wisp.get_at("shop.example", "/headers?a=b").await.json();
    assert_eq!(seen["request"]["authority"], "shop.example", "{seen}");
    wisp.until("api", "the longer prefix was taken", |f| f["requestsTotal"] == 1).await;

    wisp.place.write(&site("usurper", "/").component(sample("hello.wasm")));
    let usurper = wisp.until("usurper", "it is deployed", |f| f["ready"] != "Unknown" && !f.is_null()).await;
    assert_eq!((&usurper["ready"], &usurper["reason"]), (&"False".into(), &"HostConflict".into()), "{usurper}");
    assert_eq!(number(&wisp.get_at("shop.example", "/env-attack").await), "site");
    assert_eq!(wisp.get("usurper", "/").await.status, 200, "it answers at its own host");

    wisp.place.remove("site");
    wisp.until("site", "the older one is gone", serde_json::Value::is_null).await;
    wisp.until("usurper", "the conflict is gone", |f| f["ready"] == "True").await;
    assert_ne!(wisp.get_at("shop.example", "/").await.error(), "unknown-host");
}
