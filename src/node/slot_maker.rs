//! The thread in which r2d2 makes its slots: one for all managers of the process, gone with the last of them.
//!
//! It has work only while a pool is made, and r2d2 keeps it for ever. Left to itself it would wait inside parking_lot,
//! whose process-wide table then holds a node on this thread's stack. A forked child uses the stacks of the threads
//! that it did not inherit for its own: the table is corrupt, and waits in the child are never woken. So between two
//! pools the thread waits here, in a job that waits in std.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use scheduled_thread_pool::ScheduledThreadPool;

use crate::error::{Error, ErrorKind, Result};
use crate::fork::{self, lock};
use crate::sys;
use crate::worker::Latch;

pub(crate) struct SlotMaker {
    threads: Arc<ScheduledThreadPool>,
    /// Ends the job in which the thread waits.
    wake: Mutex<Arc<Latch>>,
}

impl SlotMaker {
    /// The one that the process's other managers use, or a new one.
    pub(crate) fn shared() -> Result<Arc<SlotMaker>> {
        static SHARED: Mutex<Option<(u64, Weak<SlotMaker>)>> = Mutex::new(None);
        // A fork may find the lock held by a thread that it does not have; then it takes one of its own.
        let Ok(mut shared) = SHARED.try_lock() else {
            return SlotMaker::new();
        };
        let running = match &*shared {
            Some((generation, maker)) if *generation == fork::generation() => maker.upgrade(),
            _ => None,
        };
        if let Some(maker) = running {
            return Ok(maker);
        }
        let maker = SlotMaker::new()?;
        *shared = Some((fork::generation(), Arc::downgrade(&maker)));
        Ok(maker)
    }

    fn new() -> Result<Arc<SlotMaker>> {
        // It panics where the system has no thread for it.
        let threads = std::panic::catch_unwind(|| {
            ScheduledThreadPool::builder()
                .num_threads(1)
                .thread_name_pattern("redkeep-slots")
                .build()
        });
        let threads =
            threads.map_err(|_| Error::new(ErrorKind::System, "no thread for redkeep-slots"))?;
        let wake = Mutex::new(asleep(&threads));
        Ok(Arc::new(SlotMaker {
            threads: Arc::new(threads),
            wake,
        }))
    }

    /// Runs `make` while the thread works.
    pub(crate) fn awake<T>(&self, make: impl FnOnce(&Arc<ScheduledThreadPool>) -> T) -> T {
        let mut wake = lock(&self.wake);
        wake.open();
        let made = make(&self.threads);
        *wake = asleep(&self.threads);
        made
    }
}

impl Drop for SlotMaker {
    fn drop(&mut self) {
        lock(&self.wake).open();
    }
}

/// Lets the thread sleep until the latch that comes back opens.
fn asleep(threads: &ScheduledThreadPool) -> Arc<Latch> {
    let wake = Arc::new(Latch::default());
    let there = Arc::new(Latch::default());
    let (until, told) = (wake.clone(), there.clone());
    threads.execute(move || {
        sys::block_signals();
        told.open();
        until.wait_for_ever();
    });
    there.sleep(Duration::from_secs(1));
    wake
}
