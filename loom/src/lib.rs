//! Loom runs a piece of code again and again, each time with its threads in another order and with another of the values
//! that the memory model lets a load see, until there is no other. A thread that is never woken is a deadlock to it: times
//! do not pass here, so that no timeout mends a wake-up that was lost.
#![cfg(test)]
#![allow(dead_code, unused_imports, unused_macros)]

// Named by their folder, so that what belongs to them is found beside them.
#[path = "../../src"]
mod ours {
    pub(crate) mod clock;
    pub(crate) mod error;
}
#[path = "../../src/transport/reply.rs"]
mod reply;

use ours::{clock, error};

mod sync {
    pub use loom::sync::*;
    pub use std::sync::PoisonError;
}

mod fork {
    use crate::sync::{Mutex, MutexGuard, PoisonError};

    pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A futex: looking at the word and falling asleep is one step.
mod sys {
    use crate::fork::lock;
    use crate::sync::atomic::{AtomicU32, Ordering};
    use crate::sync::{Arc, Condvar, Mutex};
    use std::sync::OnceLock;
    use std::time::{Duration, Instant};

    pub fn monotonic() -> u64 {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_nanos() as u64
    }

    loom::lazy_static! {
        static ref ASLEEP: Mutex<Vec<(usize, Arc<Condvar>)>> = Mutex::new(Vec::new());
    }

    fn place(word: &AtomicU32) -> usize {
        std::ptr::from_ref(word).addr()
    }

    pub fn wait_on(word: &AtomicU32, value: u32, _: Duration) {
        let mut asleep = lock(&ASLEEP);
        if word.load(Ordering::SeqCst) != value {
            return;
        }
        let me = Arc::new(Condvar::new());
        asleep.push((place(word), me.clone()));
        drop(me.wait(asleep));
    }

    pub fn wake_one(word: &AtomicU32) {
        wake(word, 1);
    }

    pub fn wake_all(word: &AtomicU32) {
        wake(word, usize::MAX);
    }

    fn wake(word: &AtomicU32, mut count: usize) {
        let mut asleep = lock(&ASLEEP);
        asleep.retain(|(at, sleeper)| {
            let wakes = *at == place(word) && count > 0;
            if wakes {
                count -= 1;
                sleeper.notify_one();
            }
            !wakes
        });
    }
}

mod transport {
    pub(crate) use crate::reply::{Kind, Reply};
}

mod worker {
    pub mod latch {
        include!(concat!(env!("OUT_DIR"), "/worker_latch.rs"));
    }
}

mod node {
    pub mod line {
        include!(concat!(env!("OUT_DIR"), "/node_line.rs"));
    }
    pub mod line_batch {
        include!(concat!(env!("OUT_DIR"), "/node_line_batch.rs"));
    }
}

mod latch;
mod line;
