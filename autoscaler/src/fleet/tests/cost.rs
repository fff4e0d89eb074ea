//! What a turn costs with many revisions. Prints, asserts nothing: a timing is no test.
//! `cargo test --release -p wisp-autoscaler cost -- --ignored --nocapture`

use tokio::time::Instant;

use crate::fleet::fixture::{World, revision, seconds};

const REVISIONS: u32 = 10_000;

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
#[ignore = "prints timings"]
fn cost_of_ten_thousand_revisions() {
    let mut world = World::new();
    world.activator("a");
    let resident = resident_bytes();
    let begun = Instant::now();
    for number in 0..REVISIONS {
        world.apply(revision(&format!("f{number}")));
        world.actuations.clear();
    }
    println!("apply: {:?} each", begun.elapsed() / REVISIONS);
    world.after_silent(seconds(1));
    println!("memory: {} bytes each", resident_bytes().saturating_sub(resident) / u64::from(REVISIONS));

    let warm = 100;
    for number in 0..warm {
        world.warm(&format!("w{number}"));
    }
    let begun = Instant::now();
    for number in 0..warm {
        world.wake("a", &format!("f{}", number * 7), 1);
    }
    println!("wake to order, {warm} warm: {:?} each", begun.elapsed() / warm);

    let begun = Instant::now();
    for _ in 0..100 {
        world.tell(crate::event::Event::Tick);
    }
    println!("turn in which nothing is due: {:?}", begun.elapsed() / 100);

    for number in 0..REVISIONS {
        let name = format!("b{number}");
        world.fresh(&name, &format!("f{number}"));
        world.wake("a", &format!("f{number}"), 1);
    }
    let begun = Instant::now();
    world.report("a");
    println!("a report on {REVISIONS} busy revisions: {:?}", begun.elapsed());
    let begun = Instant::now();
    let snapshot = world.fleet.snapshot();
    println!("a snapshot of {} revisions: {:?}", snapshot.revisions.len(), begun.elapsed());
}
