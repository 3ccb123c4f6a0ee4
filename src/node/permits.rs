//! The queue before a node's pools: one permit for each slot, first come, first served.
//!
//! A permit that comes back goes to whoever has waited longest, and is never put up for grabs: with r2d2's own wait
//! the slowest of 64 callers waited four times as long. Where somebody waits, the slot itself goes along, so that it
//! need not go into its pool and out again.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, Thread};

use crate::clock::{Deadline, Moment};
use crate::fork::lock;
use crate::stats::Times;

/// How waiting for a permit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry<T> {
    /// With what its last holder handed over; without, it is for the taker to find.
    Granted(Option<T>),
    TimedOut,
    Closed,
}

const WAITING: u8 = 0;
const GRANTED: u8 = 1;
const TURNED_AWAY: u8 = 2;

struct Waiter<T> {
    state: AtomicU8,
    gift: Mutex<Option<T>>,
    thread: Thread,
}

impl<T> Waiter<T> {
    /// Under the lock of the queue, out of which it was taken: whoever gives up looks there, and then here.
    fn decide(&self, state: u8) {
        self.state.store(state, Ordering::Release);
    }

    fn granted(&self) -> Entry<T> {
        Entry::Granted(lock(&self.gift).take())
    }
}

struct State<T> {
    free: usize,
    queue: VecDeque<Arc<Waiter<T>>>,
    closed: bool,
}

pub(crate) struct Permits<T> {
    state: Mutex<State<T>>,
    /// The length of the queue, for a look without the lock.
    waiting: AtomicUsize,
    /// How long those waited who did, whatever came of it.
    pub(crate) waits: Times,
}

impl<T> Permits<T> {
    pub(crate) fn new(count: usize) -> Permits<T> {
        Permits {
            state: Mutex::new(State {
                free: count,
                queue: VecDeque::new(),
                closed: false,
            }),
            waiting: AtomicUsize::new(0),
            waits: Times::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        lock(&self.state)
    }

    fn note(&self, state: &State<T>) {
        self.waiting.store(state.queue.len(), Ordering::Relaxed);
    }

    pub(crate) fn try_acquire(&self) -> bool {
        let mut state = self.state();
        let granted = state.free > 0 && !state.closed;
        state.free -= usize::from(granted);
        granted
    }

    pub(crate) fn acquire(&self, deadline: Deadline) -> Entry<T> {
        let me = {
            let mut state = self.state();
            if state.closed {
                return Entry::Closed;
            }
            // Permits are free only while nobody waits: release() hands over directly.
            if state.free > 0 {
                state.free -= 1;
                return Entry::Granted(None);
            }
            let me = Arc::new(Waiter {
                state: AtomicU8::new(WAITING),
                gift: Mutex::new(None),
                thread: thread::current(),
            });
            state.queue.push_back(me.clone());
            self.note(&state);
            me
        };
        let began = Moment::now();
        let entry = self.wait(&me, deadline);
        self.waits.took(began.elapsed());
        entry
    }

    fn wait(&self, me: &Arc<Waiter<T>>, deadline: Deadline) -> Entry<T> {
        loop {
            match me.state.load(Ordering::Acquire) {
                GRANTED => return me.granted(),
                TURNED_AWAY => return Entry::Closed,
                _ => {}
            }
            match deadline.remaining() {
                Some(left) => thread::park_timeout(left),
                None => return self.give_up(me),
            }
        }
    }

    /// Leaves the queue, unless the permit was granted in the very last moment.
    fn give_up(&self, me: &Arc<Waiter<T>>) -> Entry<T> {
        let mut state = self.state();
        match me.state.load(Ordering::Acquire) {
            GRANTED => me.granted(),
            TURNED_AWAY => Entry::Closed,
            _ => {
                state.queue.retain(|waiter| !Arc::ptr_eq(waiter, me));
                self.note(&state);
                Entry::TimedOut
            }
        }
    }

    /// Gives the permit, and what it stands for, to whoever waits; back to the caller if nobody does.
    pub(crate) fn hand_over(&self, gift: T) -> Result<(), T> {
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return Err(gift);
        }
        let next = {
            let mut state = self.state();
            let Some(waiter) = state.queue.pop_front() else {
                return Err(gift);
            };
            self.note(&state);
            *lock(&waiter.gift) = Some(gift);
            waiter.decide(GRANTED);
            waiter
        };
        next.thread.unpark();
        Ok(())
    }

