//! From zero to ready, and what may go wrong on the way.

use std::time::Duration;

use wisp_api::wire::{InstanceState, Wake, demand_up};
use wisp_scaling::Reason;

use crate::actuation::Actuation;
use crate::config::Settings;
use crate::event::{Fact, StartKind};
use crate::fleet::fixture::{World, key, name, revision, seconds};

fn start(function: &str, count: u32) -> Actuation {
    Actuation::Start { revision: key(function), count }
}

fn claimed(instance: &str, function: &str) -> Actuation {
    Actuation::Claimed { instance: instance.into(), revision: key(function) }
}

#[test]
fn a_wake_gives_a_warm_instance_its_revision_in_the_same_turn() {
    let mut world = World::new();
    world.apply(revision("hello"));
    world.activator("a");
    world.warm("w1");
    world.actuations.clear();
    world.wake("a", "hello", 1);
    assert!(world.is_given("w1", "hello"));
    let scaled = Actuation::Scaled { revision: key("hello"), replicas: 1 };
    assert_eq!(world.actuations, [claimed("w1", "hello"), scaled]);
}

#[test]
fn a_claimed_instance_is_replaced_once_it_had_time_to_get_ready() {
    let mut world = World::new();
    world.apply(revision("hello"));
    world.activator("a");
    world.warm("w1");
    world.wake("a", "hello", 1);
    world.ready("w1");
    world.in_flight("a", "hello", 1);
    world.actuations.clear();
    world.after(Duration::from_millis(50));
    assert_eq!(world.actuations, [Actuation::Warm { namespace: None, count: 2 }]);
}

#[test]
fn a_ready_instance_is_an_endpoint_of_all_activators_in_the_same_turn() {
    let mut world = World::new();
    world.apply(revision("hello"));
    world.activator("a");
    world.activator("b");
    world.warm("w1");
    world.wake("a", "hello", 1);
    assert!(world.endpoints("a", "hello").is_empty());
    world.ready("w1");
    assert_eq!(world.endpoints("a", "hello"), ["w1"]);
    assert_eq!(world.endpoints("b", "hello"), ["w1"]);
}

#[test]
fn a_warm_instance_that_has_the_code_ready_goes_first() {
    let mut world = World::new();
    world.activator("a");
    world.warm("w1");
    world.warm("w2");
    world.apply(revision("hello"));
    world.after(seconds(1));
    world.prepared("w2");
    world.wake("a", "hello", 1);
    assert!(world.is_given("w2", "hello"));
    world.ready("w2");
    let cold_starts: Vec<StartKind> = world
        .facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::ColdStart(cold_start) => Some(cold_start.start),
            _ => None,
        })
        .collect();
    assert_eq!(cold_starts, [StartKind::Prepared]);
}

#[test]
fn without_a_warm_instance_a_new_one_is_asked_for_once() {
    let mut world = World::new();
    world.apply(revision("hello"));
    world.activator("a");
    world.wake("a", "hello", 1);
    world.wake("a", "hello", 1);
    assert_eq!(world.asked(), [start("hello", 1)]);
    world.fresh("f1", "hello");
    assert_eq!(world.endpoints("a", "hello"), ["f1"]);
    world.wake("a", "hello", 1);
    assert_eq!(world.asked(), []);
}

#[test]
fn a_new_instance_is_late_by_what_new_ones_have_taken() {
    let mut world = World::with(Settings { fresh_start: seconds(1), ..Settings::default() });
    world.apply(revision("hello").fresh());
    world.apply(revision("other").fresh());
    world.activator("a");
    wakes_and_is_late_after(&mut world, "hello", seconds(2));
    world.after(seconds(3));
    world.fresh("f1", "hello");
    world.in_flight("a", "hello", 1);
    // A quarter for the newest, which took five seconds.
    wakes_and_is_late_after(&mut world, "other", seconds(4));
}

fn wakes_and_is_late_after(world: &mut World, function: &str, span: Duration) {
    let moment = Duration::from_millis(1);
    world.wake("a", function, 1);
    assert_eq!(world.asked(), [start(function, 1)]);
    world.after(span - moment);
    assert_eq!(world.asked(), []);
    world.after(moment);
    assert_eq!(world.asked(), [start(function, 1)]);
}

#[test]
fn an_instance_that_is_announced_again_answers_no_second_request() {
    let mut world = World::new();
    world.apply(revision("hello").fresh());
    world.activator("a");
    world.wake("a", "hello", 150);
    assert_eq!(world.asked(), [start("hello", 2)]);
    world.expect("f1", Some("hello"));
    world.expect("f1", Some("hello"));
    assert_eq!(world.asked(), []);
}

