//! Whatever happens in whatever order, an instance is given to one revision at most, and orders reach only hosts that
//! are there.

use proptest::prelude::*;

use super::fixture::{World, name, revision, seconds};
use crate::config::{Admission, Settings};
use wisp_api::wire::InstanceState;

const FUNCTIONS: [&str; 3] = ["f0", "f1", "f2"];
const INSTANCES: [&str; 5] = ["i0", "i1", "i2", "i3", "i4"];
const ACTIVATORS: [&str; 2] = ["a0", "a1"];

#[derive(Clone, Copy, Debug)]
enum Step {
    Apply(usize),
    Delete(usize),
    Activator(usize),
    LoseActivator(usize),
    Wake(usize, usize, u32),
    InFlight(usize, usize, u32),
    ExpectWarm(usize),
    ExpectFor(usize, usize),
    /// The host connects, again or for the first time, and tells truly what it holds.
    Hello(usize),
    Ready(usize),
    Fail(usize),
    Drains(usize),
    LoseHost(usize),
    Exit(usize),
    StartFailed(usize),
    NewLeader(Claims, Orders),
    Wait(u64),
}

/// What has become of the last leader's claims on pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claims {
    Written,
    Lost,
}

/// What has become of orders that hosts have not carried out yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Orders {
    Arrived,
    Lost,
}

fn step() -> impl Strategy<Value = Step> {
    let (f, i, a) = (0..FUNCTIONS.len(), 0..INSTANCES.len(), 0..ACTIVATORS.len());
    let claims = prop_oneof![Just(Claims::Written), Just(Claims::Lost)];
    let orders = prop_oneof![Just(Orders::Arrived), Just(Orders::Lost)];
    prop_oneof![
        2 => f.clone().prop_map(Step::Apply),
        1 => f.clone().prop_map(Step::Delete),
        2 => a.clone().prop_map(Step::Activator),
        1 => a.clone().prop_map(Step::LoseActivator),
        6 => (a.clone(), f.clone(), 1..300_u32).prop_map(|(a, f, waiting)| Step::Wake(a, f, waiting)),
        3 => (a, f.clone(), 0..300_u32).prop_map(|(a, f, in_flight)| Step::InFlight(a, f, in_flight)),
        4 => i.clone().prop_map(Step::ExpectWarm),
        2 => (i.clone(), f.clone()).prop_map(|(i, f)| Step::ExpectFor(i, f)),
        8 => i.clone().prop_map(Step::Hello),
        6 => i.clone().prop_map(Step::Ready),
        1 => i.clone().prop_map(Step::Fail),
        1 => i.clone().prop_map(Step::Drains),
        3 => i.clone().prop_map(Step::LoseHost),
        2 => i.prop_map(Step::Exit),
        1 => f.prop_map(Step::StartFailed),
        1 => (claims, orders).prop_map(|(claims, orders)| Step::NewLeader(claims, orders)),
        3 => (0..40_u64).prop_map(Step::Wait),
    ]
}

fn take(world: &mut World, step: Step) {
    match step {
        Step::Apply(f) => world.apply(revision(FUNCTIONS[f])),
        Step::Delete(f) => world.delete(FUNCTIONS[f]),
        Step::Activator(a) => world.activator(ACTIVATORS[a]),
        Step::LoseActivator(a) if world.activators.contains_key(ACTIVATORS[a]) => world.lose_activator(ACTIVATORS[a]),
        Step::Wake(a, f, waiting) if world.activators.contains_key(ACTIVATORS[a]) => {
            world.wake(ACTIVATORS[a], FUNCTIONS[f], waiting);
        }
        Step::InFlight(a, f, in_flight) if world.activators.contains_key(ACTIVATORS[a]) => {
            world.in_flight(ACTIVATORS[a], FUNCTIONS[f], in_flight);
        }
        Step::ExpectWarm(i) => expect(world, INSTANCES[i], None),
        Step::ExpectFor(i, f) => expect(world, INSTANCES[i], Some(FUNCTIONS[f])),
        Step::Hello(i) => {
            let host = world.hosts.get(INSTANCES[i]);
            let (given, ready) = host.map_or((None, false), |host| (host.given.first().cloned(), host.ready));
            match given.filter(|_| ready) {
                Some(revision) => world.hello(INSTANCES[i], InstanceState::Ready, &revision),
                None => world.hello(INSTANCES[i], InstanceState::Warm, ""),
            }
        }
        Step::Ready(i) if world.hosts.get(INSTANCES[i]).is_some_and(|host| !host.given.is_empty()) => {
            world.ready(INSTANCES[i]);
        }
        Step::Fail(i) if world.hosts.contains_key(INSTANCES[i]) => world.fail(INSTANCES[i], "Broken"),
        Step::Drains(i) if world.hosts.contains_key(INSTANCES[i]) => world.host_drains(INSTANCES[i]),
        Step::LoseHost(i) => world.lose_host(INSTANCES[i]),
        Step::Exit(i) => {
            world.exit(INSTANCES[i]);
            // A name is not used again by the same process: its successor holds nothing.
            world.hosts.remove(INSTANCES[i]);
        }
        Step::StartFailed(f) => world.start_failed(FUNCTIONS[f]),
        Step::NewLeader(claims, orders) => change_leader(world, claims, orders),
        Step::Wait(quarters) => world.after(std::time::Duration::from_millis(250) * u32::try_from(quarters).unwrap()),
        _ => {}
    }
}

