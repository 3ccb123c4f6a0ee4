//! A lock in somebody's hands: until when, and what became of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, ThreadId};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::fork;
use crate::lock::line::Line;
use crate::lock::{Site, Terms};
use crate::sys;

pub(crate) struct Hold {
    pub(crate) terms: Arc<Terms>,
    pub(crate) site: Site,
    pub(crate) line: Arc<Line>,
    pub(crate) token: String,
    pub(crate) fence: i64,
    /// The guards that stand for it: more than one if it was taken again by its own thread.
    pub(crate) guards: AtomicUsize,
    generation: u64,
    thread: ThreadId,
    /// When it was asked for, by the clock that goes on in sleep, in nanoseconds.
    since: u64,
    /// Until when it is ours at least, by the same clock.
    until: AtomicU64,
    fate: AtomicU8,
}

const OURS: u8 = 0;
const RELEASED: u8 = 1;
const LOST: u8 = 2;

/// A moment by the clock that counts leases: nanoseconds since the machine was started.
pub(crate) fn now() -> u64 {
    nanos(sys::uptime())
}

pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Hold {
    /// `asked`: the moment before the server was asked, from which the lease counts.
    pub(crate) fn new(
        site: &Site,
        terms: &Arc<Terms>,
        line: &Arc<Line>,
        token: String,
        fence: i64,
        asked: u64,
    ) -> Arc<Hold> {
        Arc::new(Hold {
            until: AtomicU64::new(asked.saturating_add(nanos(terms.first_lease()))),
            terms: terms.clone(),
            site: site.clone(),
            line: line.clone(),
            token,
            fence,
            guards: AtomicUsize::new(1),
            generation: fork::generation(),
            thread: thread::current().id(),
            since: asked,
            fate: AtomicU8::new(OURS),
        })
    }

    pub(crate) fn is_held(&self) -> bool {
        self.generation == fork::generation()
            && self.fate.load(Ordering::Acquire) == OURS
            && now() < self.until()
    }

    pub(crate) fn until(&self) -> u64 {
        self.until.load(Ordering::Acquire)
    }

    /// A guard stays its process's own: in a fork of that one, nothing may be done with it.
    pub(crate) fn usable(&self) -> Result<()> {
        match self.is_foreign() {
            false => Ok(()),
            true => Err(Error::new(
                ErrorKind::Closed,
                "this lock belongs to the process that acquired it, and this is a fork of that one",
            )),
        }
    }

    pub(crate) fn is_foreign(&self) -> bool {
        self.generation != fork::generation()
    }

    pub(crate) fn is_of_this_thread(&self) -> bool {
        self.thread == thread::current().id()
    }

    /// Whether it may be held for longer than until now is certain.
    pub(crate) fn may_renew(&self) -> bool {
        let longer = |most| self.until().saturating_add(MILLISECOND) < self.end_of(most);
        self.terms.renew && self.terms.max_hold.is_none_or(longer)
    }

    /// The lease to ask for next; none if it may be held no longer.
    pub(crate) fn next_lease(&self, asked: u64) -> Option<Duration> {
        let left = self
            .terms
            .max_hold
            .map_or(u64::MAX, |most| self.end_of(most).saturating_sub(asked));
        let lease = self.terms.lease.min(Duration::from_nanos(left));
        (self.may_renew() && lease >= Duration::from_millis(1)).then_some(lease)
    }

    fn end_of(&self, most: Duration) -> u64 {
        self.since.saturating_add(nanos(most))
    }

    pub(crate) fn renewed(&self, asked: u64, lease: Duration) {
        self.until
            .fetch_max(asked.saturating_add(nanos(lease)), Ordering::AcqRel);
    }

    /// From here on it is its user's no more; true for the first who says so.
    pub(crate) fn released(&self) -> bool {
        self.end(RELEASED)
    }

    pub(crate) fn lost(&self) -> bool {
        self.end(LOST)
    }

    fn end(&self, how: u8) -> bool {
        self.fate
            .compare_exchange(OURS, how, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}

const MILLISECOND: u64 = 1_000_000;
