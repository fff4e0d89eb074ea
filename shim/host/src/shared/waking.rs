//! Who is woken when the guest can go on: all of its requests. Each of them can drive it, but not each of them is polled
//! when it is woken: where a client reads slowly, its answer is not asked for more.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Wake, Waker};

/// The wakers of all members.
pub(super) struct Wakers {
    /// There is something to do that nobody has begun yet.
    due: AtomicBool,
    waiting: Mutex<Vec<(u64, Waker)>>,
}

impl Default for Wakers {
    fn default() -> Self {
        // The driver begins when it is first polled.
        Self { due: AtomicBool::new(true), waiting: Mutex::default() }
    }
}

impl Wakers {
    pub(super) fn is_due(&self) -> bool {
        self.due.load(SeqCst)
    }

    /// What was due until now is done by the poll that begins.
    pub(super) fn taken(&self) {
        self.due.store(false, SeqCst);
    }

    pub(super) fn register(&self, member: u64, waker: &Waker) {
        let mut waiting = self.waiting.lock().expect("no panic while held");
        match waiting.iter_mut().find(|(id, _)| *id == member) {
            Some((_, known)) => known.clone_from(waker),
            None => waiting.push((member, waker.clone())),
        }
    }

    /// Forgets a member, and wakes the others where it may have been about to drive, or one is left alone.
    pub(super) fn leave(&self, member: u64) {
        let mut waiting = self.waiting.lock().expect("no panic while held");
        waiting.retain(|(id, _)| *id != member);
        let alone = waiting.len() == 1;
        drop(waiting);
        if alone || self.is_due() {
            self.wake_all();
        }
    }

    pub(super) fn wake_all(&self) {
        self.waiting.lock().expect("no panic while held").iter().for_each(|(_, waker)| waker.wake_by_ref());
    }
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Where it was due before, all were woken then.
        if !self.due.swap(true, SeqCst) {
            self.wake_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn all_are_woken_once_until_one_drives_and_again_when_it_leaves_without() {
        let (wakers, counts) = (Arc::new(Wakers::default()), [(); 3].map(|()| Arc::new(Count::default())));
        wakers.taken();
        for (member, count) in counts.iter().enumerate() {
            wakers.register(member as u64, &Waker::from(Arc::clone(count)));
        }
        let woken = || counts.each_ref().map(|count| count.0.load(SeqCst));
        for _ in 0..2 {
            Waker::from(Arc::clone(&wakers)).wake();
        }
        assert!(wakers.is_due());
        assert_eq!(woken(), [1, 1, 1]);
        wakers.leave(0);
        assert_eq!(woken(), [1, 2, 2]);
        wakers.taken();
        wakers.leave(1);
        // The last one may have waited for being alone.
        assert_eq!(woken(), [1, 2, 3]);
    }
}
