//! What is counted of a channel, as JSON and as Prometheus text.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde_json::{Map, Value, json};

/// Upper ends of the histogram of handler times, in microseconds.
const BUCKETS: [u64; 14] = [
    10, 50, 100, 500, 1_000, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 5_000_000,
    10_000_000, 60_000_000,
];

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
    /// How many handler calls took up to the end of each bucket; the last one has no end.
    buckets: [AtomicU64; BUCKETS.len() + 1],
    nanoseconds: AtomicU64,
}

/// What one thread counts before it adds it to the counts of all.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) delivered: u64,
    pub(super) handled: u64,
    buckets: [u64; BUCKETS.len() + 1],
    nanoseconds: u64,
}

impl Tally {
    pub(super) fn took(&mut self, time: Duration) {
        let micros = time.as_micros() as u64;
        let bucket = BUCKETS.iter().position(|end| micros <= *end);
        self.buckets[bucket.unwrap_or(BUCKETS.len())] += 1;
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
        for (all, mine) in self.buckets.iter().zip(tally.buckets) {
            if mine > 0 {
                all.fetch_add(mine, Relaxed);
            }
        }
        self.nanoseconds.fetch_add(tally.nanoseconds, Relaxed);
        *tally = Tally::default();
    }

    fn get(&self, count: usize) -> u64 {
        self.counts[count].load(Relaxed)
    }

    /// Calls up to each bucket's end, the earlier buckets included.
    fn cumulative(&self) -> Vec<u64> {
        let each = self.buckets.iter().map(|bucket| bucket.load(Relaxed));
        each.scan(0, |sum, n| {
            *sum += n;
            Some(*sum)
        })
        .collect()
    }

    fn seconds(&self) -> f64 {
        Duration::from_nanos(self.nanoseconds.load(Relaxed)).as_secs_f64()
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
            let ends = BUCKETS.iter().map(|end| json!(*end as f64 / 1e6));
            let ends = ends.chain([Value::Null]);
            let buckets: Vec<Value> = ends
                .zip(seen.counts.cumulative())
                .map(|(end, n)| json!({"le": end, "count": n}))
                .collect();
            let time = json!({"seconds": seen.counts.seconds(), "buckets": buckets});
            fields.insert("handler_time".into(), time);
            Value::Object(fields)
        })
        .collect();
    json!({"consumer": consumer, "channels": channels})
}

pub(super) fn as_prometheus(all: &[Seen<'_>]) -> String {
    let mut text = String::new();
    let labels = |seen: &Seen<'_>| {
        let (channel, group) = (escape(seen.channel), escape(seen.group));
        format!("channel=\"{channel}\",group=\"{group}\"")
    };
    type Gauge = fn(&Seen<'_>) -> Option<i64>;
    let gauges: [(&str, &str, Gauge); 3] = [
        ("lag", "Entries that the group has not read yet.", |seen| {
            seen.lag
        }),
        ("pending", "Entries read and not acknowledged.", |seen| {
            seen.pending
        }),
        ("in_hand", "Messages in this consumer's hands.", |seen| {
            Some(seen.in_hand as i64)
        }),
    ];
    for (name, help, value) in gauges {
        head(&mut text, name, "gauge", help);
        for seen in all {
            if let Some(value) = value(seen) {
                line(&mut text, name, &labels(seen), value);
            }
        }
    }
    for (i, (name, help)) in COUNTS.iter().enumerate() {
        let name = format!("{name}_total");
        head(&mut text, &name, "counter", help);
        for seen in all {
            line(&mut text, &name, &labels(seen), seen.counts.get(i));
        }
    }
    let name = "handler_seconds";
    head(&mut text, name, "histogram", "How long handlers took.");
    for seen in all {
        let labels = labels(seen);
        let cumulative = seen.counts.cumulative();
        let ends = BUCKETS.iter().map(|end| (*end as f64 / 1e6).to_string());
        for (end, n) in ends.chain(["+Inf".to_owned()]).zip(&cumulative) {
            let labels = format!("{labels},le=\"{end}\"");
            line(&mut text, "handler_seconds_bucket", &labels, n);
        }
        line(
            &mut text,
            "handler_seconds_sum",
            &labels,
            seen.counts.seconds(),
        );
        let count = cumulative.last().copied().unwrap_or_default();
        line(&mut text, "handler_seconds_count", &labels, count);
    }
    text
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP redkeep_stream_{name} {help}");
    let _ = writeln!(text, "# TYPE redkeep_stream_{name} {kind}");
}

fn line(text: &mut String, name: &str, labels: &str, value: impl std::fmt::Display) {
    let _ = writeln!(text, "redkeep_stream_{name}{{{labels}}} {value}");
}

fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    text.replace('\n', "\\n")
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
        let text = as_prometheus(&[seen]);
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
