//! Numbers: minimum, initial, schedule, growth, and the cost of nothing.

use std::time::Duration;

use crate::actuation::Actuation;
use crate::config::Settings;
use crate::fleet::fixture::{World, key, name, revision, seconds};

fn started(world: &mut World) -> u32 {
    let count = |actuation: Actuation| match actuation {
        Actuation::Start { count, .. } => count,
        _ => 0,
    };
    world.asked().into_iter().map(count).sum()
}

#[test]
fn a_queue_is_given_the_time_that_the_next_instance_would_take() {
    let moment = Duration::from_millis(1);
    let mut world = World::with(Settings { fresh_start: seconds(1), ..Settings::default() });
    world.apply(revision("hello"));
    world.activator("a");
    world.wake("a", "hello", 1);
    world.after(seconds(1));
    world.fresh("f1", "hello");
    started(&mut world);
    world.wake("a", "hello", 50);
    world.after(seconds(1) - moment);
    assert_eq!(started(&mut world), 0, "a new instance would take a second");
    world.after(moment);
    assert_eq!(started(&mut world), 1);
    world.fresh("f2", "hello");
    world.warm("w1");
    world.wake("a", "hello", 50);
    world.after(Duration::from_millis(20) - moment);
    assert!(!world.is_given("w1", "hello"));
    world.after(moment);
    assert!(world.is_given("w1", "hello"), "a warm one takes 20 ms");
}

#[test]
fn an_active_revision_is_kept_at_its_minimum() {
    let mut world = World::new();
    world.apply(revision("hello").min(2));
    assert_eq!(started(&mut world), 2);
    world.fresh("f1", "hello");
    world.fresh("f2", "hello");
    world.exit("f1");
    assert_eq!(started(&mut world), 1);
}

#[test]
fn an_inactive_revision_is_not_kept() {
    let mut world = World::new();
    world.activator("a");
    world.apply(revision("hello").min(1));
    world.fresh("f1", "hello");
    world.after(seconds(90));
    assert_eq!(world.drains("f1"), 0);
    world.apply(revision("hello").min(1).inactive());
    world.after(seconds(90));
    assert_eq!(world.drains("f1"), 1);
}

#[test]
fn a_new_revision_begins_at_its_initial_number_and_then_follows_demand() {
    let mut world = World::new();
    world.activator("a");
    world.apply(revision("hello").initial(1));
    assert_eq!(started(&mut world), 1);
    world.fresh("f1", "hello");
    world.after(seconds(60));
    assert_eq!(world.drains("f1"), 1);
}

#[test]
fn a_revision_that_comes_from_zero_again_does_not_begin_at_its_initial_number() {
    let mut world = World::new();
    world.activator("a");
    world.apply(revision("hello").initial(3));
    assert_eq!(started(&mut world), 3);
    ["f1", "f2", "f3"].iter().for_each(|instance| world.fresh(instance, "hello"));
    world.after(seconds(200));
    ["f1", "f2", "f3"].iter().for_each(|instance| world.exit(instance));
    world.after(seconds(60));
    assert_eq!(started(&mut world), 0);
    world.wake("a", "hello", 1);
    assert_eq!(started(&mut world), 1);
}

#[test]
fn a_schedule_raises_the_minimum_and_lets_it_go() {
    let mut world = World::new();
    world.activator("a");
    world.apply(revision("hello").at_least_from_one_past_noon_for_an_hour(2));
    world.after(seconds(55));
    assert_eq!(started(&mut world), 0);
    world.after(seconds(10));
    assert_eq!(started(&mut world), 2);
    world.fresh("f1", "hello");
    world.fresh("f2", "hello");
    world.after(seconds(3500));
    assert_eq!(world.drains("f1") + world.drains("f2"), 0);
    world.after(seconds(300));
    assert_eq!(world.drains("f1") + world.drains("f2"), 2);
}

