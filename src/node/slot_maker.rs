//! The thread in which r2d2 makes its slots: one for all managers of the process, gone with the last of them.
//!
//! It has work only while a pool is made, and r2d2 keeps it for ever. Left to itself it would wait inside parking_lot,
//! whose process-wide table then holds a node on this thread's stack. A forked child uses the stacks of the threads
//! that it did not inherit for its own: the table is corrupt, and waits in the child are never woken. So between two
//! pools the thread waits here, in a job that waits in std; and while it begins, works or ends, forks wait.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::Duration;

use scheduled_thread_pool::ScheduledThreadPool;

use crate::error::{Error, ErrorKind, Result};
use crate::fork::{self, lock};
use crate::sys;
use crate::worker::Latch;

#[derive(Default)]
pub(crate) struct SlotMaker {
    asleep: Mutex<Option<Asleep>>,
}

/// The thread, while it has nothing to do.
struct Asleep {
    /// There until it is dropped.
    threads: Option<Arc<ScheduledThreadPool>>,
    /// Ends the job in which the thread waits.
    wake: Arc<Latch>,
    /// Open when the thread is gone.
    ended: Arc<Latch>,
}

impl SlotMaker {
    /// The one that the process's other managers use, or a new one.
    pub(crate) fn shared() -> Arc<SlotMaker> {
        static SHARED: Mutex<Option<(u64, Weak<SlotMaker>)>> = Mutex::new(None);
        // A fork may find the lock held by a thread that it does not have; then it takes one of its own.
        let Ok(mut shared) = SHARED.try_lock() else {
            return Arc::default();
        };
        let running = match &*shared {
            Some((generation, maker)) if *generation == fork::generation() => maker.upgrade(),
            _ => None,
        };
        running.unwrap_or_else(|| {
            let maker = Arc::default();
            *shared = Some((fork::generation(), Arc::downgrade(&maker)));
            maker
        })
    }

    /// Runs `make` while the thread works, which is started for the first one.
    pub(crate) fn awake<T>(
        &self,
        make: impl FnOnce(&Arc<ScheduledThreadPool>) -> Result<T>,
    ) -> Result<T> {
        let mut asleep = lock(&self.asleep);
        fork::unforked(|| {
            let it = match &mut *asleep {
                Some(it) => {
                    it.wake.open();
                    it
                }
                none => none.insert(Asleep::start()?),
            };
            let threads = it.threads.as_ref().expect("taken only by drop");
            let made = make(threads);
            it.wake = go_to_sleep(threads);
            made
        })
    }
}

impl Asleep {
    /// A thread that is awake still.
    fn start() -> Result<Asleep> {
        // It panics where the system has no thread for it, so whether there is one is tried first: a panic, though
        // caught, would be printed, and would end a program that aborts on panics. Forks wait for the whole of it.
        let tried = thread::Builder::new().spawn(sys::block_signals);
        let _ = tried.map_err(|error| no_thread().caused_by(error))?.join();
        let threads = std::panic::catch_unwind(|| {
            ScheduledThreadPool::builder()
                .num_threads(1)
                .thread_name_pattern("redkeep-slots")
                .build()
        });
        let threads = threads.map_err(|_| no_thread())?;
        let ended = Arc::new(Latch::default());
        let told = Ended(ended.clone());
        threads.execute(move || ENDED.with(|place| *place.borrow_mut() = Some(told)));
        Ok(Asleep {
            threads: Some(Arc::new(threads)),
            wake: Arc::default(),
            ended,
        })
    }
}

impl Drop for Asleep {
    fn drop(&mut self) {
        fork::unforked(|| {
            self.threads = None;
            self.wake.open();
            self.ended.sleep(MOMENT);
        })
    }
}

fn no_thread() -> Error {
    Error::new(ErrorKind::System, "no thread for redkeep-slots")
}

/// Opens its latch when the thread ends in which it is kept.
struct Ended(Arc<Latch>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.open();
    }
}

thread_local! {
    static ENDED: RefCell<Option<Ended>> = const { RefCell::new(None) };
}

/// The thread needs far less; the limit is for a machine that is out of breath.
const MOMENT: Duration = Duration::from_secs(1);

/// Lets the thread sleep until the latch that comes back opens.
fn go_to_sleep(threads: &ScheduledThreadPool) -> Arc<Latch> {
    let wake = Arc::new(Latch::default());
    let there = Arc::new(Latch::default());
    let (until, told) = (wake.clone(), there.clone());
    threads.execute(move || {
        sys::block_signals();
        told.open();
        until.wait_for_ever();
    });
    there.sleep(MOMENT);
    wake
}
