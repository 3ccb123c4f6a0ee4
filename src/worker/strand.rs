//! Jobs that keep their order on a crew whose threads know none.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use crate::error::Result;
use crate::fork::lock;
use crate::worker::crew::{Crew, Job, run};

/// So many jobs of one strand run before others in the crew's queue have their turn.
const TURN: usize = 64;

/// Jobs that are begun in the order in which they came, one at a time (or `width` at a time), on whichever thread of
/// the crew is free. A clone is the same strand.
#[derive(Clone)]
pub(crate) struct Strand {
    crew: Arc<Crew>,
    line: Arc<Line>,
}

struct Line {
    width: usize,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Job>,
    /// Threads of the crew that are at it, or will be.
    running: usize,
}

impl Strand {
    /// A width of 1 keeps everything in order.
    pub(crate) fn new(crew: Arc<Crew>, width: usize) -> Strand {
        let width = width.max(1);
        let queue = Mutex::default();
        Strand {
            crew,
            line: Arc::new(Line { width, queue }),
        }
    }

    /// Appends a job. An error says that the crew has ended, or could not be started: the job is dropped.
    pub(crate) fn push(&self, job: Job) -> Result<()> {
        {
            let mut queue = lock(&self.line.queue);
            queue.waiting.push_back(job);
            if queue.running == self.line.width {
                return Ok(());
            }
            queue.running += 1;
        }
        self.hand_over().inspect_err(|_| {
            let dropped = {
                let mut queue = lock(&self.line.queue);
                queue.running -= 1;
                match queue.running {
                    0 => std::mem::take(&mut queue.waiting),
                    // Somebody else is at it, and will come to this job too.
                    _ => VecDeque::new(),
                }
            };
            drop(dropped);
        })
    }

    fn hand_over(&self) -> Result<()> {
        let strand = self.clone();
        self.crew.submit(Box::new(move || strand.work()))
    }

    fn work(self) {
        for _ in 0..TURN {
            let job = {
                let mut queue = lock(&self.line.queue);
                let Some(job) = queue.waiting.pop_front() else {
                    queue.running -= 1;
                    return;
                };
                job
            };
            run(job);
        }
        if self.hand_over().is_err() {
            lock(&self.line.queue).running -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use crate::clock::Deadline;

    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn a_strand_keeps_its_order_on_many_threads() {
        let crew = Arc::new(Crew::new(4));
        let strands: Vec<Strand> = (0..3).map(|_| Strand::new(crew.clone(), 1)).collect();
        let (done, told) = channel();
        for i in 0..3_000 {
            let done = done.clone();
            let job = move || done.send((i % 3, i)).unwrap();
            strands[i % 3].push(Box::new(job)).unwrap();
        }
        let mut last = [None; 3];
        for _ in 0..3_000 {
            let (strand, i) = told.recv_timeout(LONG).unwrap();
            assert!(last[strand] < Some(i));
            last[strand] = Some(i);
        }
        assert!(crew.close(Deadline::after(LONG)));
    }

    #[test]
    fn as_many_run_at_a_time_as_the_strand_is_wide() {
        let crew = Arc::new(Crew::new(4));
        let strand = Strand::new(crew.clone(), 2);
        let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (done, told) = channel();
        for i in 0..200 {
            let (inside, most, done) = (inside.clone(), most.clone(), done.clone());
            let job = move || {
                most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::yield_now();
                inside.fetch_sub(1, Ordering::SeqCst);
                done.send(()).unwrap();
                assert!(i % 50 != 0, "a panic changes nothing");
            };
            strand.push(Box::new(job)).unwrap();
        }
        for _ in 0..200 {
            told.recv_timeout(LONG).unwrap();
        }
        assert!(most.load(Ordering::SeqCst) <= 2);
        assert!(crew.close(Deadline::after(LONG)));
        assert!(strand.push(Box::new(|| ())).is_err());
        assert!(lock(&strand.line.queue).waiting.is_empty());
    }
}