fn expect(world: &mut World, instance: &str, function: Option<&str>) {
    if !world.fleet.instances.contains_key(instance) {
        // Another process by the name of one that was given up.
        world.exit(instance);
        world.hosts.remove(instance);
    }
    world.expect(instance, function);
}

fn change_leader(world: &mut World, claims: Claims, orders: Orders) {
    world.new_leader();
    // Who lets anyone in is told nothing.
    let announces = world.admission() == Admission::Expected;
    let is_written = announces && claims == Claims::Written;
    for instance in INSTANCES {
        let Some(host) = world.hosts.get_mut(instance) else { continue };
        let claimed = FUNCTIONS.into_iter().find(|function| host.given.contains(&name(function)));
        match orders {
            Orders::Arrived => host.ready = !host.given.is_empty(),
            // What nobody knows of any more was never given. What is written stays so: it is given to none but the same.
            Orders::Lost if !host.ready && !is_written => host.given.clear(),
            Orders::Lost => {}
        }
        if announces {
            world.expect(instance, claimed.filter(|_| is_written));
        }
    }
}

fn check(world: &World) -> Result<(), TestCaseError> {
    for (instance, host) in &world.hosts {
        prop_assert!(host.given.len() <= 1, "{instance} was given {:?}", host.given);
    }
    for function in FUNCTIONS {
        let revision = name(function);
        for activator in world.activators.values().filter(|activator| activator.stream.is_some()) {
            for endpoint in activator.endpoints.get(&revision).into_iter().flatten() {
                let host = world.hosts.get(endpoint);
                prop_assert!(
                    host.is_some_and(|host| host.given.contains(&revision)),
                    "{endpoint} is an endpoint of {revision} and does not serve it"
                );
            }
        }
    }
    let claimed = world.fleet.snapshot();
    let ready: u32 = claimed.revisions.iter().map(|view| view.ready).sum();
    let endpoints = claimed.instances.iter().filter(|view| view.state == crate::event::InstanceState::Ready).count();
    prop_assert!(ready as usize <= endpoints);
    Ok(())
}

fn run(settings: Settings, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut world = World::with(settings);
    for step in steps {
        take(&mut world, step);
        check(&world)?;
    }
    // Everything comes to rest: no timer goes round in circles.
    let activators: Vec<String> = world.activators.keys().cloned().collect();
    activators.iter().for_each(|activator| world.lose_activator(activator));
    INSTANCES.iter().for_each(|instance| world.exit(instance));
    FUNCTIONS.iter().for_each(|function| world.delete(function));
    world.after_silent(seconds(3600));
    prop_assert_eq!(world.fleet.next_due(), None);
    Ok(())
}

fn settings_of_a_leader() -> Settings {
    Settings { settle: seconds(3), ..Settings::default() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_instance_is_never_given_to_two_revisions(steps in proptest::collection::vec(step(), 1..120)) {
        run(Settings::default(), steps)?;
    }

    #[test]
    fn nor_where_nobody_announces_instances_and_a_leader_settles(steps in proptest::collection::vec(step(), 1..120)) {
        run(Settings { admission: Admission::Anyone, ..settings_of_a_leader() }, steps)?;
    }

    #[test]
    fn nor_where_leaders_follow_each_other(steps in proptest::collection::vec(step(), 1..120)) {
        run(settings_of_a_leader(), steps)?;
    }
}
