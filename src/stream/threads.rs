//! The threads that features keep for themselves: readers, watchdogs. The manager joins them at its end.

use std::sync::{Arc, Mutex};

use crate::clock::Deadline;
use crate::error::{Error, Result};
use crate::fork::lock;
use crate::worker::{Latch, Worker};

#[derive(Default)]
pub(crate) struct Roster {
    threads: Mutex<Threads>,
}

#[derive(Default)]
struct Threads {
    running: Vec<Kept>,
    closed: bool,
}

struct Kept {
    thread: Worker,
    /// What tells it to end, if it needs to be told.
    stop: Option<Arc<Latch>>,
}

impl Roster {
    /// Starts a thread (its name has at most 15 bytes) and returns the latch that opens at its end. `body` must end
    /// soon after the manager begins to close.
    pub(crate) fn start(
        &self,
        name: &str,
        body: impl FnOnce() + Send + 'static,
    ) -> Result<Arc<Latch>> {
        self.keep(name, None, body)
    }

    /// The same for a thread that ends when `stop` opens, which close() does too.
    pub(crate) fn start_until(
        &self,
        stop: &Arc<Latch>,
        name: &str,
        body: impl FnOnce() + Send + 'static,
    ) -> Result<Arc<Latch>> {
        self.keep(name, Some(stop.clone()), body)
    }

    fn keep(
        &self,
        name: &str,
        stop: Option<Arc<Latch>>,
        body: impl FnOnce() + Send + 'static,
    ) -> Result<Arc<Latch>> {
        let mut threads = lock(&self.threads);
        if threads.closed {
            return Err(Error::closed());
        }
        threads.running.retain(|kept| !kept.thread.ended.is_open());
        let thread = Worker::start(name, body)?;
        let ended = thread.ended.clone();
        threads.running.push(Kept { thread, stop });
        Ok(ended)
    }

    /// Waits for all of them, and lets no other begin; false if one still ran at the deadline. Called on one of them,
    /// it does not wait for that one.
    pub(crate) fn close(&self, deadline: Deadline) -> bool {
        let running = {
            let mut threads = lock(&self.threads);
            threads.closed = true;
            std::mem::take(&mut threads.running)
        };
        // All are told before the first is waited for.
        for stop in running.iter().filter_map(|kept| kept.stop.as_ref()) {
            stop.open();
        }
        let joined = running.into_iter().map(|kept| kept.thread.join(deadline));
        joined.filter(|ended| !ended).count() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn the_roster_joins_whom_it_started() {
        let roster = Roster::default();
        let stop = Arc::new(Latch::default());
        let seen = stop.clone();
        let ended = roster
            .start("redkeep-test", move || seen.wait_for_ever())
            .unwrap();
        assert!(!roster.close(Deadline::after(Duration::from_millis(10))));
        assert!(roster.start("redkeep-test", || ()).is_err());
        stop.open();
        assert!(ended.wait(Deadline::after(LONG)));
    }

    #[test]
    fn whoever_waits_for_a_latch_is_told() {
        let roster = Roster::default();
        let stop = Arc::new(Latch::default());
        let seen = stop.clone();
        let body = move || seen.wait_for_ever();
        roster.start_until(&stop, "redkeep-test", body).unwrap();
        assert!(roster.close(Deadline::after(LONG)));
    }
}
