//! Withdrawal, drain and stop: what goes, and that nothing is lost with it.

use crate::actuation::Actuation;
use crate::event::InstanceState as State;
use crate::fleet::fixture::{Confirms, World, name, revision, seconds};
use wisp_api::wire::InstanceState;

/// One ready instance that was woken by activator `a` and has nothing to do.
fn world_with_one_idle_instance() -> World {
    let mut world = World::new();
    world.apply(revision("hello"));
    world.activator("a");
    world.warm("w1");
    world.wake("a", "hello", 1);
    world.ready("w1");
    world.in_flight("a", "hello", 0);
    world
}

fn state(world: &World, instance: &str) -> Option<State> {
    let snapshot = world.fleet.snapshot();
    snapshot.instances.iter().find(|view| view.instance == instance).map(|view| view.state)
}

fn stop(instance: &str) -> Actuation {
    Actuation::Stop { instance: instance.into() }
}

#[test]
fn an_idle_revision_goes_to_zero_after_its_idle_time() {
    let mut world = world_with_one_idle_instance();
    world.after(seconds(29));
    assert_eq!(world.endpoints("a", "hello"), ["w1"]);
    world.after(seconds(3));
    assert!(world.endpoints("a", "hello").is_empty());
    assert_eq!(world.drains("w1"), 1);
    world.exit("w1");
    assert_eq!(state(&world, "w1"), None);
}

#[test]
fn an_instance_drains_only_when_every_activator_has_let_it_go() {
    let mut world = world_with_one_idle_instance();
    world.activator("b");
    world.activator_mut("b").confirms = Confirms::Never;
    world.after(seconds(31));
    assert!(world.endpoints("b", "hello").is_empty());
    assert_eq!(state(&world, "w1"), Some(State::Withdrawing));
    assert_eq!(world.drains("w1"), 0);
    world.confirm("b");
    assert_eq!(world.drains("w1"), 1);
}

#[test]
fn an_activator_that_does_not_confirm_is_waited_for_only_so_long() {
    let mut world = world_with_one_idle_instance();
    world.activator_mut("a").confirms = Confirms::Never;
    world.after(seconds(33));
    assert_eq!(world.drains("w1"), 1);
}

#[test]
fn an_instance_that_does_not_end_is_stopped() {
    let mut world = world_with_one_idle_instance();
    world.after(seconds(32));
    world.asked();
    world.after(seconds(40));
    assert_eq!(world.asked(), [stop("w1")]);
    world.after(seconds(70));
    assert_eq!(state(&world, "w1"), None, "nobody said that it is gone, and it is not waited for for ever");
}

#[test]
fn a_wake_that_crosses_a_scale_down_takes_the_instance_back() {
    let mut world = world_with_one_idle_instance();
    world.activator_mut("a").confirms = Confirms::Never;
    world.after(seconds(31));
    assert_eq!(state(&world, "w1"), Some(State::Withdrawing));
    world.wake("a", "hello", 1);
    assert_eq!(world.endpoints("a", "hello"), ["w1"]);
    world.confirm("a");
    world.after(seconds(5));
    assert_eq!(world.drains("w1"), 0);
}

#[test]
fn a_wake_after_the_order_to_drain_gets_another_instance() {
    let mut world = world_with_one_idle_instance();
    world.warm("w2");
    world.after(seconds(32));
    assert_eq!(state(&world, "w1"), Some(State::Draining));
    world.wake("a", "hello", 1);
    assert!(world.is_given("w2", "hello"));
    world.ready("w2");
    assert_eq!(world.endpoints("a", "hello"), ["w2"]);
}

#[test]
fn a_host_that_is_told_to_end_is_withdrawn_acknowledged_and_replaced() {
    let mut world = world_with_one_idle_instance();
    world.warm("w2");
    world.in_flight("a", "hello", 1);
    world.activator_mut("a").confirms = Confirms::Never;
    world.host_drains("w1");
    assert!(world.endpoints("a", "hello").is_empty());
    assert_eq!(world.drains("w1"), 0);
    assert!(world.is_given("w2", "hello"));
    world.wake("a", "hello", 1);
    assert!(world.endpoints("a", "hello").is_empty(), "it is not taken back");
    world.confirm("a");
    assert_eq!(world.drains("w1"), 1);
}

#[test]
fn a_warm_host_that_is_told_to_end_is_acknowledged_at_once() {
    let mut world = World::new();
    world.warm("w1");
    world.actuations.clear();
    world.host_drains("w1");
    assert_eq!(world.drains("w1"), 1);
    assert_eq!(world.actuations, [Actuation::Warm { namespace: None, count: 2 }]);
}

#[test]
fn the_order_to_drain_is_repeated_to_a_host_that_comes_back() {
    let mut world = world_with_one_idle_instance();
    world.after(seconds(32));
    world.lose_host("w1");
    world.hello("w1", InstanceState::Ready, &name("hello"));
    assert_eq!(world.drains("w1"), 2);
    assert!(world.endpoints("a", "hello").is_empty());
}

#[test]
fn the_idlest_instance_goes_first() {
    let mut world = World::new();
    world.activator("a");
    world.apply(revision("hello").min(2));
    world.fresh("f1", "hello");
    world.fresh("f2", "hello");
    world.in_flight("a", "hello", 3);
    world.host_report("f1", 0);
    world.host_report("f2", 3);
    world.apply(revision("hello"));
    world.after(seconds(1));
    assert_eq!((world.drains("f1"), world.drains("f2")), (1, 0));
}
