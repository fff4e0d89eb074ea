use proptest::prelude::*;

use super::*;

type Line = Admission<u32, &'static str>;

const ROOMY: Bounds = Bounds { requests: 1000, bytes: 1_000_000 };
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn offer(instance: &'static str, slots: u32) -> Offer<&'static str> {
    Offer { instance: instance.to_owned(), slots, endpoint: instance }
}

fn ask() -> Ask {
    Ask { turn: None, bytes: 10, tried: Vec::new() }
}

fn dice() -> impl FnMut() -> u32 {
    let mut state = 1u32;
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state
    }
}

fn line_with(offers: Vec<Offer<&'static str>>) -> Line {
    let mut line = Line::default();
    assert!(line.offer(offers, &mut dice()).is_empty());
    line
}

fn who<E>(served: Vec<(u32, Grant<E>)>) -> Vec<u32> {
    served.into_iter().map(|(who, _)| who).collect()
}

#[test]
fn at_capacity_zero_requests_wait_and_one_new_slot_serves_one() {
    let mut line = Line::default();
    assert!(line.try_take(None, &mut dice()).is_none());
    for who in 1..=3 {
        line.wait(ask(), ROOMY, who).unwrap();
    }
    assert_eq!((line.waiting(), line.in_flight(), line.capacity()), (3, 0, 0));
    let served = line.offer(vec![offer("a", 1)], &mut dice());
    assert_eq!(who(served), [1]);
    assert_eq!((line.waiting(), line.in_flight(), line.capacity()), (2, 1, 1));
}

#[test]
fn a_released_slot_goes_to_the_first_in_line() {
    let mut line = line_with(vec![offer("a", 1)]);
    let mut grant = line.try_take(None, &mut dice()).unwrap();
    for who in 1..=3 {
        line.wait(ask(), ROOMY, who).unwrap();
    }
    for expected in 1..=3 {
        let (served, next) = line.release(grant.id).unwrap();
        assert_eq!(served, expected);
        grant = next;
    }
    assert!(line.release(grant.id).is_none());
    assert_eq!(line.in_flight(), 0);
}

#[test]
fn a_full_line_refuses_by_count_and_by_bytes() {
    let mut line = Line::default();
    let bounds = Bounds { requests: 2, bytes: 25 };
    line.wait(ask(), bounds, 1).unwrap();
    assert_eq!(line.wait(Ask { bytes: 16, ..ask() }, bounds, 2), Err(Full::Bytes));
    line.wait(ask(), bounds, 3).unwrap();
    assert_eq!(line.wait(ask(), bounds, 4), Err(Full::Requests));
}

#[test]
fn one_that_leaves_frees_its_place_and_its_bytes() {
    let mut line = Line::default();
    let bounds = Bounds { requests: 1, bytes: 10 };
    let turn = line.wait(ask(), bounds, 1).unwrap();
    assert_eq!(line.leave(turn), Left::Line);
    assert_eq!(line.leave(turn), Left::Already);
    line.wait(ask(), bounds, 2).unwrap();
}

#[test]
fn one_that_comes_back_goes_before_those_who_came_later() {
    let mut line = line_with(vec![offer("a", 1)]);
    let grant = line.try_take(None, &mut dice()).unwrap();
    line.wait(ask(), ROOMY, 2).unwrap();
    line.suspect(grant.id);
    assert_eq!(line.capacity(), 0);
    assert!(line.release(grant.id).is_none());
    let back = Ask { turn: Some(grant.turn), bytes: 10, tried: vec![grant.id] };
    line.wait(back, ROOMY, 1).unwrap();
    assert_eq!(who(line.offer(vec![offer("b", 2)], &mut dice())), [1, 2]);
}

#[test]
fn one_that_comes_back_is_not_refused_by_a_full_line() {
    let mut line = line_with(vec![offer("a", 1)]);
    let grant = line.try_take(None, &mut dice()).unwrap();
    let bounds = Bounds { requests: 1, bytes: 10 };
    line.wait(ask(), bounds, 2).unwrap();
    line.suspect(grant.id);
    line.release(grant.id);
    assert!(line.wait(Ask { turn: Some(grant.turn), ..ask() }, bounds, 1).is_ok());
}

