//! The threads that features start as they need them: a consumer's readers, a subscriber's mover. They are told to end,
//! and joined, when the manager is closed.

use std::sync::{Arc, Mutex};

use crate::clock::Deadline;
use crate::dispatch::Dispatch;
use crate::error::{Error, Result};
use crate::fork::lock;
use crate::node::Resident;
use crate::worker::{Latch, Worker};

#[derive(Default)]
pub(crate) struct Threads(Mutex<All>);

#[derive(Default)]
struct All {
    running: Vec<Thread>,
    closed: bool,
}

struct Thread {
    worker: Worker,
    /// What tells it to end.
    stop: Arc<Latch>,
}

impl Threads {
    /// The manager's, in this process.
    pub(crate) fn of(dispatch: &Dispatch) -> Result<Arc<Threads>> {
        let residents = &dispatch.topology.fleet.residents;
        residents.get(|| Ok(Threads::default()))
    }

    /// Starts a thread (its name has at most 15 bytes) that ends when `stop` opens, which close() does too. Returns
    /// the latch that opens at its end.
    pub(crate) fn start(
        &self,
        stop: &Arc<Latch>,
        name: &str,
        body: impl FnOnce() + Send + 'static,
    ) -> Result<Arc<Latch>> {
        let mut all = lock(&self.0);
        if all.closed {
            return Err(Error::closed());
        }
        all.running.retain(|thread| !thread.worker.ended.is_open());
        let worker = Worker::start(name, body)?;
        let (ended, stop) = (worker.ended.clone(), stop.clone());
        all.running.push(Thread { worker, stop });
        Ok(ended)
    }
}

impl Resident for Threads {
    fn stop(&self) {
        let mut all = lock(&self.0);
        all.closed = true;
        all.running.iter().for_each(|thread| thread.stop.open());
    }

    fn join(&self, deadline: Deadline) -> bool {
        let running = std::mem::take(&mut lock(&self.0).running);
        let joined = running.into_iter().map(|one| one.worker.join(deadline));
        joined.filter(|ended| !ended).count() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn all_are_told_and_joined_and_no_other_begins() {
        let threads = Threads::default();
        let stop = Arc::new(Latch::default());
        let seen = stop.clone();
        let body = move || seen.wait_for_ever();
        let ended = threads.start(&stop, "redkeep-test", body).unwrap();
        assert!(!ended.is_open());
        threads.stop();
        assert!(threads.join(Deadline::after(LONG)));
        assert!(ended.is_open());
        assert!(threads.start(&stop, "redkeep-test", || ()).is_err());
    }

    #[test]
    fn one_that_does_not_end_is_left_to_itself_at_the_deadline() {
        let threads = Threads::default();
        let (stop, deaf) = (Arc::new(Latch::default()), Arc::new(Latch::default()));
        let seen = deaf.clone();
        let body = move || seen.wait_for_ever();
        let ended = threads.start(&stop, "redkeep-test", body).unwrap();
        threads.stop();
        assert!(!threads.join(Deadline::after(Duration::from_millis(10))));
        deaf.open();
        assert!(ended.wait(Deadline::after(LONG)));
    }
}
