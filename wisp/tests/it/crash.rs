//! Instances that are killed while requests come.

use rustix::process::Signal;

use crate::harness::{Load, Wisp, function, kill, soon};

const KILLS: usize = 10;
const SLOTS: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_instance_costs_only_the_requests_that_it_had() {
    let slots = u32::try_from(SLOTS).unwrap();
    let wisp = Wisp::up(&[function("victim").slots(slots).max(4).with("scaling.min", 2), function("neighbour")]).await;
    let load = Load::start(&wisp, 8, "victim", "/sleep?ms=20");
    let neighbour = Load::start(&wisp, 1, "neighbour", "/hello");
    for _ in 0..KILLS {
        let ready = soon("an instance is there to be killed", async {
            loop {
                if let Some(pid) = wisp.instances("victim").await.first() {
                    return *pid;
                }
                tokio::task::yield_now().await;
            }
        });
        kill(ready.await, Signal::KILL);
        load.until_answered(20).await;
    }
    let answers = load.stop().await;
    neighbour.stop_without_loss().await;
    let failed: Vec<_> = answers.iter().filter(|answer| !answer.as_ref().is_ok_and(|a| a.status == 200)).collect();
    assert!(failed.len() <= KILLS * SLOTS, "{} of {}: {:?}", failed.len(), answers.len(), failed.first());
    for answer in failed {
        let answer = answer.as_ref().expect("the client's own connection lives");
        assert_eq!((answer.status, answer.error().as_str()), (502, "instance-died"));
    }
    assert_eq!(wisp.get("victim", "/hello").await.status, 200);
}
