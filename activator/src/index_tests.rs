use wisp_api::route::{HostClaim, RouteTarget};

use super::*;

const LIMITS: RequestLimits = RequestLimits {
    timeout: Duration::from_secs(30),
    request_body_bytes: 1000,
    queue_requests: 10,
    queue_bytes: 100_000,
};

/// A function in `namespace/name` of this age, with one revision.
fn function(key: &str, created_unix_seconds: u64) -> FunctionRoute {
    let function: FunctionKey = key.parse().unwrap();
    let targets = vec![target(&function, 1, 100)];
    FunctionRoute { function, created_unix_seconds, claims: Vec::new(), targets }
}

fn target(function: &FunctionKey, generation: u32, percent: u8) -> RouteTarget {
    RouteTarget { revision: function.revision(generation), percent, tag: None, limits: LIMITS }
}

fn claiming(mut route: FunctionRoute, claims: &[(&str, &str)]) -> FunctionRoute {
    let claim = |(host, path): &(&str, &str)| HostClaim { host: (*host).into(), path: (*path).into(), tag: None };
    route.claims = claims.iter().map(claim).collect();
    route
}

fn index(routes: impl IntoIterator<Item = FunctionRoute>) -> Index {
    let index = Index::new(mpsc::unbounded_channel().0, 1);
    routes.into_iter().for_each(|route| index.apply(route));
    index
}

fn found(index: &Index, host: &str, path: &str) -> Option<String> {
    index.find(host, path, 0).map(|hit| hit.revision.name.to_string())
}

#[test]
fn the_longest_prefix_of_whole_segments_wins() {
    let index = index([
        claiming(function("n/root", 1), &[("a.example", "/")]),
        claiming(function("n/api", 2), &[("a.example", "/api")]),
        claiming(function("n/users", 3), &[("a.example", "/api/users/")]),
    ]);
    for (path, name) in [
        ("/", "n/root-00001"),
        ("/apis", "n/root-00001"),
        ("/api", "n/api-00001"),
        ("/api/", "n/api-00001"),
        ("/api/usersx", "n/api-00001"),
        ("/api/users", "n/users-00001"),
        ("/api/users/7", "n/users-00001"),
    ] {
        assert_eq!(found(&index, "a.example", path).as_deref(), Some(name), "{path}");
    }
}

#[test]
fn a_wildcard_takes_one_label_and_gives_way_to_the_exact_host() {
    let index = index([
        claiming(function("n/any", 1), &[("*.example.com", "/")]),
        claiming(function("n/shop", 2), &[("shop.example.com", "/cart")]),
    ]);
    assert_eq!(found(&index, "blog.example.com", "/").as_deref(), Some("n/any-00001"));
    assert_eq!(found(&index, "shop.example.com", "/cart/1").as_deref(), Some("n/shop-00001"));
    assert_eq!(found(&index, "shop.example.com", "/").as_deref(), Some("n/any-00001"));
    assert_eq!(found(&index, "a.b.example.com", "/"), None);
    assert_eq!(found(&index, "example.com", "/"), None);
}

#[test]
fn the_oldest_claim_wins_and_the_other_is_told() {
    let young = claiming(function("n/young", 20), &[("a.example", "/")]);
    let old = claiming(function("n/old", 10), &[("a.example", "/")]);
    for order in [[young.clone(), old.clone()], [old.clone(), young.clone()]] {
        let index = index(order);
        assert_eq!(found(&index, "a.example", "/").as_deref(), Some("n/old-00001"));
        let conflict = Conflict {
            host: "a.example".into(),
            path: "/".into(),
            function: young.function.clone(),
            owner: old.function.clone(),
        };
        assert_eq!(index.conflicts(), [conflict]);
        index.delete(&old.function);
        assert_eq!(found(&index, "a.example", "/").as_deref(), Some("n/young-00001"));
        assert_eq!(index.conflicts(), []);
    }
}

