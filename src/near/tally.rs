//! What a near cache counts.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::stats::{Alike, Counter, Exposition, labels};
use crate::worker;

const STRIPES: usize = 16;

/// Threads count hits side by side: one number for all of them would cost more than the hit.
#[derive(Default)]
#[repr(align(64))]
struct Stripe {
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Default)]
pub(super) struct Tally {
    stripes: [Stripe; STRIPES],
    pub(super) invalidations: Counter,
    pub(super) emptied: Counter,
}

impl Tally {
    #[inline]
    pub(super) fn count(&self, hit: bool) {
        let stripe = &self.stripes[worker::number() % STRIPES];
        match hit {
            true => stripe.hits.fetch_add(1, Ordering::Relaxed),
            false => stripe.misses.fetch_add(1, Ordering::Relaxed),
        };
    }

    fn sum(&self, of: fn(&Stripe) -> &AtomicU64) -> u64 {
        let each = self
            .stripes
            .iter()
            .map(|one| of(one).load(Ordering::Relaxed));
        each.sum()
    }

    pub(super) fn hits(&self) -> u64 {
        self.sum(|one| &one.hits)
    }

    pub(super) fn misses(&self) -> u64 {
        self.sum(|one| &one.misses)
    }
}

/// What a [`NearCache`](crate::NearCache) has seen in this process so far, and what it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NearStats {
    /// Reads that were answered from here: one for each key of `mget`.
    pub hits: u64,
    /// Those for which the server was asked.
    pub misses: u64,
    /// Values that were dropped because their keys were changed, by others or by this manager.
    pub invalidations: u64,
    /// Values that were dropped because there was no more room.
    pub evictions: u64,
    /// How often everything of a node was dropped: its connection was lost, it was replaced, slots moved away from it, it
    /// was flushed.
    pub emptied: u64,
    /// How many keys are known now.
    pub entries: u64,
    /// The memory that they take, about.
    pub bytes: u64,
    /// The memory that they may take.
    pub max_bytes: u64,
    /// How many nodes tell of changes at present. Of others nothing is kept.
    pub nodes: u64,
}

/// A number's name in the statistics, its meaning, and where it is.
type Shown = (&'static str, &'static str, fn(&NearStats) -> u64);

const COUNTS: [Shown; 5] = [
    ("hits", "Reads answered by a near cache.", |it| it.hits),
    ("misses", "Reads for which the server was asked.", |it| {
        it.misses
    }),
    (
        "invalidations",
        "Values dropped because their keys were changed.",
        |it| it.invalidations,
    ),
    (
        "evictions",
        "Values dropped because there was no more room.",
        |it| it.evictions,
    ),
    ("emptied", "Times all of a node was dropped.", |it| {
        it.emptied
    }),
];

const LEVELS: [Shown; 4] = [
    ("entries", "Keys known.", |it| it.entries),
    ("bytes", "Memory that they take.", |it| it.bytes),
    ("max_bytes", "Memory that they may take.", |it| it.max_bytes),
    ("nodes", "Nodes that tell of changes.", |it| it.nodes),
];

impl NearStats {
    pub(super) fn expose(&self, to: &mut Exposition, number: u64) {
        let labels = labels(&[("cache", &number.to_string())]);
        for (name, help, of) in COUNTS {
            let name = format!("redkeep_near_{name}_total");
            to.counter(&name, help, &labels, of(self));
        }
        for (name, help, of) in LEVELS {
            let value = i64::try_from(of(self)).ok();
            let name = format!("redkeep_near_{name}");
            to.gauge(&name, help, &labels, value, Alike::TheSame);
        }
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "hits": self.hits,
            "misses": self.misses,
            "invalidations": self.invalidations,
            "evictions": self.evictions,
            "emptied": self.emptied,
            "entries": self.entries,
            "bytes": self.bytes,
            "max_bytes": self.max_bytes,
            "nodes": self.nodes,
        })
    }
}