#[test]
fn an_instance_that_is_announced_without_a_token_waits_for_one() {
    let mut world = World::new();
    let announced =
        |token: &str| crate::event::Event::Expected { instance: "w1".into(), token: token.into(), revision: None };
    world.tell(announced(""));
    world.hello("w1", InstanceState::Warm, "");
    assert!(world.hosts["w1"].stream.is_none());
    world.tell(announced("token-w1"));
    // The pods are listed once more.
    world.tell(announced(""));
    world.hello("w1", InstanceState::Warm, "");
    assert!(world.hosts["w1"].stream.is_some());
}

#[test]
fn a_revision_that_asked_for_its_own_instances_gets_no_warm_one() {
    let mut world = World::new();
    world.apply(revision("hello").fresh());
    world.activator("a");
    world.warm("w1");
    world.wake("a", "hello", 1);
    assert_eq!(world.asked(), [start("hello", 1)]);
}

#[test]
fn a_warm_instance_of_another_namespace_is_not_taken() {
    let mut world = World::new();
    world.apply(revision("hello"));
    world.apply(revision("hello").in_namespace("shop"));
    world.activator("a");
    world.expect("w1", None);
    world.hosts.entry("w1".into()).or_default().namespace = "shop".into();
    world.hello("w1", InstanceState::Warm, "");
    world.wake("a", "hello", 1);
    assert_eq!(world.asked(), [start("hello", 1)]);
    let wake = Wake { revision: "shop/hello-00001".into(), waiting: 1 };
    world.activator_says("a", demand_up::Message::Wake(wake));
    assert!(world.hosts["w1"].given.contains("shop/hello-00001"));
}

#[test]
fn a_wake_for_a_revision_that_the_catalog_does_not_have_yet_is_served_when_it_comes() {
    let mut world = World::new();
    world.activator("a");
    world.warm("w1");
    world.wake("a", "hello", 2);
    world.apply(revision("hello"));
    assert!(world.is_given("w1", "hello"));
}

#[test]
fn a_host_that_was_started_for_a_function_and_begins_warm_gets_that_function() {
    let mut world = World::new();
    world.apply(revision("hello"));
    world.activator("a");
    world.wake("a", "hello", 1);
    world.expect("f1", Some("hello"));
    world.hello("f1", InstanceState::Warm, "");
    assert!(world.is_given("f1", "hello"));
}

#[test]
fn an_instance_that_nobody_announced_or_with_a_wrong_token_is_refused() {
    let mut world = World::new();
    world.hello("stranger", InstanceState::Warm, "");
    assert!(world.hosts["stranger"].stream.is_none());
    let token = "another".into();
    world.tell(crate::event::Event::Expected { instance: "w1".into(), token, revision: None });
    world.hello("w1", InstanceState::Warm, "");
    assert!(world.hosts["w1"].stream.is_none());
    let refused = world.facts.iter().filter(|fact| matches!(fact, Fact::Refused { .. })).count();
    assert_eq!(refused, 2);
}

#[test]
fn a_component_that_cannot_start_answers_those_who_wait_and_is_tried_again_later() {
    let mut world = World::new();
    world.apply(revision("hello"));
    world.activator("a");
    world.warm("w1");
    world.warm("w2");
    world.wake("a", "hello", 1);
    world.fail("w1", "NotAComponent");
    assert_eq!(world.activators["a"].failures[0].reason, "NotAComponent");
    assert!(!world.is_given("w2", "hello"), "the next one would fail too");
    world.exit("w1");
    // Who comes meanwhile is answered at once.
    world.wake("a", "hello", 1);
    assert_eq!(world.failures("a"), 2);
    world.after(seconds(1));
    assert!(world.is_given("w2", "hello"));
}

#[test]
fn an_instance_that_vanishes_before_it_is_ready_is_replaced_at_once() {
    let mut world = World::new();
    world.apply(revision("hello"));
    world.activator("a");
    world.warm("w1");
    world.warm("w2");
    world.wake("a", "hello", 1);
    world.exit("w1");
    assert!(world.is_given("w2", "hello"));
    assert_eq!(world.failures("a"), 0);
}