#[test]
fn nobody_takes_a_path_under_the_host_of_another_namespace() {
    let index = index([
        claiming(function("mine/site", 1), &[("a.example", "/")]),
        claiming(function("theirs/trap", 2), &[("a.example", "/login")]),
    ]);
    assert_eq!(found(&index, "a.example", "/login").as_deref(), Some("mine/site-00001"));
    assert_eq!(index.conflicts()[0].owner.to_string(), "mine/site");
}

#[test]
fn traffic_is_split_by_percent_and_a_tag_leads_to_its_own() {
    let mut route = claiming(function("n/f", 1), &[("f.example", "/")]);
    route.targets = vec![target(&route.function, 1, 90), target(&route.function, 2, 10)];
    route.targets[1].tag = Some("canary".into());
    route.claims.push(HostClaim { host: "canary-f.example".into(), path: "/".into(), tag: Some("canary".into()) });
    route.claims.push(HostClaim { host: "gone-f.example".into(), path: "/".into(), tag: Some("gone".into()) });
    let index = index([route]);
    let second = (0..1000).filter(|random| {
        let hit = index.find("f.example", "/", *random).unwrap();
        &*hit.revision.name == "n/f-00002"
    });
    assert_eq!(second.count(), 100);
    for random in 0..100 {
        let hit = index.find("canary-f.example", "/", random).unwrap();
        assert_eq!(&*hit.revision.name, "n/f-00002");
    }
    assert!(index.find("gone-f.example", "/", 0).is_none());
}

#[test]
fn an_update_moves_hosts_and_keeps_the_state_of_revisions() {
    let index = index([claiming(function("n/f", 1), &[("Old.example", "/"), ("both.example", "/")])]);
    let before = index.find("both.example", "/", 0).unwrap().revision;
    index.apply(claiming(function("n/f", 1), &[("both.example", "/"), ("new.example", "/")]));
    assert!(found(&index, "old.example", "/").is_none());
    assert!(found(&index, "new.example", "/").is_some());
    assert!(Arc::ptr_eq(&before, &index.find("both.example", "/", 0).unwrap().revision));
}

#[test]
fn reset_leaves_exactly_what_it_is_given() {
    let index = index([claiming(function("n/a", 1), &[("a", "/")]), claiming(function("n/b", 1), &[("b", "/")])]);
    index.reset(vec![claiming(function("n/b", 1), &[("b", "/")]), claiming(function("n/c", 1), &[("c", "/")])]);
    let snapshot = index.snapshot();
    let names: Vec<_> = snapshot.functions.iter().map(|function| function.function.to_string()).collect();
    assert_eq!(names, ["n/b", "n/c"]);
    assert_eq!(snapshot.revisions.len(), 2);
    assert!(found(&index, "a", "/").is_none());
}

#[test]
fn nothing_is_left_of_a_function_that_was_deleted() {
    let index = index([claiming(function("n/a", 1), &[("a", "/")])]);
    let endpoints =
        vec![wire::Endpoint { instance: "i".into(), address: "tcp:127.0.0.1:1".into(), slots: 1, start_micros: 0 }];
    let named = wire::RevisionEndpoints { revision: "n/a-00001".into(), endpoints };
    index.endpoints(&wire::EndpointsUpdate { sequence: 1, full: true, revisions: vec![named] });
    index.delete(&FunctionKey::new("n", "a"));
    assert_eq!(index.revisions().len(), 1);
    index.endpoints(&wire::EndpointsUpdate { sequence: 2, full: true, revisions: Vec::new() });
    assert_eq!(index.revisions().len(), 0);
}

#[test]
fn endpoints_may_come_before_the_route() {
    let index = index([]);
    let endpoints =
        vec![wire::Endpoint { instance: "i".into(), address: "unix:/run/i".into(), slots: 4, start_micros: 0 }];
    let named = wire::RevisionEndpoints { revision: "n/a-00001".into(), endpoints };
    index.endpoints(&wire::EndpointsUpdate { sequence: 1, full: false, revisions: vec![named] });
    index.apply(claiming(function("n/a", 1), &[("a", "/")]));
    assert!(index.find("a", "/", 0).unwrap().revision.try_admit().is_some());
}
