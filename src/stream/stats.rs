//! What is counted of a channel, as JSON and as Prometheus text.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::stats::{Alike, Buckets, Exposition, Times, bucket, labels};

/// The names of the counts, in the order of [`Count`], and what they mean.
const COUNTS: [(&str, &str); 9] = [
    ("delivered", "Messages handed to a handler, or polled."),
    ("handled", "Messages whose handler succeeded."),
    ("failed", "Times a handler failed."),
    ("reclaimed", "Messages taken over from other consumers."),
    (
        "recovered",
        "Own messages found again after a broken connection.",
    ),
    (
        "repeated",
        "Messages not handled because the ledger knew them.",
    ),
    ("dead", "Messages moved to the dead-letter stream."),
    ("trimmed", "Messages that were trimmed while pending."),
    ("cleaned", "Entries deleted by clean-up."),
];

#[derive(Clone, Copy)]
pub(super) enum Count {
    Delivered,
    Handled,
    Failed,
    Reclaimed,
    Recovered,
    Repeated,
    Dead,
    Trimmed,
    Cleaned,
}

#[derive(Default)]
pub(super) struct Counts {
    counts: [AtomicU64; COUNTS.len()],
    handler_time: Times,
}

/// What one thread counts before it adds it to the counts of all.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) delivered: u64,
    pub(super) handled: u64,
    buckets: Buckets,
    nanoseconds: u64,
}

impl Tally {
    pub(super) fn took(&mut self, time: Duration) {
        self.buckets[bucket(time)] += 1;
        self.nanoseconds += time.as_nanos() as u64;
    }
}

impl Counts {
    pub(super) fn add(&self, count: Count, n: u64) {
        self.counts[count as usize].fetch_add(n, Relaxed);
    }

    pub(super) fn add_tally(&self, tally: &mut Tally) {
        self.add(Count::Delivered, tally.delivered);
        self.add(Count::Handled, tally.handled);
        self.handler_time.add(&tally.buckets, tally.nanoseconds);
        *tally = Tally::default();
    }

    fn get(&self, count: usize) -> u64 {
        self.counts[count].load(Relaxed)
    }
}

/// One channel, and what the server told of its group just now: lag and pending, where it told.
pub(super) struct Seen<'a> {
    pub(super) channel: &'a str,
    pub(super) group: &'a str,
    pub(super) counts: &'a Counts,
    pub(super) lag: Option<i64>,
    pub(super) pending: Option<i64>,
    pub(super) in_hand: usize,
}

pub(super) fn as_json(consumer: &str, all: &[Seen<'_>]) -> Value {
    let channels: Vec<Value> = all
        .iter()
        .map(|seen| {
            let mut fields = Map::new();
            fields.insert("channel".into(), seen.channel.into());
            fields.insert("group".into(), seen.group.into());
            fields.insert("lag".into(), json!(seen.lag));
            fields.insert("pending".into(), json!(seen.pending));
            fields.insert("in_hand".into(), seen.in_hand.into());
            for (i, (name, _)) in COUNTS.iter().enumerate() {
                fields.insert((*name).into(), seen.counts.get(i).into());
            }
            let time = seen.counts.handler_time.told();
            fields.insert("handler_time".into(), time.json());
            Value::Object(fields)
        })
        .collect();
    json!({"consumer": consumer, "channels": channels})
}

pub(super) fn expose(to: &mut Exposition, all: &[Seen<'_>]) {
    for seen in all {
        let labels = labels(&[("channel", seen.channel), ("group", seen.group)]);
        let mut gauge = |name: &str, help: &str, value, alike| {
            to.gauge(
                &format!("redkeep_stream_{name}"),
                help,
                &labels,
                value,
                alike,
            );
        };
        let help = "Entries that the group has not read yet.";
        gauge("lag", help, seen.lag, Alike::TheSame);
        let help = "Entries read and not acknowledged.";
        gauge("pending", help, seen.pending, Alike::TheSame);
        let in_hand = Some(seen.in_hand as i64);
        gauge(
            "in_hand",
            "Messages in the hands of consumers.",
            in_hand,
            Alike::Added,
        );
        for (i, (name, help)) in COUNTS.iter().enumerate() {
            let name = format!("redkeep_stream_{name}_total");
            to.counter(&name, help, &labels, seen.counts.get(i));
        }
        seen.counts.handler_time.told().expose(
            to,
            "redkeep_stream_handler_seconds",
            "How long handlers took.",
            &labels,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_shown_in_both_forms() {
        let counts = Counts::default();
        let mut tally = Tally {
            delivered: 3,
            handled: 2,
            ..Tally::default()
        };
        tally.took(Duration::from_micros(7));
        tally.took(Duration::from_millis(3));
        tally.took(Duration::from_secs(100));
        counts.add_tally(&mut tally);
        counts.add(Count::Failed, 1);
        let seen = Seen {
            channel: "a\"b",
            group: "g",
            counts: &counts,
            lag: Some(5),
            pending: None,
            in_hand: 1,
        };
        let all = as_json("me", std::slice::from_ref(&seen));
        let channel = &all["channels"][0];
        assert_eq!(channel["delivered"], 3);
        assert_eq!(channel["handled"], 2);
        assert_eq!(channel["failed"], 1);
        assert_eq!(
            (&channel["lag"], &channel["pending"]),
            (&json!(5), &Value::Null)
        );
        assert_eq!(
            channel["handler_time"]["buckets"][0],
            json!({"le": 1e-5, "count": 1})
        );
        assert_eq!(
            channel["handler_time"]["buckets"][14],
            json!({"le": null, "count": 3})
        );
        let mut to = Exposition::default();
        expose(&mut to, &[seen]);
        let text = to.text();
        for wanted in [
            "# TYPE redkeep_stream_delivered_total counter\n",
            "redkeep_stream_delivered_total{channel=\"a\\\"b\",group=\"g\"} 3\n",
            "redkeep_stream_lag{channel=\"a\\\"b\",group=\"g\"} 5\n",
            ",le=\"0.005\"} 2\n",
            ",le=\"+Inf\"} 3\n",
            "redkeep_stream_handler_seconds_count{channel=\"a\\\"b\",group=\"g\"} 3\n",
        ] {
            assert!(text.contains(wanted), "{wanted} in {text}");
        }
        assert!(
            !text.contains("redkeep_stream_pending{"),
            "unknown is not shown as a number"
        );
    }
}
