//! Streams that break, peers that come back, and an autoscaler that begins anew.

use std::time::Duration;

use wisp_api::wire::{InstanceState, PROTOCOL, demand_up};

use crate::actuation::Actuation;
use crate::config::{Admission, Settings};
use crate::event::Fact;
use crate::fleet::fixture::{World, name, revision, seconds};

fn woken() -> World {
    let mut world = World::new();
    world.apply(revision("hello"));
    world.activator("a");
    world.warm("w1");
    world.wake("a", "hello", 1);
    world.ready("w1");
    world.in_flight("a", "hello", 1);
    world
}

fn leader_that_begins_anew() -> World {
    World::with(Settings { admission: Admission::Anyone, ..settings_of_a_leader() })
}

fn settings_of_a_leader() -> Settings {
    Settings { settle: seconds(5), warm_instances: 0, ..Settings::default() }
}

#[test]
fn an_endpoint_stays_while_its_host_reconnects() {
    let mut world = woken();
    world.lose_host("w1");
    world.after(seconds(5));
    assert_eq!(world.endpoints("a", "hello"), ["w1"]);
    world.hello("w1", InstanceState::Ready, &name("hello"));
    world.after(seconds(60));
    assert_eq!(world.endpoints("a", "hello"), ["w1"]);
    assert!(world.facts.iter().any(|fact| matches!(fact, Fact::Reconnected { .. })));
    assert_eq!(world.asked().iter().filter(|asked| matches!(asked, Actuation::Start { .. })).count(), 0);
}

#[test]
fn an_instance_that_exited_is_withdrawn_at_once_and_replaced() {
    let mut world = woken();
    world.warm("w2");
    world.exit("w1");
    assert!(world.endpoints("a", "hello").is_empty());
    assert!(world.is_given("w2", "hello"));
}

#[test]
fn a_host_that_stays_away_is_withdrawn_and_replaced_and_stopped_when_it_could_have_drained() {
    let mut world = woken();
    world.lose_host("w1");
    world.asked();
    world.after(seconds(11));
    assert!(world.endpoints("a", "hello").is_empty());
    let asked = world.asked();
    assert!(matches!(&asked[..], [Actuation::Start { .. }]), "{asked:?}");
    world.fresh("f1", "hello");
    world.after(seconds(30));
    assert_eq!(world.asked(), [], "its requests may take that long");
    world.after(seconds(10));
    assert_eq!(world.asked(), [Actuation::Stop { instance: "w1".into() }]);
}

#[test]
fn a_host_that_comes_back_after_it_was_given_up_is_told_to_drain() {
    let mut world = woken();
    world.lose_host("w1");
    world.after(seconds(11));
    let stop = Actuation::Stop { instance: "w1".into() };
    assert!(!world.asked().contains(&stop), "it may be serving");
    world.hello("w1", InstanceState::Ready, &name("hello"));
    assert_eq!(world.drains("w1"), 1);
    assert!(world.endpoints("a", "hello").is_empty());
}

#[test]
fn an_order_that_went_into_a_broken_stream_is_repeated_or_the_instance_is_surplus() {
    let mut world = World::new();
    world.apply(revision("hello"));
    world.activator("a");
    world.warm("w1");
    world.warm("w2");
    world.wake("a", "hello", 1);
    world.lose_host("w1");
    assert!(world.is_given("w2", "hello"), "those who wait do not wait for the reconnect");
    world.ready("w2");
    world.hello("w1", InstanceState::Warm, "");
    world.after(seconds(1));
    assert_eq!(world.hosts["w1"].given.len(), 1);
    assert_eq!(world.drains("w1"), 1);
}

#[test]
fn a_duplicate_hello_replaces_the_stream() {
    let mut world = woken();
    let before = world.hosts["w1"].stream;
    world.hello("w1", InstanceState::Ready, &name("hello"));
    assert_ne!(world.hosts["w1"].stream, before);
    // The end of the old stream says nothing about the new one.
    world.tell(crate::event::Event::Closed(before.expect("it was connected")));
    world.after(seconds(60));
    assert_eq!(world.endpoints("a", "hello"), ["w1"]);
}

#[test]
fn a_host_that_claims_another_revision_than_it_was_given_gets_no_requests() {
    let mut world = woken();
    world.apply(revision("other"));
    world.lose_host("w1");
    world.hello("w1", InstanceState::Ready, &name("other"));
    assert!(world.endpoints("a", "other").is_empty());
    assert!(world.endpoints("a", "hello").is_empty());
    assert!(world.asked().contains(&Actuation::Stop { instance: "w1".into() }));
}

#[test]
fn an_activator_that_comes_back_is_told_everything() {
    let mut world = woken();
    world.lose_activator("a");
    world.activator_mut("a").endpoints.clear();
    world.activator("a");
    assert_eq!(world.endpoints("a", "hello"), ["w1"]);
}

#[test]
fn a_peer_of_another_protocol_version_is_refused() {
    let mut world = World::new();
    world.activator("a");
    let hello = wisp_api::wire::DemandHello { protocol: PROTOCOL + 1, activator: "a".into(), token: String::new() };
    world.activator_says("a", demand_up::Message::Hello(hello));
    assert!(world.activators["a"].stream.is_none());
}

#[test]
fn a_stream_that_says_nothing_is_closed() {
    let mut world = World::new();
    let stream = crate::event::StreamId(99);
    world.tell(crate::event::Event::Opened(stream));
    let effects = world.fleet.apply(crate::event::Event::Tick, seconds(11));
    assert!(effects.iter().any(|effect| matches!(effect, crate::event::Effect::Close(closed) if *closed == stream)));
}

