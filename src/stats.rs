//! What is counted, and how features add what they count to the statistics of their manager.

mod exposition;
mod histogram;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use serde_json::Value;

use crate::clock::Limit;
use crate::error::{Error, ErrorKind};
use crate::fork::lock;

pub(crate) use exposition::{Alike, Exposition, labels};
pub use histogram::Histogram;
pub(crate) use histogram::{Buckets, Times, bucket};

/// A number that only grows.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counts of one manager, since it was opened (in a forked child, since its first use there).
#[derive(Default)]
pub(crate) struct Counters {
    /// Calls that were begun.
    pub(crate) calls: Counter,
    /// Calls that ended with an error, one reply of the server's included.
    pub(crate) errors: Counter,
    /// Those of them that ended at their deadline.
    pub(crate) timeouts: Counter,
    /// Times a command was sent again.
    pub(crate) retries: Counter,
    /// Times an answer sent a command to another node.
    pub(crate) redirects: Counter,
    /// Calls that took longer than the property `slow_call`.
    pub(crate) slow: Counter,
    pub(crate) slow_limit: Limit,
    /// How long locks were waited for.
    pub(crate) lock_waits: Times,
    /// Locks that were not to be had within the wait.
    pub(crate) lock_timeouts: Counter,
    /// Errors that the caller did not see: the lenient view's, and those of features that go on without Redis.
    pub(crate) swallowed: Counter,
    /// What is said of them: a manager that has much to say takes no other's words.
    pub(crate) told: Limit,
}

/// Something that counts for itself. It answers from what it knows, and asks no server.
pub(crate) trait Reporter: Send + Sync {
    /// An element of the array of its kind in the manager's statistics.
    fn as_json(&self) -> Value;
    fn expose(&self, to: &mut Exposition);
}

/// All that live, of one manager.
#[derive(Default)]
pub(crate) struct Reporters(Mutex<Vec<Weak<dyn Reporter>>>);

impl Reporters {
    pub(crate) fn add(&self, reporter: Weak<dyn Reporter>) {
        let mut all = lock(&self.0);
        all.retain(|one| one.strong_count() > 0);
        all.push(reporter);
    }

    pub(crate) fn all(&self) -> Vec<Arc<dyn Reporter>> {
        lock(&self.0).iter().filter_map(Weak::upgrade).collect()
    }
}

impl Counters {
    pub(crate) fn failed(&self, error: &Error) {
        self.errors.add();
        if matches!(error.kind(), ErrorKind::Timeout | ErrorKind::PoolTimeout) {
            self.timeouts.add();
        }
    }
}