#[test]
fn a_tried_endpoint_is_not_given_again_and_blocks_nobody() {
    let mut line = line_with(vec![offer("a", 1), offer("b", 1)]);
    let a = line.try_take(None, &mut dice()).unwrap();
    let b = line.try_take(None, &mut dice()).unwrap();
    assert_eq!((a.endpoint, b.endpoint), ("a", "b"));
    line.wait(Ask { tried: vec![a.id], ..ask() }, ROOMY, 1).unwrap();
    assert!(line.release(a.id).is_none());
    // The one in line cannot use it, so that a newcomer passes.
    let newcomer = line.try_take(None, &mut dice()).unwrap();
    assert_eq!(newcomer.endpoint, "a");
    assert_eq!(line.release(b.id).map(|(who, grant)| (who, grant.endpoint)), Some((1, "b")));
    assert!(!line.exhausted(&[a.id]));
    assert!(line.exhausted(&[a.id, b.id]));
}

#[test]
fn a_suspect_gets_nothing_until_it_is_named_or_trusted_again() {
    let mut line = line_with(vec![offer("a", 5)]);
    let grant = line.try_take(None, &mut dice()).unwrap();
    line.suspect(grant.id);
    line.release(grant.id);
    assert!(line.try_take(None, &mut dice()).is_none());
    line.wait(ask(), ROOMY, 1).unwrap();
    assert_eq!(who(line.trust_again(&mut dice())), [1]);
    line.suspect(grant.id);
    line.offer(vec![offer("a", 5)], &mut dice());
    assert!(line.try_take(None, &mut dice()).is_some());
}

#[test]
fn one_that_broke_a_connection_gets_nothing_though_it_is_named() {
    let mut line = line_with(vec![offer("a", 5)]);
    let grant = line.try_take(None, &mut dice()).unwrap();
    assert!(line.broke(grant.id));
    assert!(!line.broke(grant.id), "known already");
    line.wait(ask(), ROOMY, 1).unwrap();
    assert!(who(line.offer(vec![offer("a", 5)], &mut dice())).is_empty());
    assert_eq!(who(line.trust_again(&mut dice())), [1]);
    line.offer(vec![offer("a", 5)], &mut dice());
    assert!(line.try_take(None, &mut dice()).is_some());
}

#[test]
fn a_withdrawn_endpoint_gets_nothing_and_stays_until_its_last_request() {
    let mut line = line_with(vec![offer("a", 2)]);
    let grant = line.try_take(None, &mut dice()).unwrap();
    line.offer(Vec::new(), &mut dice());
    assert!(line.try_take(None, &mut dice()).is_none());
    assert_eq!(line.entries().map(|entry| entry.trust).collect::<Vec<_>>(), [Trust::Withdrawn]);
    line.release(grant.id);
    assert_eq!(line.entries().count(), 0);
}

#[test]
fn shrunk_below_what_is_in_flight_nothing_new_starts_until_it_fits() {
    let mut line = line_with(vec![offer("a", 3)]);
    let grants: Vec<_> = (0..3).map(|_| line.try_take(None, &mut dice()).unwrap()).collect();
    line.offer(vec![offer("a", 1)], &mut dice());
    line.wait(ask(), ROOMY, 1).unwrap();
    assert!(line.release(grants[0].id).is_none());
    assert!(line.release(grants[1].id).is_none());
    assert!(line.release(grants[2].id).is_some());
}

#[test]
fn an_old_slot_of_a_reused_index_changes_nothing() {
    let mut line = line_with(vec![offer("a", 1)]);
    let old = line.try_take(None, &mut dice()).unwrap();
    line.release(old.id);
    line.offer(vec![offer("b", 1)], &mut dice());
    line.try_take(None, &mut dice()).unwrap();
    line.suspect(old.id);
    assert!(line.release(old.id).is_none());
    assert_eq!((line.in_flight(), line.capacity()), (1, 1));
}

/// What may happen to a line.
#[derive(Clone, Debug)]
enum Step {
    Arrive,
    Finish(usize),
    Fail(usize),
    Refuse(usize),
    Leave(usize),
    Offer(Vec<u32>),
    TrustAgain,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Arrive),
        4 => any::<usize>().prop_map(Step::Finish),
        1 => any::<usize>().prop_map(Step::Fail),
        1 => any::<usize>().prop_map(Step::Refuse),
        1 => any::<usize>().prop_map(Step::Leave),
        1 => proptest::collection::vec(0u32..6, 0..=NAMES.len()).prop_map(Step::Offer),
        1 => Just(Step::TrustAgain),
    ]
}

