//! How large a pool is for the moment: its size, and what a burst asks for beyond it. Pure.
//!
//! A warm instance that is claimed is replaced, which keeps up with a trickle. Where many functions wake, a pool of two is
//! empty most of the time. So it has as many as were claimed within the last minute, at least its `size` and at most its
//! `max`.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use wisp_api::WarmPoolSpec;

/// A burst is over when nobody claimed anything for this long.
const BURST: Duration = Duration::from_secs(60);

/// Claims of the last minute, by pool.
#[derive(Debug, Default)]
pub struct Surges(Mutex<HashMap<String, VecDeque<Instant>>>);

/// What a pool should have for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Warm instances.
    pub instances: usize,
    /// How long that holds at most.
    pub lasts: Option<Duration>,
}

impl Surges {
    /// This many instances of `pool` were claimed; how many it should have now.
    pub fn claimed(&self, pool: &str, count: usize, spec: &WarmPoolSpec) -> Wanted {
        let now = Instant::now();
        let mut pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let claims = pools.entry(pool.to_owned()).or_default();
        claims.extend(std::iter::repeat_n(now, count));
        let (size, max) = (spec.size as usize, spec.max.max(spec.size) as usize);
        // More than there may be says no more.
        while claims.len() > max || claims.front().is_some_and(|at| now.duration_since(*at) >= BURST) {
            claims.pop_front();
        }
        let instances = claims.len().max(size);
        let lasts = claims.front().filter(|_| instances > size).map(|at| BURST - now.duration_since(*at));
        let wanted = Wanted { instances, lasts };
        if claims.is_empty() {
            pools.remove(pool);
        }
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pool_grows_with_a_burst_up_to_its_max_and_is_its_size_again_a_minute_later() {
        let (surges, spec) = (Surges::default(), WarmPoolSpec { size: 2, max: 5, ..WarmPoolSpec::default() });
        let claimed = |count| surges.claimed("shop/default", count, &spec);
        assert_eq!(claimed(2), Wanted { instances: 2, lasts: None }, "it is made for that many");
        assert_eq!(claimed(2), Wanted { instances: 4, lasts: Some(BURST) });
        tokio::time::advance(BURST / 2).await;
        assert_eq!(claimed(3), Wanted { instances: 5, lasts: Some(BURST / 2) });
        tokio::time::advance(BURST / 2).await;
        assert_eq!(claimed(0), Wanted { instances: 3, lasts: Some(BURST / 2) });
        tokio::time::advance(BURST / 2).await;
        assert_eq!(claimed(0), Wanted { instances: 2, lasts: None });
        assert!(surges.0.lock().unwrap().is_empty());
    }

    #[test]
    fn a_max_below_the_size_is_no_surge() {
        let (surges, spec) = (Surges::default(), WarmPoolSpec { size: 3, max: 1, ..WarmPoolSpec::default() });
        assert_eq!(surges.claimed("shop/default", 9, &spec), Wanted { instances: 3, lasts: None });
    }
}