    pub(crate) fn release(&self) {
        let next = {
            let mut state = self.state();
            let next = state.queue.pop_front();
            match &next {
                None => state.free += 1,
                Some(waiter) => {
                    self.note(&state);
                    waiter.decide(GRANTED);
                }
            }
            next
        };
        if let Some(waiter) = next {
            waiter.thread.unpark();
        }
    }

    /// Turns everybody away who waits, and who comes until `reopen`. Permits that are out stay out.
    pub(crate) fn close(&self) {
        let waiting = {
            let mut state = self.state();
            state.closed = true;
            let waiting = std::mem::take(&mut state.queue);
            self.note(&state);
            waiting.iter().for_each(|waiter| waiter.decide(TURNED_AWAY));
            waiting
        };
        for waiter in waiting {
            waiter.thread.unpark();
        }
    }

    pub(crate) fn reopen(&self) {
        self.state().closed = false;
    }

    /// How many are free, and how many callers wait.
    pub(crate) fn count(&self) -> (usize, usize) {
        let state = self.state();
        (state.free, state.queue.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn after(ms: u64) -> Deadline {
        Deadline::after(Duration::from_millis(ms))
    }

    fn wait_for_queue(permits: &Permits<u32>, length: usize) {
        while permits.count().1 != length {
            thread::yield_now();
        }
    }

    #[test]
    fn first_come_first_served() {
        let permits = Arc::new(Permits::<u32>::new(1));
        assert!(permits.try_acquire());
        let order = Arc::new(Mutex::new(Vec::new()));
        let threads: Vec<_> = (0..8)
            .map(|i| {
                let (shared, order) = (permits.clone(), order.clone());
                let thread = thread::spawn(move || {
                    assert_eq!(shared.acquire(after(10_000)), Entry::Granted(None));
                    order.lock().unwrap().push(i);
                    shared.release();
                });
                wait_for_queue(&permits, i + 1);
                thread
            })
            .collect();
        permits.release();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(*order.lock().unwrap(), (0..8).collect::<Vec<_>>());
        assert_eq!(permits.count(), (1, 0));
    }

    #[test]
    fn a_waiter_that_gives_up_takes_nothing_along() {
        let permits = Permits::<u32>::new(1);
        assert!(permits.try_acquire());
        assert_eq!(permits.acquire(after(20)), Entry::TimedOut);
        assert_eq!(permits.count(), (0, 0));
        permits.release();
        assert_eq!(permits.count(), (1, 0));
    }

    #[test]
    fn closing_wakes_everybody() {
        let permits = Arc::new(Permits::<u32>::new(0));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let permits = permits.clone();
                thread::spawn(move || permits.acquire(Deadline::never()))
            })
            .collect();
        wait_for_queue(&permits, 4);
        permits.close();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), Entry::Closed);
        }
        assert_eq!(permits.acquire(after(1000)), Entry::Closed);
        permits.reopen();
        permits.release();
        assert_eq!(permits.acquire(after(1000)), Entry::Granted(None));
    }

    #[test]
    fn no_permit_is_lost_or_made_under_load() {
        let permits = Arc::new(Permits::<u32>::new(3));
        let inside = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let threads: Vec<_> = (0..16)
            .map(|i| {
                let (permits, inside) = (permits.clone(), inside.clone());
                thread::spawn(move || {
                    for round in 0..300 {
                        // Some give up at once, so that the last-moment grant is met as well.
                        let patience = if (i + round) % 3 == 0 { 0 } else { 10_000 };
                        if permits.acquire(after(patience)) == Entry::Granted(None) {
                            assert!(inside.fetch_add(1, Ordering::SeqCst) < 3);
                            thread::yield_now();
                            inside.fetch_sub(1, Ordering::SeqCst);
                            permits.release();
                        }
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(permits.count(), (3, 0));
    }

    #[test]
    fn what_is_handed_over_reaches_whoever_has_waited_longest() {
        let permits = Arc::new(Permits::<u32>::new(1));
        assert_eq!(permits.hand_over(7), Err(7));
        assert!(permits.try_acquire());
        let threads: Vec<_> = (0..3)
            .map(|i| {
                let shared = permits.clone();
                let thread = thread::spawn(move || shared.acquire(after(10_000)));
                wait_for_queue(&permits, i + 1);
                thread
            })
            .collect();
        for gift in 0..3 {
            assert_eq!(permits.hand_over(gift), Ok(()));
        }
        for (i, thread) in threads.into_iter().enumerate() {
            assert_eq!(thread.join().unwrap(), Entry::Granted(Some(i as u32)));
        }
        assert_eq!(permits.hand_over(9), Err(9));
        assert_eq!(permits.count(), (0, 0));
    }
}