#[test]
fn a_start_that_nobody_can_make_is_answered_and_a_warm_instance_still_helps() {
    let mut world = World::new();
    world.apply(revision("hello"));
    world.activator("a");
    world.wake("a", "hello", 1);
    world.start_failed("hello");
    assert_eq!(world.failures("a"), 1);
    world.warm("w1");
    assert!(world.is_given("w1", "hello"));
}

#[test]
fn a_start_that_is_never_answered_is_given_up() {
    let mut world = World::new();
    world.apply(revision("hello"));
    world.activator("a");
    world.wake("a", "hello", 1);
    world.after(seconds(31));
    assert_eq!(world.activators["a"].failures[0].reason, "StartTimeout");
}

#[test]
fn an_instance_that_does_not_become_ready_in_time_is_stopped_and_replaced() {
    let mut world = World::new();
    world.apply(revision("hello"));
    world.activator("a");
    world.warm("w1");
    world.warm("w2");
    world.wake("a", "hello", 1);
    world.after(seconds(11));
    assert!(world.asked().contains(&Actuation::Stop { instance: "w1".into() }));
    assert!(world.is_given("w2", "hello"));
}

#[test]
fn crashes_of_ready_instances_never_answer_those_who_wait() {
    let mut world = World::new();
    world.apply(revision("hello").max(1));
    world.activator("a");
    world.wake("a", "hello", 1);
    for round in 0..20 {
        let instance = format!("f{round}");
        world.after(seconds(2));
        assert_eq!(world.asked(), [start("hello", 1)], "round {round}");
        world.fresh(&instance, "hello");
        world.exit(&instance);
        assert!(world.endpoints("a", "hello").is_empty());
        world.wake("a", "hello", 1);
    }
    assert_eq!(world.failures("a"), 0);
}

#[test]
fn the_cold_start_time_goes_with_the_endpoint_and_into_the_histogram() {
    let mut world = World::new();
    world.apply(revision("hello"));
    world.activator("a");
    world.wake("a", "hello", 1);
    world.now += Duration::from_millis(7);
    world.fresh("f1", "hello");
    let fresh = &world.fleet.snapshot().cold_starts.fresh;
    assert_eq!((fresh.count, fresh.sum_micros), (1, 7000));
}

#[test]
fn decisions_explain_themselves() {
    let mut world = World::new();
    world.apply(revision("hello"));
    world.activator("a");
    assert_eq!(world.fleet.explained(&name("hello")), Some(Vec::new()));
    world.wake("a", "hello", 3);
    let explained = world.fleet.explained(&name("hello")).expect("the revision is known");
    let last = explained.last().expect("a decision");
    assert_eq!((last.from, last.decision.replicas, last.decision.reason), (0, 1, Reason::Wake));
    assert_eq!(last.decision.inputs.waiting, 3);
    assert_eq!(world.fleet.explained("default/other-00001"), None);
}

#[test]
fn a_revision_that_lacks_something_keeps_what_runs_and_starts_nothing() {
    let mut world = World::new();
    let mut lacking = revision("hello").min(2);
    lacking.lacks = Some("a Secret".into());
    world.apply(lacking.clone());
    world.activator("a");
    world.warm("w1");
    world.wake("a", "hello", 1);
    assert_eq!(world.failures("a"), 1);
    let scaled = |asked: &&Actuation| matches!(asked, Actuation::Scaled { replicas, .. } if *replicas > 0);
    assert_eq!(world.actuations.iter().find(scaled), None, "it would make instances");
    // One that was made for it nevertheless changes nothing, and waits.
    world.expect("h1", Some("hello"));
    world.hello("h1", InstanceState::Warm, "");
    world.wake("a", "hello", 1);
    assert_eq!(world.failures("a"), 2);
    world.fresh("h2", "hello");
    world.apply(lacking);
    world.after(seconds(100));
    assert_eq!(world.endpoints("a", "hello"), ["h2"]);
    assert!(!world.is_given("w1", "hello") && !world.is_given("h1", "hello"));
    assert_eq!(world.asked(), []);
    world.apply(revision("hello").min(3));
    assert!(world.is_given("w1", "hello") && world.is_given("h1", "hello"));
}

#[test]
fn a_new_revision_has_its_initial_instances_though_what_it_lacked_comes_late() {
    let mut world = World::new();
    let mut lacking = revision("hello").initial(3);
    lacking.lacks = Some("a Secret".into());
    world.apply(lacking);
    world.after(seconds(60));
    assert_eq!(world.asked(), []);
    world.apply(revision("hello").initial(3));
    assert_eq!(world.asked(), [Actuation::Start { revision: key("hello"), count: 3 }]);
}