#[test]
fn a_new_leader_learns_everything_from_those_who_hold_it() {
    let mut world = leader_that_begins_anew();
    world.apply(revision("hello").min(2));
    world.activator("a");
    // What the activator knows from the leader before.
    world.activator_mut("a").endpoints.insert(name("hello"), vec!["h1".into(), "h2".into()]);
    world.in_flight("a", "hello", 4);
    world.hello("h1", InstanceState::Ready, &name("hello"));
    assert_eq!(world.endpoints("a", "hello"), ["h1", "h2"], "those who have yet to report are not withdrawn");
    world.after(seconds(2));
    world.hello("h2", InstanceState::Ready, &name("hello"));
    world.after(seconds(4));
    assert_eq!(world.endpoints("a", "hello"), ["h1", "h2"]);
    assert_eq!(world.asked(), [], "nothing was started for what was there already");
}

#[test]
fn a_new_leader_leaves_alone_what_runs_until_it_knows_what_for() {
    let mut world = World::with(settings_of_a_leader());
    world.activator("a");
    for instance in ["h1", "h2", "h3"] {
        world.expect(instance, Some("hello"));
    }
    world.hello("h1", InstanceState::Ready, &name("hello"));
    // As its node tells of it when it connects.
    world.expect("h1", Some("hello"));
    world.hello("h2", InstanceState::Warm, "");
    world.after(seconds(3));
    assert_eq!(world.asked(), []);
    world.apply(revision("hello").min(3));
    assert!(world.is_given("h2", "hello"), "it waited for its order");
    world.ready("h2");
    world.hello("h3", InstanceState::Ready, &name("hello"));
    world.after(seconds(10));
    assert_eq!(world.endpoints("a", "hello"), ["h1", "h2", "h3"]);
    assert_eq!(world.asked(), []);
    assert_eq!(["h1", "h2", "h3"].map(|instance| world.drains(instance)), [0; 3]);
}

#[test]
fn an_instance_whose_revision_never_comes_is_stopped() {
    let mut world = World::with(settings_of_a_leader());
    world.expect("h1", Some("gone"));
    world.hello("h1", InstanceState::Warm, "");
    world.expect("h2", Some("gone"));
    world.after(seconds(29));
    assert_eq!(world.asked(), []);
    world.after(seconds(2));
    let stop = |instance: &str| Actuation::Stop { instance: instance.into() };
    assert_eq!(world.asked(), [stop("h1"), stop("h2")]);
}

#[test]
fn a_new_leader_serves_a_wake_before_it_has_settled() {
    let mut world = leader_that_begins_anew();
    world.apply(revision("hello"));
    world.activator("a");
    world.hello("w1", InstanceState::Warm, "");
    world.wake("a", "hello", 1);
    world.ready("w1");
    assert_eq!(world.endpoints("a", "hello"), ["w1"]);
}

#[test]
fn what_was_told_before_a_new_leader_has_settled_is_kept_up_to_date() {
    let mut world = leader_that_begins_anew();
    world.apply(revision("hello"));
    world.activator("a");
    world.hello("w1", InstanceState::Warm, "");
    world.wake("a", "hello", 1);
    world.ready("w1");
    world.in_flight("a", "hello", 0);
    world.exit("w1");
    assert!(world.endpoints("a", "hello").is_empty());
}

#[test]
fn where_nobody_announces_instances_a_drained_one_is_gone_with_its_stream() {
    let mut world = World::with(Settings { admission: Admission::Anyone, ..Settings::default() });
    world.hello("w1", InstanceState::Warm, "");
    world.host_drains("w1");
    world.lose_host("w1");
    world.after(seconds(61));
    assert!(world.fleet.snapshot().instances.is_empty());
    assert_eq!(world.asked(), []);
}

#[test]
fn an_instance_of_a_revision_that_never_comes_is_let_go() {
    let mut world = leader_that_begins_anew();
    world.activator("a");
    world.hello("h1", InstanceState::Ready, &name("gone"));
    world.after(seconds(30));
    assert_eq!(world.endpoints("a", "gone"), ["h1"]);
    world.after(seconds(10));
    assert_eq!(world.drains("h1"), 1);
}

#[test]
fn warm_instances_hold_the_latest_code_ready_a_few_at_a_time() {
    let mut world = World::with(Settings { prepared_max: 3, ..Settings::default() });
    world.activator("a");
    world.warm("w1");
    world.warm("w2");
    for number in 0..10 {
        world.apply(revision(&format!("f{number}")));
    }
    assert!(world.hosts["w2"].preparing.is_empty(), "changes are gathered");
    world.after(seconds(1));
    assert_eq!(world.hosts["w2"].preparing, ["sha256:f9", "sha256:f8"]);
    world.prepared("w2");
    world.prepared("w2");
    assert!(world.hosts["w2"].prepared.iter().eq(["sha256:f7", "sha256:f8", "sha256:f9"]));
    // A demand, which takes the other one, makes f0's code matter most; f7's goes.
    world.wake("a", "f0", 1);
    assert!(world.is_given("w1", "f0"));
    world.after(Duration::from_millis(500));
    assert_eq!(world.hosts["w2"].forgot, ["sha256:f7"]);
    assert_eq!(world.hosts["w2"].preparing, ["sha256:f0"]);
}

#[test]
fn what_is_held_ready_is_bounded_by_bytes() {
    let mut world = World::with(Settings { prepared_bytes_max: 2 << 20, ..Settings::default() });
    world.warm("w1");
    for number in 0..5 {
        world.apply(revision(&format!("f{number}")));
    }
    world.after(seconds(1));
    world.prepared("w1");
    world.prepared("w1");
    assert!(world.hosts["w1"].prepared.iter().eq(["sha256:f3", "sha256:f4"]));
}
