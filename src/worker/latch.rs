//! Waiting for the one moment after which nothing is as before.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Deadline;
use crate::fork::lock;

/// A door that opens once, and that can be waited for.
#[derive(Default)]
pub(crate) struct Latch {
    open: AtomicBool,
    lock: Mutex<()>,
    opened: Condvar,
}

impl Latch {
    pub(crate) fn open(&self) {
        // Under the lock, or a waiter might look just before and fall asleep just after.
        let _guard = lock(&self.lock);
        self.open.store(true, Ordering::Release);
        self.opened.notify_all();
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Waits until the latch is open, at most until the deadline. True if it is open.
    pub(crate) fn wait(&self, deadline: Deadline) -> bool {
        let mut guard = lock(&self.lock);
        while !self.is_open() {
            let Some(left) = deadline.remaining() else {
                return false;
            };
            guard = self
                .opened
                .wait_timeout(guard, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    pub(crate) fn wait_for_ever(&self) {
        while !self.wait(Deadline::never()) {}
    }

    /// Sleeps for `time`, or until the latch opens. True if it is open.
    pub(crate) fn sleep(&self, time: Duration) -> bool {
        self.wait(Deadline::after(time))
    }
}
