use super::*;

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let pair =
        |(name, value): &(&'static str, &'static str)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    pairs.iter().map(pair).collect()
}

fn origin(trust: ForwardedTrust) -> Origin {
    Origin::new("192.0.2.7".parse().unwrap(), "http", trust)
}

#[test]
fn hop_by_hop_headers_and_those_that_connection_names_are_removed() {
    let mut map = headers(&[
        ("connection", "close, X-Secret"),
        ("x-secret", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-authorization", "basic"),
        ("transfer-encoding", "chunked"),
        ("content-length", "3"),
        ("upgrade", "h2c"),
        ("expect", "100-continue"),
        ("te", "gzip"),
        ("accept", "*/*"),
    ]);
    strip_request(&mut map);
    assert_eq!(map, headers(&[("accept", "*/*")]));
}

#[test]
fn connection_cannot_take_away_what_the_request_stands_on() {
    let mut map = headers(&[("connection", "host, content-length"), ("host", "a"), ("content-length", "3")]);
    strip_request(&mut map);
    assert_eq!(map, headers(&[("host", "a"), ("content-length", "3")]));
}

#[test]
fn the_wish_for_trailers_is_passed_on() {
    let mut map = headers(&[("te", "gzip, trailers"), ("connection", "te")]);
    strip_request(&mut map);
    assert_eq!(map, headers(&[("te", "trailers")]));
}

#[test]
fn what_a_client_says_of_earlier_hops_is_replaced_unless_it_is_trusted() {
    let given = [("x-forwarded-for", "10.0.0.1"), ("forwarded", "for=10.0.0.1"), ("x-forwarded-proto", "https")];
    let mut map = headers(&given);
    origin(ForwardedTrust::Replace).add_to(&mut map, "a.example:8080");
    assert_eq!(map["x-forwarded-for"], "192.0.2.7");
    assert_eq!(map["x-forwarded-proto"], "http");
    assert_eq!(map["x-forwarded-host"], "a.example:8080");
    assert_eq!(map["forwarded"], "for=192.0.2.7;proto=http;host=\"a.example:8080\"");

    let mut map = headers(&given);
    origin(ForwardedTrust::Extend).add_to(&mut map, "a.example");
    assert_eq!(map["x-forwarded-for"], "10.0.0.1, 192.0.2.7");
    assert_eq!(map["x-forwarded-proto"], "https");
    assert_eq!(map["forwarded"], "for=10.0.0.1, for=192.0.2.7;proto=http;host=a.example");
}

#[test]
fn ipv6_clients_are_quoted_where_the_syntax_asks_for_it() {
    let mut map = HeaderMap::new();
    Origin::new("2001:db8::1".parse().unwrap(), "https", ForwardedTrust::Replace).add_to(&mut map, "a");
    assert_eq!(map["x-forwarded-for"], "2001:db8::1");
    assert_eq!(map["forwarded"], "for=\"[2001:db8::1]\";proto=https;host=a");
    let mut map = HeaderMap::new();
    Origin::new("::ffff:192.0.2.7".parse().unwrap(), "http", ForwardedTrust::Replace).add_to(&mut map, "a");
    assert_eq!(map["x-forwarded-for"], "192.0.2.7");
}

#[test]
fn a_valid_trace_goes_on_and_any_other_begins_anew() {
    let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut map = headers(&[("traceparent", valid), ("tracestate", "a=b")]);
    trace(&mut map);
    assert_eq!(map["traceparent"], valid);
    assert_eq!(map["tracestate"], "a=b");
    for bad in [
        "",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
    ] {
        let mut map = headers(&[("traceparent", bad), ("tracestate", "a=b")]);
        trace(&mut map);
        assert!(is_traceparent(map["traceparent"].as_bytes()), "{bad}");
        assert_ne!(map["traceparent"], bad);
        assert!(!map.contains_key("tracestate"));
    }
}

#[test]
fn a_later_version_of_the_trace_may_say_more() {
    assert!(is_traceparent(b"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra"));
}

#[test]
fn timing_is_added_to_what_the_host_says() {
    let mut map = headers(&[("server-timing", "instantiate;dur=0.2")]);
    let timing = Timing {
        queue: Duration::from_micros(1500),
        start: Some(Duration::from_micros(2007)),
        exec: Duration::from_micros(30),
    };
    add_timing(&mut map, timing);
    let all: Vec<_> = map.get_all("server-timing").iter().collect();
    assert_eq!(all, ["instantiate;dur=0.2", "queue;dur=1.500, start;dur=2.007, exec;dur=0.030"]);
    let mut map = HeaderMap::new();
    add_timing(&mut map, Timing::default());
    assert_eq!(map["server-timing"], "queue;dur=0.000, exec;dur=0.000");
}

#[test]
fn only_an_upgrade_that_cannot_be_ignored_counts() {
    assert!(upgrade(&headers(&[("upgrade", "websocket"), ("connection", "keep-alive, Upgrade")])).is_some());
    assert!(upgrade(&headers(&[("upgrade", "h2c"), ("connection", "Upgrade, HTTP2-Settings")])).is_none());
    assert!(upgrade(&headers(&[("upgrade", "websocket")])).is_none());
}