/// The line, beside a plain account of who should be where.
struct Model {
    line: Line,
    dice: Box<dyn FnMut() -> u32>,
    next: u32,
    in_flight: Vec<(u32, Grant<&'static str>, Vec<EndpointId>)>,
    waiting: Vec<(u32, Turn, Vec<EndpointId>)>,
}

impl Model {
    fn admit(&mut self, who: u32, turn: Option<Turn>, tried: Vec<EndpointId>) {
        let ask = Ask { turn, bytes: 10, tried: tried.clone() };
        if let Some(grant) = self.line.try_take(Some(&ask), &mut self.dice) {
            assert!(!tried.contains(&grant.id), "got an endpoint again");
            self.in_flight.push((who, grant, tried));
        } else if !tried.is_empty() && self.line.exhausted(&tried) {
            // Given up: all have refused it.
        } else if let Ok(turn) = self.line.wait(ask, Bounds { requests: 8, bytes: 1000 }, who) {
            self.waiting.push((who, turn, tried));
            self.waiting.sort_by_key(|(_, turn, _)| *turn);
        }
    }

    fn served(&mut self, served: Vec<(u32, Grant<&'static str>)>) {
        for (who, grant) in served {
            // First in, first out, among those that may use the endpoint.
            let first =
                self.waiting.iter().position(|(_, _, tried)| !tried.contains(&grant.id)).expect("somebody waits");
            let (expected, turn, tried) = self.waiting.remove(first);
            assert_eq!((who, grant.turn), (expected, turn), "out of order");
            self.in_flight.push((who, grant, tried));
        }
    }

    fn take(&mut self, index: usize) -> Option<(u32, Grant<&'static str>, Vec<EndpointId>)> {
        (!self.in_flight.is_empty()).then(|| self.in_flight.swap_remove(index % self.in_flight.len()))
    }

    fn release(&mut self, id: EndpointId) {
        let served = self.line.release(id);
        self.served(served.into_iter().collect());
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Arrive => {
                self.next += 1;
                self.admit(self.next, None, Vec::new());
            }
            Step::Finish(index) => {
                if let Some((_, grant, _)) = self.take(index) {
                    self.release(grant.id);
                }
            }
            Step::Fail(index) | Step::Refuse(index) => {
                let Some((who, grant, mut tried)) = self.take(index) else { return };
                if matches!(step, Step::Fail(_)) {
                    self.line.suspect(grant.id);
                }
                self.release(grant.id);
                tried.push(grant.id);
                self.admit(who, Some(grant.turn), tried);
            }
            Step::Leave(index) => {
                if !self.waiting.is_empty() {
                    let (_, turn, _) = self.waiting.remove(index % self.waiting.len());
                    assert_eq!(self.line.leave(turn), Left::Line);
                }
            }
            Step::Offer(slots) => {
                let offers = NAMES.iter().zip(slots).map(|(name, slots)| offer(name, slots)).collect();
                let served = self.line.offer(offers, &mut self.dice);
                self.served(served);
            }
            Step::TrustAgain => {
                let served = self.line.trust_again(&mut self.dice);
                self.served(served);
            }
        }
    }

    fn check(&self) {
        assert_eq!(self.line.waiting() as usize, self.waiting.len(), "a waiter was lost or made");
        assert_eq!(self.line.in_flight() as usize, self.in_flight.len(), "a slot was lost or made");
        assert_eq!(self.line.line_bytes, 10 * self.waiting.len() as u64);
        let ready = self.line.entries_with_id().filter(|(_, entry)| entry.trust == Trust::Ready);
        let (mut capacity, mut free) = (0, 0);
        for (id, entry) in ready {
            capacity += entry.slots;
            free += entry.slots.saturating_sub(entry.in_flight);
            if entry.in_flight < entry.slots {
                let idle = self.waiting.iter().any(|(_, _, tried)| !tried.contains(&id));
                assert!(!idle, "somebody waits beside a free slot");
            }
        }
        assert_eq!((self.line.capacity, self.line.free), (capacity, free));
    }
}

proptest! {
    #[test]
    fn no_slot_and_no_waiter_is_ever_lost_and_the_line_keeps_its_order(steps in proptest::collection::vec(step(), 1..200)) {
        let mut model = Model {
            line: Line::default(),
            dice: Box::new(dice()),
            next: 0,
            in_flight: Vec::new(),
            waiting: Vec::new(),
        };
        for step in steps {
            model.step(step);
            model.check();
        }
    }

    #[test]
    fn no_endpoint_has_more_requests_than_slots_while_these_do_not_shrink(
        slots in proptest::collection::vec(0u32..8, 1..=NAMES.len()),
        steps in proptest::collection::vec(prop_oneof![Just(Step::Arrive), any::<usize>().prop_map(Step::Finish)], 1..200),
    ) {
        let mut model = Model {
            line: Line::default(),
            dice: Box::new(dice()),
            next: 0,
            in_flight: Vec::new(),
            waiting: Vec::new(),
        };
        model.step(Step::Offer(slots));
        for step in steps {
            model.step(step);
            for entry in model.line.entries() {
                prop_assert!(entry.in_flight <= entry.slots);
            }
        }
    }
}
