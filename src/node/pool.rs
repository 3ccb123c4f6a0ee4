//! One pool of slots. r2d2 keeps the slots; a slot may or may not hold an open connection.
//!
//! r2d2 makes its connections in the background and retries there, which hides the cause and storms a server that
//! comes back. So what it makes here is an empty slot, which cannot fail; the caller who gets the slot opens the
//! connection, under its own deadline.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use scheduled_thread_pool::ScheduledThreadPool;

use crate::clock::Moment;
use crate::error::{Error, ErrorKind, Result};
use crate::fork::lock;
use crate::node::leases::Leases;
use crate::node::permits::Permits;
use crate::transport::Connection;

/// A place for one connection.
pub(crate) struct Slot {
    /// Boxed: it leaves the slot and comes back with every call.
    pub(crate) connection: Option<Box<Connection>>,
    /// The node's generation when the connection was opened.
    pub(crate) generation: u64,
    /// When it is to be replaced, however healthy it is.
    pub(crate) expires: Option<Moment>,
    /// When it was opened, or the last call on it ended.
    pub(crate) used: Moment,
}

impl Slot {
    pub(crate) fn empty() -> Slot {
        Slot {
            connection: None,
            generation: 0,
            expires: None,
            used: Moment::now(),
        }
    }

    pub(crate) fn close(&mut self, counters: &PoolCounters) {
        if self.connection.take().is_some() {
            counters.closed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether it may be used at this moment, by its age and its node's generation.
    pub(crate) fn is_current(&self, generation: u64, now: Moment) -> bool {
        self.generation == generation && self.expires.is_none_or(|end| now < end)
    }

    pub(crate) fn idle_for(&self, now: Moment) -> Duration {
        now.since(self.used)
    }
}

/// What r2d2 asks for slots.
pub(crate) struct Slots;

impl r2d2::ManageConnection for Slots {
    type Connection = Slot;
    type Error = Infallible;

    fn connect(&self) -> std::result::Result<Slot, Infallible> {
        Ok(Slot::empty())
    }

    fn is_valid(&self, _: &mut Slot) -> std::result::Result<(), Infallible> {
        Ok(())
    }

    /// Never: a slot whose connection broke is an empty slot, and as good as new.
    fn has_broken(&self, _: &mut Slot) -> bool {
        false
    }
}

pub(crate) type HeldSlot = r2d2::PooledConnection<Slots>;

/// A slot out of its pool, and which pool of its node that is.
pub(crate) type Taken = (usize, HeldSlot);

/// Connections of a pool, or of a shared line.
#[derive(Default)]
pub(crate) struct PoolCounters {
    pub(crate) opened: AtomicU64,
    pub(crate) closed: AtomicU64,
}

impl PoolCounters {
    /// How many are open at this moment.
    pub(crate) fn open(&self) -> u64 {
        let closed = self.closed.load(Ordering::Relaxed);
        let opened = self.opened.load(Ordering::Relaxed);
        opened.saturating_sub(closed)
    }
}

/// What is out of its slot while a call lasts. A call that ends early, in an error or a panic, closes it, and that is
/// counted.
pub(crate) struct Out<'a, T> {
    it: Option<T>,
    counters: &'a PoolCounters,
}

impl<'a, T> Out<'a, T> {
    pub(crate) fn new(it: T, counters: &'a PoolCounters) -> Out<'a, T> {
        let it = Some(it);
        Out { it, counters }
    }

    pub(crate) fn get(&mut self) -> &mut T {
        self.it.as_mut().expect("taken only at the end")
    }

    /// All went well.
    pub(crate) fn back(mut self) -> T {
        self.it.take().expect("taken only at the end")
    }
}

impl<T> Drop for Out<'_, T> {
    fn drop(&mut self) {
        if self.it.take().is_some() {
            self.counters.closed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

pub(crate) struct Pool {
    slots: r2d2::Pool<Slots>,
    /// Held whenever r2d2 is called, so that nobody ever waits for the lock inside it, which a fork would not survive
    /// (see `fork::lock`).
    gate: Mutex<()>,
    /// One for each slot of each pool of the node: whoever holds one finds a slot in one of them.
    permits: Arc<Permits<Taken>>,
    in_use: AtomicUsize,
    pub(crate) leases: Leases,
    pub(crate) size: usize,
    pub(crate) counters: PoolCounters,
}

/// Slots are made empty, in microseconds; the limit is for a machine that is out of breath.
const TO_MAKE_THEM: Duration = Duration::from_secs(5);

impl Pool {
    pub(crate) fn new(
        size: usize,
        permits: &Arc<Permits<Taken>>,
        threads: &Arc<ScheduledThreadPool>,
    ) -> Result<Pool> {
        let slots = r2d2::Pool::builder()
            .max_size(size as u32)
            .min_idle(None)
            .test_on_check_out(false)
            .max_lifetime(None)
            .idle_timeout(None)
            .connection_timeout(TO_MAKE_THEM)
            .thread_pool(threads.clone())
            .build(Slots)
            .map_err(|error| {
                Error::new(ErrorKind::System, "the pool's slots could not be made").caused_by(error)
            })?;
        Ok(Pool {
            slots,
            gate: Mutex::new(()),
            permits: permits.clone(),
            in_use: AtomicUsize::new(0),
            leases: Leases::default(),
            size,
            counters: PoolCounters::default(),
        })
    }

    /// A slot of this pool, if it has one left, for one who holds a permit.
    pub(crate) fn take(&self) -> Option<HeldSlot> {
        let _gate = lock(&self.gate);
        let slot = self.slots.try_get()?;
        self.in_use.fetch_add(1, Ordering::Relaxed);
        Some(slot)
    }

    pub(crate) fn in_use(&self) -> usize {
        self.in_use.load(Ordering::Relaxed)
    }

    /// Gives a slot back, and then its permit: whoever gets that must find the slot.
    pub(crate) fn give_back(&self, slot: HeldSlot) {
        let gate = lock(&self.gate);
        drop(slot);
        drop(gate);
        self.in_use.fetch_sub(1, Ordering::Relaxed);
        self.permits.release();
    }

    /// Closes the idle connections that `stale` picks, without disturbing the order of the others.
    pub(crate) fn sweep(&self, stale: impl Fn(&Slot) -> bool) {
        let mut held = Vec::new();
        while held.len() < self.size && self.permits.try_acquire() {
            match self.take() {
                Some(mut slot) => {
                    if stale(&slot) {
                        slot.close(&self.counters);
                    }
                    held.push(slot);
                }
                None => {
                    self.permits.release();
                    break;
                }
            }
        }
        // r2d2 hands out the slot that came back last. Given back in reverse, the warmest one is on top again.
        while let Some(slot) = held.pop() {
            self.give_back(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn whatever_ends_a_call_early_is_counted_as_one_connection_less() {
        let counters = PoolCounters::default();
        counters.opened.store(3, Ordering::Relaxed);
        assert_eq!(Out::new(7, &counters).back(), 7);
        assert_eq!(counters.open(), 3);
        drop(Out::new(7, &counters));
        assert_eq!(counters.open(), 2);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _out = Out::new(7, &counters);
            panic!("on purpose");
        }));
        assert!(panicked.is_err());
        assert_eq!(counters.open(), 1);
    }
}
