//! Which endpoint takes a request. Pure.
//!
//! With few slots the first endpoint that has one free: requests stay together, and idle instances can go. With many, the
//! less loaded of two that were drawn at random (p2c), which keeps the load even without looking at all of them.

/// Up to this many slots per instance, the first free one is taken: p2c draws would mostly hit full instances.
const FIRST_AVAILABLE_SLOTS_MAX: u32 = 3;

/// How busy an endpoint is that could take a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    /// Requests at once that it takes.
    pub slots: u32,
    /// Requests that it has now; fewer than `slots`.
    pub in_flight: u32,
}

/// Chooses among `count` endpoints; `load` tells the load of those that may take the request, and `None` for the others.
pub(crate) fn choose(
    count: usize,
    dice: &mut impl FnMut() -> u32,
    load: impl Fn(usize) -> Option<Load>,
) -> Option<usize> {
    let (first, first_load) = (0..count).find_map(|index| Some((index, load(index)?)))?;
    if first_load.slots <= FIRST_AVAILABLE_SLOTS_MAX || first + 1 == count {
        return Some(first);
    }
    let (left, right) = two_of(count, dice());
    match (load(left), load(right)) {
        (Some(a), Some(b)) if b.in_flight < a.in_flight => Some(right),
        (Some(_), _) => Some(left),
        (None, Some(_)) => Some(right),
        // Both are full or set aside. Start behind `left`, so that the first free one is not always the same.
        (None, None) => (0..count).map(|step| (left + step) % count).find(|&index| load(index).is_some()),
    }
}

/// Two different indexes below `count`, which is at least 2.
fn two_of(count: usize, random: u32) -> (usize, usize) {
    let left = (random & 0xffff) as usize % count;
    let step = 1 + (random >> 16) as usize % (count - 1);
    (left, (left + step) % count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(loads: &[Option<Load>], random: u32) -> Option<usize> {
        choose(loads.len(), &mut || random, |index| loads[index])
    }

    fn load(slots: u32, in_flight: u32) -> Option<Load> {
        Some(Load { slots, in_flight })
    }

    #[test]
    fn nothing_to_choose_from() {
        assert_eq!(chosen(&[], 0), None);
        assert_eq!(chosen(&[None, None], 7), None);
    }

    #[test]
    fn with_few_slots_the_first_free_one_is_taken() {
        for random in [0, 1, 99, u32::MAX] {
            assert_eq!(chosen(&[None, load(3, 2), load(3, 0)], random), Some(1));
        }
    }

    #[test]
    fn with_many_slots_the_less_loaded_of_two_is_taken() {
        let loads = [load(100, 50), load(100, 10)];
        for random in 0..100 {
            assert_eq!(chosen(&loads, random), Some(1));
        }
    }

    #[test]
    fn a_free_one_is_found_even_when_both_draws_are_full() {
        let loads = [None, None, None, load(100, 99)];
        for random in (0..u32::MAX).step_by(1 << 24) {
            assert_eq!(chosen(&loads, random), Some(3));
        }
    }

    #[test]
    fn draws_are_always_two_different_ones() {
        for count in 2..20 {
            for random in (0..u32::MAX).step_by(104_729 * 64) {
                let (left, right) = two_of(count, random);
                assert!(left != right && left < count && right < count, "{count} {random}");
            }
        }
    }
}