#[test]
fn a_queue_that_outlives_a_start_gets_more_instances() {
    let mut world = World::new();
    world.apply(revision("hello"));
    world.activator("a");
    world.wake("a", "hello", 250);
    assert_eq!(started(&mut world), 3);
}

#[test]
fn demand_of_two_activators_adds_up_and_they_share_the_slots() {
    let mut world = World::new();
    world.apply(revision("hello"));
    world.activator("a");
    world.activator("b");
    world.warm("w1");
    world.wake("a", "hello", 1);
    world.ready("w1");
    world.in_flight("a", "hello", 10);
    world.in_flight("b", "hello", 20);
    let seen = &world.fleet.snapshot().revisions[0];
    assert_eq!((seen.waiting, seen.in_flight), (0, 30));
    assert_eq!(world.activators["a"].slots["w1"], 50);
    world.host_report("w1", 70);
    assert_eq!(world.fleet.snapshot().revisions[0].in_flight, 70);
}

#[test]
fn a_lost_reporter_does_not_hold_a_revision_up_for_ever() {
    let mut world = World::new();
    world.apply(revision("hello"));
    world.activator("a");
    world.activator("b");
    world.warm("w1");
    world.wake("a", "hello", 1);
    world.ready("w1");
    world.in_flight("a", "hello", 5);
    world.lose_activator("a");
    world.after(seconds(45));
    assert_eq!(world.drains("w1"), 0, "it may still have requests in flight");
    world.after(seconds(60));
    assert_eq!(world.drains("w1"), 1);
}

#[test]
fn a_silent_reporter_does_not_let_a_revision_go_to_zero_while_another_reports() {
    let mut world = World::new();
    world.apply(revision("hello"));
    world.activator("a");
    world.activator("b");
    world.warm("w1");
    world.wake("a", "hello", 1);
    world.ready("w1");
    world.in_flight("a", "hello", 0);
    world.in_flight("b", "hello", 1);
    world.lose_activator("a");
    world.after(seconds(300));
    assert_eq!(world.drains("w1"), 0);
}

#[test]
fn revisions_at_zero_have_no_timer_and_little_memory() {
    let mut world = World::new();
    world.activator("a");
    for number in 0..1000 {
        world.apply(revision(&format!("f{number}")));
    }
    world.after(seconds(2));
    world.lose_activator("a");
    world.after_silent(seconds(600));
    assert_eq!(world.fleet.next_due(), None);
    let fleet = &world.fleet;
    assert!(fleet.revisions.values().all(|revision| revision.decider.is_none() && revision.history.is_none()));
    assert!(size_of::<crate::fleet::revision::Revision>() <= 512);
}

#[test]
fn a_deleted_revision_drains_and_leaves_nothing_behind() {
    let mut world = World::new();
    world.activator("a");
    world.apply(revision("hello").min(2));
    world.fresh("f1", "hello");
    world.asked();
    world.delete("hello");
    assert_eq!(world.drains("f1"), 1);
    assert!(world.endpoints("a", "hello").is_empty());
    // The second start was on its way.
    world.expect("f2", Some("hello"));
    assert_eq!(world.asked(), [Actuation::Stop { instance: "f2".into() }]);
    world.exit("f1");
    world.exit("f2");
    world.lose_activator("a");
    world.after_silent(seconds(120));
    assert_eq!(world.fleet.next_due(), None);
    assert!(world.fleet.snapshot().instances.is_empty());
    assert_eq!(world.fleet.explained(&name("hello")), None);
}

#[test]
fn the_scale_is_told_after_the_claims_that_it_counts() {
    let mut world = World::new();
    world.apply(revision("hello").min(2));
    let starts = Actuation::Start { revision: key("hello"), count: 2 };
    let scaled = Actuation::Scaled { revision: key("hello"), replicas: 2 };
    world.actuations.retain(|actuation| !matches!(actuation, Actuation::Warm { .. }));
    assert_eq!(world.actuations, [starts, scaled]);
    world.after_silent(Duration::from_secs(5));
}
