//! Background threads: named, told to stop by a latch, joined by a deadline.
//!
//! `Crew` is the pool of those that run users' handlers, and `Strand` keeps an order on it.

mod crew;
mod strand;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::clock::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::fork::{self, lock};
use crate::sys;

pub(crate) use crew::{Crew, Job, run};
pub(crate) use strand::Strand;

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

/// Opens its latch when the thread ends, however it ends.
struct Ended(Arc<Latch>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// A running background thread.
pub(crate) struct Worker {
    handle: Option<JoinHandle<()>>,
    /// Opens at its end.
    pub(crate) ended: Arc<Latch>,
}

impl Worker {
    /// Starts `body` in a thread of this name (at most 15 bytes, or the system cuts it).
    pub(crate) fn start(name: &str, body: impl FnOnce() + Send + 'static) -> Result<Worker> {
        let ended = Arc::new(Latch::default());
        let guard = Ended(ended.clone());
        let handle = fork::thread(name, move || {
            let _guard = guard;
            sys::block_signals();
            body();
        })
        .map_err(|error| {
            Error::new(ErrorKind::System, format!("no thread for {name}")).caused_by(error)
        })?;
        Ok(Worker {
            handle: Some(handle),
            ended,
        })
    }

    /// Waits for the thread's end; false if it still ran at the deadline and was left to itself. A thread never
    /// waits for itself.
    pub(crate) fn join(mut self, deadline: Deadline) -> bool {
        let handle = self.handle.take().expect("taken only here");
        if handle.thread().id() == thread::current().id() {
            return true;
        }
        // The panic of a thread has been reported by the panic hook; what counts here is that it is gone.
        self.ended.wait(deadline) && handle.join().map_or(true, |()| true)
    }
}
