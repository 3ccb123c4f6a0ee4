//! The guard of a lock.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::error::Result;
use crate::lock::hold::{self, Hold};

/// A lock that is held; released when dropped. In a forked child it stays the parent's: there it is not held, and
/// dropping it does nothing.
///
/// ```
/// # fn main() -> redkeep::Result<()> {
/// use std::time::Duration;
///
/// let keep = redkeep::Manager::open("embedded://")?;
/// let first = keep.lock("report").acquire(Duration::from_secs(1))?.fence();
/// let second = keep.lock("report").acquire(Duration::from_secs(1))?;
/// assert!(second.fence() > first);
/// # Ok(()) }
/// ```
pub struct Held {
    hold: Arc<Hold>,
    released: bool,
}

impl Held {
    pub(crate) fn new(hold: Arc<Hold>) -> Held {
        Held {
            hold,
            released: false,
        }
    }

    pub(crate) fn again(hold: Arc<Hold>) -> Held {
        hold.guards.fetch_add(1, Ordering::AcqRel);
        Held::new(hold)
    }

    /// Another guard of the same lock.
    pub(crate) fn share(&self) -> Held {
        Held::again(self.hold.clone())
    }

    pub(crate) fn guard(&self) -> Result<()> {
        self.hold.site.keeper.watchdog.guard(&self.hold)
    }

    /// The name that the lock was asked for by.
    pub fn name(&self) -> &str {
        &self.hold.terms.name
    }

    /// Whether the lock is still ours, as far as can be known without asking the server: by a local clock, started
    /// before the lock was asked for, that no standstill of the process or the machine stops. Once false, it stays
    /// false.
    pub fn is_held(&self) -> bool {
        self.hold.is_held()
    }

    /// Whether it is, and will be for this time.
    pub(crate) fn is_held_for(&self, time: Duration) -> bool {
        let end = hold::now().saturating_add(hold::nanos(time));
        self.hold.is_held() && end < self.hold.until()
    }

    /// The number of this acquisition, larger than that of every one before it on this lock. Hand it to the store that
    /// the lock protects, and let that refuse what comes with a smaller number than it has seen: then even a holder
    /// that lost the lock without noticing does no harm. Its counter, `{lock:name}:fence`, never expires. It counts
    /// acquisitions by redkeep only: a holder with another library has no number.
    pub fn fence(&self) -> i64 {
        self.hold.fence
    }

    /// The key of that counter: who has a lock for each of many things, and reads no fence, may let it expire.
    pub(crate) fn fence_key(&self) -> &str {
        self.hold.terms.keys.fence()
    }

    /// Gives the lock back. True if it was still ours until now; false if it was lost before. With more than one guard,
    /// the last does it.
    pub fn release(mut self) -> Result<bool> {
        self.let_go()
    }

    fn let_go(&mut self) -> Result<bool> {
        if std::mem::replace(&mut self.released, true) {
            return Ok(false);
        }
        let hold = &self.hold;
        hold.usable()?;
        if hold.guards.fetch_sub(1, Ordering::AcqRel) > 1 {
            return Ok(hold.is_held());
        }
        let keeper = &hold.site.keeper;
        // A renewal that is under way finds that it is not ours, and says nothing.
        hold.released();
        let result = hold.line.release(hold);
        keeper.watchdog.forget(hold);
        keeper.tidy(&hold.terms.keys.main, &hold.line);
        result
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.hold.is_foreign() {
            // What could not be given back now is given back later, or its lease ends.
            let _ = self.let_go();
        }
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Held({}, fence {})", self.name(), self.fence())
    }
}
