//! The threads that run the handlers of users: a few for each manager, started with the first job.
//!
//! ```text
//!  submit ──> channel ──> redkeep-work-1     whoever is free takes the next job
//!                    └──> redkeep-work-2
//! ```
//!
//! Nothing that others rely on runs here: a handler may block for as long as it likes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::clock::{Deadline, tell};
use crate::error::{Error, Result};
use crate::fork::lock;
use crate::worker::{Latch, Worker};

pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// A pool of worker threads. In a forked child it is made anew, like everything of a manager's.
pub(crate) struct Crew {
    size: usize,
    state: Mutex<State>,
    closing: std::sync::Arc<Latch>,
}

#[derive(Default)]
struct State {
    jobs: Option<Sender<Job>>,
    threads: Vec<Worker>,
}

impl Crew {
    /// Of `size` threads, none of which is started before there is a job.
    pub(crate) fn new(size: usize) -> Crew {
        Crew {
            size: size.max(1),
            state: Mutex::default(),
            closing: std::sync::Arc::default(),
        }
    }

    /// Hands a job to whichever thread is free next. What is submitted at the end, and not begun, is dropped.
    pub(crate) fn submit(&self, job: Job) -> Result<()> {
        let jobs = self.jobs()?;
        jobs.send(job).map_err(|_| Error::closed())
    }

    /// The way to the threads, which are started if they are not there yet.
    fn jobs(&self) -> Result<Sender<Job>> {
        let mut state = lock(&self.state);
        if self.closing.is_open() {
            return Err(Error::closed());
        }
        if let Some(jobs) = &state.jobs {
            return Ok(jobs.clone());
        }
        let (jobs, inbox) = unbounded();
        let mut fewer = None;
        for number in 1..=self.size {
            let (inbox, closing) = (inbox.clone(), self.closing.clone());
            let work = move || work(&inbox, &closing);
            match Worker::start(&format!("redkeep-work-{number}"), work) {
                Ok(thread) => state.threads.push(thread),
                // Fewer than wished for do as well; none does not.
                Err(error) if number == 1 => return Err(error),
                Err(error) => {
                    fewer = Some((number - 1, error));
                    break;
                }
            }
        }
        state.jobs = Some(jobs.clone());
        drop(state);
        // Whoever listens to the log is called without a lock.
        if let Some((count, error)) = fewer {
            tell!(Warn, "{count} of {} workers: {error}", self.size);
        }
        Ok(jobs)
    }

    /// Lets the jobs under way end, drops the others, and waits for the threads; false if one of them still ran at
    /// the deadline. Called on one of them, it does not wait for that one.
    pub(crate) fn close(&self, deadline: Deadline) -> bool {
        let state = {
            let mut state = lock(&self.state);
            self.closing.open();
            std::mem::take(&mut *state)
        };
        // What it holds is dropped without the lock. Without a sender, the threads see the end of the channel.
        drop(state.jobs);
        let joined = state
            .threads
            .into_iter()
            .map(|thread| thread.join(deadline));
        joined.filter(|ended| !ended).count() == 0
    }
}

fn work(inbox: &Receiver<Job>, closing: &Latch) {
    for job in inbox {
        match closing.is_open() {
            true => drop(job),
            false => run(job),
        }
    }
}

/// Runs a job of a user's; a panic of it ends here.
pub(crate) fn run(job: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(job)) {
        // Its text may hold values, which have no business in the log; the panic hook has printed it anyway.
        tell!(Error, "a handler panicked; its thread goes on");
        // Dropping what was thrown could throw again.
        std::mem::forget(panic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn no_thread_is_started_before_the_first_job() {
        let crew = Crew::new(3);
        assert!(lock(&crew.state).threads.is_empty());
        let (done, told) = channel();
        let name = move || done.send(std::thread::current().name().map(str::to_owned));
        crew.submit(Box::new(move || name().unwrap())).unwrap();
        let name = told.recv_timeout(LONG).unwrap().unwrap();
        assert!(name.starts_with("redkeep-work-"), "{name}");
        assert_eq!(lock(&crew.state).threads.len(), 3);
        assert!(crew.close(Deadline::after(LONG)));
    }

    #[test]
    fn a_panic_ends_its_job_and_nothing_else() {
        let crew = Crew::new(1);
        crew.submit(Box::new(|| panic!("on purpose"))).unwrap();
        let (done, told) = channel();
        crew.submit(Box::new(move || done.send(()).unwrap()))
            .unwrap();
        told.recv_timeout(LONG).unwrap();
        assert!(crew.close(Deadline::after(LONG)));
    }

    #[test]
    fn close_waits_for_the_job_under_way_and_drops_the_rest() {
        let crew = Arc::new(Crew::new(1));
        let ((begun, has_begun), (go, may_go)) = (channel(), channel::<()>());
        crew.submit(Box::new(move || {
            begun.send(()).unwrap();
            may_go.recv_timeout(LONG).unwrap();
        }))
        .unwrap();
        has_begun.recv_timeout(LONG).unwrap();
        let (never, told) = channel::<()>();
        crew.submit(Box::new(move || never.send(()).unwrap()))
            .unwrap();
        assert!(!crew.close(Deadline::after(Duration::from_millis(20))));
        assert!(crew.submit(Box::new(|| ())).is_err());
        go.send(()).unwrap();
        assert!(told.recv_timeout(LONG).is_err(), "it was not begun");
    }

    #[test]
    fn a_worker_can_close_its_own_crew() {
        let crew = Arc::new(Crew::new(2));
        let (done, told) = channel();
        let mine = crew.clone();
        crew.submit(Box::new(move || {
            done.send(mine.close(Deadline::after(LONG))).unwrap();
        }))
        .unwrap();
        assert!(told.recv_timeout(LONG).unwrap());
    }
}
