//! Who wants to know what this manager itself writes: at once, and not only when the server tells of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use crate::fork::lock;

/// Called in the thread that wrote, before it goes on, and without a lock.
pub(crate) trait Witness: Send + Sync {
    /// A command that writes had this argument: a key, perhaps.
    fn wrote(&self, argument: &[u8]);
    /// Any key may have been written.
    fn wrote_anything(&self);
}

#[derive(Default)]
pub(crate) struct Witnesses {
    /// Whether there is one: all that a command pays where there is none.
    any: AtomicBool,
    all: Mutex<Vec<Weak<dyn Witness>>>,
}

impl Witnesses {
    /// Until it is dropped.
    pub(crate) fn add(&self, witness: Weak<dyn Witness>) {
        let mut all = lock(&self.all);
        all.retain(|one| one.strong_count() > 0);
        all.push(witness);
        self.any.store(true, Ordering::Release);
    }

    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// Those there are now.
    pub(crate) fn all(&self) -> Vec<Arc<dyn Witness>> {
        let mut all = lock(&self.all);
        let living: Vec<_> = all.iter().filter_map(Weak::upgrade).collect();
        if living.is_empty() {
            all.clear();
            self.any.store(false, Ordering::Release);
        }
        living
    }
}
