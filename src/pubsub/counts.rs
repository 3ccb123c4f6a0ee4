//! What a subscriber counts.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::clock::tell;

/// What a subscriber has seen so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SubscriberStats {
    /// Channels and patterns subscribed to now.
    pub subscriptions: usize,
    /// Messages that came from the server.
    pub received: u64,
    /// Messages and gaps that were polled, or for which a handler was called.
    pub delivered: u64,
    /// Messages dropped because the queue was full.
    pub dropped: u64,
    /// Times that a subscription was lost and renewed.
    pub gaps: u64,
    /// Calls of a handler that returned an error or panicked.
    pub failed: u64,
    /// Messages and gaps that wait now.
    pub waiting: u64,
}

/// The same while it is counted.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) received: AtomicU64,
    pub(super) delivered: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) gaps: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) waiting: AtomicU64,
    /// That messages are dropped has been told.
    told: AtomicBool,
}

impl Counts {
    /// Tells once in the log that messages are dropped. Called without a lock: whoever listens to the log may be slow.
    pub(super) fn tell_of_drops(&self) {
        let news = self.dropped.load(Ordering::Relaxed) > 0
            && !self.told.load(Ordering::Relaxed)
            && !self.told.swap(true, Ordering::Relaxed);
        if news {
            tell!(
                Warn,
                "a subscriber is too slow for what is published: messages are dropped"
            );
        }
    }

    pub(super) fn told(&self, subscriptions: usize) -> SubscriberStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SubscriberStats {
            subscriptions,
            received: get(&self.received),
            delivered: get(&self.delivered),
            dropped: get(&self.dropped),
            gaps: get(&self.gaps),
            failed: get(&self.failed),
            waiting: get(&self.waiting),
        }
    }
}

impl Serialize for SubscriberStats {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut it = to.serialize_struct("SubscriberStats", 7)?;
        it.serialize_field("subscriptions", &self.subscriptions)?;
        it.serialize_field("received", &self.received)?;
        it.serialize_field("delivered", &self.delivered)?;
        it.serialize_field("dropped", &self.dropped)?;
        it.serialize_field("gaps", &self.gaps)?;
        it.serialize_field("failed", &self.failed)?;
        it.serialize_field("waiting", &self.waiting)?;
        it.end()
    }
}
