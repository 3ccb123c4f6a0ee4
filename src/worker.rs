//! Background threads: named, told to stop by a latch, joined by a deadline.
//!
//! `Crew` is the pool of those that run users' handlers, and `Strand` keeps an order on it.

mod crew;
mod latch;
mod strand;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use crate::clock::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::fork;
use crate::sys;

pub(crate) use crew::{Crew, Job, run};
pub(crate) use latch::Latch;
pub(crate) use strand::Strand;

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

/// A number of this thread's own, whoever started it: by it, threads divide themselves among things of which there are
/// several.
pub(crate) fn number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: Cell<Option<usize>> = const { Cell::new(None) };
    }
    let mine = MINE.try_with(Cell::get).ok().flatten();
    mine.unwrap_or_else(|| {
        let mine = NEXT.fetch_add(1, Ordering::Relaxed);
        let _ = MINE.try_with(|place| place.set(Some(mine)));
        mine
    })
}
