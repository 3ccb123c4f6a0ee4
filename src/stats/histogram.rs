//! Times, counted by how long they were.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde_json::{Value, json};

use crate::stats::Exposition;

/// Upper ends of the buckets, in microseconds.
const ENDS: [u64; 14] = [
    10, 50, 100, 500, 1_000, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 5_000_000,
    10_000_000, 60_000_000,
];

/// How many were within each end, and in the last one those beyond all.
pub(crate) type Buckets = [u64; ENDS.len() + 1];

/// Which bucket this is counted in.
pub(crate) fn bucket(time: Duration) -> usize {
    let micros = time.as_micros() as u64;
    let within = ENDS.iter().position(|end| micros <= *end);
    within.unwrap_or(ENDS.len())
}

/// While it is counted.
#[derive(Default)]
pub(crate) struct Times {
    buckets: [AtomicU64; ENDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Times {
    pub(crate) fn took(&self, time: Duration) {
        self.buckets[bucket(time)].fetch_add(1, Relaxed);
        self.nanoseconds.fetch_add(time.as_nanos() as u64, Relaxed);
    }

    /// Several that were counted elsewhere.
    pub(crate) fn add(&self, buckets: &Buckets, nanoseconds: u64) {
        for (all, more) in self.buckets.iter().zip(buckets) {
            if *more > 0 {
                all.fetch_add(*more, Relaxed);
            }
        }
        self.nanoseconds.fetch_add(nanoseconds, Relaxed);
    }

    pub(crate) fn told(&self) -> Histogram {
        let each = self.buckets.iter().map(|bucket| bucket.load(Relaxed));
        let mut count = 0;
        let ends = ENDS.iter().map(|end| Some(Duration::from_micros(*end)));
        let buckets = ends.chain([None]).zip(each).map(|(end, n)| {
            count += n;
            (end, count)
        });
        Histogram {
            buckets: buckets.collect(),
            count,
            total: Duration::from_nanos(self.nanoseconds.load(Relaxed)),
        }
    }
}

/// How often something took how long, so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Histogram {
    /// For each of these times, how often it took at most so long; the last one has no end, and counts all.
    pub buckets: Vec<(Option<Duration>, u64)>,
    /// How often it was.
    pub count: u64,
    /// All of it together.
    pub total: Duration,
}

impl Histogram {
    pub(crate) fn json(&self) -> Value {
        let bucket = |(end, n): &(Option<Duration>, u64)| json!({"le": end.map(|end| end.as_secs_f64()), "count": n});
        let buckets: Vec<Value> = self.buckets.iter().map(bucket).collect();
        json!({"seconds": self.total.as_secs_f64(), "buckets": buckets})
    }

    pub(crate) fn expose(&self, to: &mut Exposition, name: &str, help: &str, labels: &str) {
        let buckets = self.buckets.iter();
        let buckets = buckets.map(|(end, n)| (end.map(|end| end.as_secs_f64()), *n));
        to.histogram(name, help, labels, buckets, self.total.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bucket_counts_those_before_it_too() {
        let times = Times::default();
        times.took(Duration::from_micros(10));
        times.took(Duration::from_millis(3));
        let mut more = Buckets::default();
        more[bucket(Duration::from_secs(100))] = 2;
        times.add(&more, 200_000_000_000);
        let told = times.told();
        assert_eq!(told.buckets[0], (Some(Duration::from_micros(10)), 1));
        assert_eq!(told.buckets[5], (Some(Duration::from_millis(5)), 2));
        assert_eq!(told.buckets[14], (None, 4));
        assert_eq!((told.count, told.total.as_secs()), (4, 200));
        assert_eq!(told.json()["buckets"][14], json!({"le": null, "count": 4}));
    }
}
