//! How a channel is to be consumed.

use std::time::Duration;

use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};

/// From where a group that is made begins to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum StartAt {
    /// With the oldest message that is there. The default.
    #[default]
    Beginning,
    /// With the first message that comes after the group was made.
    Now,
}

/// What is promised about how often a message is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Delivery {
    /// It is acknowledged after its handler has succeeded: nothing is lost, and what a process was at when it died is
    /// handled again. The default.
    #[default]
    AtLeastOnce,
    /// It is acknowledged when it is read: nothing is handled twice, and what a process was at when it died is lost.
    /// A failed handler is not tried again; its message goes to the dead-letter stream.
    AtMostOnce,
    /// Its id is entered in a ledger before its handler is called, and what stands there is not handled again, whoever
    /// reads it. A handler that failed is tried again; one that was cut short by the death of its process is not.
    Ledger,
}

/// How a channel is consumed; see [`Consumer`](crate::Consumer).
///
/// ```
/// # fn main() -> redkeep::Result<()> {
/// use std::time::Duration;
/// use redkeep::{ChannelOptions, Delivery, StartAt};
///
/// let options = ChannelOptions::new()
///     .from(StartAt::Now)
///     .delivery(Delivery::Ledger)
///     .max_deliveries(3)
///     .claim_idle(Duration::from_secs(20));
/// let json = r#"{"from": "now", "delivery": "ledger", "max_deliveries": 3, "claim_idle": 20}"#;
/// assert_eq!(options, ChannelOptions::from_json(json)?);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelOptions {
    pub(super) from: StartAt,
    pub(super) consumers: Vec<String>,
    pub(super) read_messages: bool,
    pub(super) message_cleanup: bool,
    pub(super) delivery: Delivery,
    pub(super) max_deliveries: u32,
    pub(super) concurrency: usize,
    pub(super) count: usize,
    pub(super) order_by: Option<String>,
    pub(super) backoff: Duration,
    pub(super) max_backoff: Duration,
    pub(super) claim_idle: Duration,
    pub(super) ledger_window: Duration,
    pub(super) cleanup_interval: Duration,
    pub(super) consumer_idle: Duration,
}

impl Default for ChannelOptions {
    fn default() -> ChannelOptions {
        ChannelOptions {
            from: StartAt::Beginning,
            consumers: Vec::new(),
            read_messages: true,
            message_cleanup: false,
            delivery: Delivery::AtLeastOnce,
            max_deliveries: 5,
            concurrency: 1,
            count: 128,
            order_by: None,
            backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(30),
            claim_idle: Duration::from_secs(60),
            ledger_window: Duration::from_secs(7 * 24 * 3600),
            cleanup_interval: Duration::from_secs(30),
            consumer_idle: Duration::from_secs(3600),
        }
    }
}

impl ChannelOptions {
    /// The defaults.
    pub fn new() -> ChannelOptions {
        ChannelOptions::default()
    }

    /// From where a group begins that does not exist yet. Defaults to the beginning.
    pub fn from(mut self, from: StartAt) -> ChannelOptions {
        self.from = from;
        self
    }

    /// All listeners of the channel: their groups are made at registration, so that none of them misses a message, and
    /// clean-up waits for all of them. Defaults to none, which is this consumer's own.
    pub fn consumers<S: Into<String>>(
        mut self,
        listeners: impl IntoIterator<Item = S>,
    ) -> ChannelOptions {
        self.consumers = listeners.into_iter().map(Into::into).collect();
        self
    }

    /// Whether messages are read. A channel that is not read may still be cleaned up. Defaults to true.
    pub fn read_messages(mut self, on: bool) -> ChannelOptions {
        self.read_messages = on;
        self
    }

    /// Whether entries that every group has acknowledged are deleted, in the background every `cleanup_interval` and by
    /// [`clean_up_consumed_messages`](crate::Consumer::clean_up_consumed_messages). Defaults to false.
    pub fn message_cleanup(mut self, on: bool) -> ChannelOptions {
        self.message_cleanup = on;
        self
    }

    /// How often a message is handled. Defaults to at least once.
    pub fn delivery(mut self, delivery: Delivery) -> ChannelOptions {
        self.delivery = delivery;
        self
    }

    /// After so many deliveries a message goes to the dead-letter stream. From 1; defaults to 5.
    pub fn max_deliveries(mut self, most: u32) -> ChannelOptions {
        self.max_deliveries = most;
        self
    }

    /// How many handlers of the channel run at the same time, on the manager's worker threads (property `workers`, which
    /// all consumers share). It counts after [`start`](crate::Consumer::start); in the calls that consume in the caller's thread, handlers run
    /// there, one after the other. From 1; defaults to 1, which keeps messages in order.
    pub fn concurrency(mut self, handlers: usize) -> ChannelOptions {
        self.concurrency = handlers;
        self
    }

    /// How many messages are read at once, and are in this consumer's hands at most. From 1; defaults to 128.
    pub fn count(mut self, messages: usize) -> ChannelOptions {
        self.count = messages;
        self
    }

    /// With a concurrency of more than 1: messages of the same key are handled in order, one at a time. The key is
    /// `"name"`, the message's name, or a JSON pointer into its body, `"/customer/id"`. A message that failed loses
    /// its place. Defaults to no order.
    pub fn order_by(mut self, key: &str) -> ChannelOptions {
        self.order_by = Some(key.to_owned());
        self
    }

    /// The pause before a failed message is tried again. It doubles with each failure, to `max_backoff` at most, and
    /// is shortened at random by up to a half. Default to 1 s and 30 s.
    pub fn backoff(mut self, first: Duration, longest: Duration) -> ChannelOptions {
        (self.backoff, self.max_backoff) = (first, longest);
        self
    }

    /// A message that has been in a consumer's hands for so long without a sign of life is taken over by another one.
    /// Whoever handles a message gives a sign three times within it. From 30 ms; defaults to 60 s.
    pub fn claim_idle(mut self, time: Duration) -> ChannelOptions {
        self.claim_idle = time;
        self
    }

    /// For how long the ledger remembers a handled message. Defaults to 7 days.
    pub fn ledger_window(mut self, time: Duration) -> ChannelOptions {
        self.ledger_window = time;
        self
    }

    /// How often entries are cleaned up, and idle consumers are looked for. Defaults to 30 s.
    pub fn cleanup_interval(mut self, time: Duration) -> ChannelOptions {
        self.cleanup_interval = time;
        self
    }

    /// A consumer of the group that has not been heard of for so long, and has nothing pending, is removed from it, if
    /// `message_cleanup` is on. Defaults to 1 h.
    pub fn consumer_idle(mut self, time: Duration) -> ChannelOptions {
        self.consumer_idle = time;
        self
    }

    /// From JSON, an object with the names of the methods above; `backoff`, `max_backoff`, `claim_idle` and the other
    /// times in seconds. A name that is not known is an error.
    pub fn from_json(text: &str) -> Result<ChannelOptions> {
        let mut options = ChannelOptions::default();
        for (name, value) in object(text, "options")? {
            options.set(&name, &value)?;
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &Value) -> Result<()> {
        match name {
            "from" => {
                self.from = one_of(
                    name,
                    value,
                    &[("beginning", StartAt::Beginning), ("now", StartAt::Now)],
                )?;
            }
            "delivery" => {
                let known = [
                    ("at_least_once", Delivery::AtLeastOnce),
                    ("at_most_once", Delivery::AtMostOnce),
                    ("ledger", Delivery::Ledger),
                ];
                self.delivery = one_of(name, value, &known)?;
            }
            "consumers" => {
                let all = value.as_array().into_iter().flatten();
                let names: Option<Vec<String>> =
                    all.map(|it| it.as_str().map(str::to_owned)).collect();
                let names = names.filter(|_| value.is_array());
                self.consumers = names.ok_or_else(|| bad(name, "an array of names"))?;
            }
            "order_by" => {
                let key = value.as_str().ok_or_else(|| bad(name, "a text"))?;
                self.order_by = Some(key.to_owned());
            }
            "read_messages" => self.read_messages = truth(name, value)?,
            "message_cleanup" => self.message_cleanup = truth(name, value)?,
            "max_deliveries" => {
                let most = number(name, value)?;
                self.max_deliveries = u32::try_from(most).unwrap_or(u32::MAX);
            }
            "concurrency" => self.concurrency = number(name, value)? as usize,
            "count" => self.count = number(name, value)? as usize,
            "backoff" => self.backoff = seconds(name, value)?,
            "max_backoff" => self.max_backoff = seconds(name, value)?,
            "claim_idle" => self.claim_idle = seconds(name, value)?,
            "ledger_window" => self.ledger_window = seconds(name, value)?,
            "cleanup_interval" => self.cleanup_interval = seconds(name, value)?,
            "consumer_idle" => self.consumer_idle = seconds(name, value)?,
            _ => {
                let text = format!(
                    "options: no option is called {name:?}; there are from, consumers, read_messages, message_cleanup, \
                     delivery, max_deliveries, concurrency, count, order_by, backoff, max_backoff, claim_idle, \
                     ledger_window, cleanup_interval, consumer_idle"
                );
                return Err(Error::argument(text));
            }
        }
        Ok(())
    }

    /// What nonsense it holds.
    pub(super) fn check(&self) -> Result<()> {
        let between = |name: &str, value: u64, most: u64| match (1..=most).contains(&value) {
            true => Ok(()),
            false => Err(bad(name, &format!("a number from 1 to {most}"))),
        };
        between("max_deliveries", self.max_deliveries.into(), 1_000_000)?;
        between("concurrency", self.concurrency as u64, 256)?;
        between("count", self.count as u64, 100_000)?;
        if self.claim_idle < Duration::from_millis(30) {
            return Err(bad("claim_idle", "a time of at least 0.03 s"));
        }
        for (name, time) in [
            ("ledger_window", self.ledger_window),
            ("cleanup_interval", self.cleanup_interval),
            ("consumer_idle", self.consumer_idle),
        ] {
            if time < Duration::from_millis(1) {
                return Err(bad(name, "a time of at least 0.001 s"));
            }
        }
        match self.order_by.as_deref() {
            None | Some("name") => Ok(()),
            Some(pointer) if pointer.starts_with('/') => Ok(()),
            Some(_) => Err(bad(
                "order_by",
                "\"name\" or a JSON pointer (\"/customer/id\")",
            )),
        }
    }
}

/// The members of a JSON object.
pub(super) fn object(text: &str, what: &str) -> Result<serde_json::Map<String, Value>> {
    match serde_json::from_str(text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(Error::argument(format!("{what}: a JSON object is needed"))),
        Err(why) => Err(Error::new(
            ErrorKind::Json,
            format!(
                "{what}: not JSON (line {}, column {})",
                why.line(),
                why.column()
            ),
        )),
    }
}

fn bad(name: &str, wanted: &str) -> Error {
    Error::argument(format!("options: \"{name}\" takes {wanted}"))
}

pub(super) fn truth(name: &str, value: &Value) -> Result<bool> {
    value.as_bool().ok_or_else(|| bad(name, "true or false"))
}

pub(super) fn number(name: &str, value: &Value) -> Result<u64> {
    value
        .as_u64()
        .ok_or_else(|| bad(name, "a whole number, 0 or more"))
}

pub(super) fn seconds(name: &str, value: &Value) -> Result<Duration> {
    let time = value.as_f64();
    let time = time.and_then(|time| Duration::try_from_secs_f64(time).ok());
    time.ok_or_else(|| bad(name, "a number of seconds"))
}

fn one_of<T: Copy>(name: &str, value: &Value, known: &[(&str, T)]) -> Result<T> {
    let found = known.iter().find(|(word, _)| value.as_str() == Some(word));
    found.map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
        bad(name, &words.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_from_json_and_checked() {
        let text = r#"{"from": "now", "consumers": ["a", "b"], "delivery": "ledger", "max_deliveries": 3,
            "concurrency": 4, "count": 10, "backoff": 0.5, "claim_idle": 2, "order_by": "/customer",
            "message_cleanup": true}"#;
        let options = ChannelOptions::from_json(text).unwrap();
        let wanted = ChannelOptions::new()
            .from(StartAt::Now)
            .consumers(["a", "b"])
            .delivery(Delivery::Ledger)
            .max_deliveries(3)
            .concurrency(4)
            .count(10)
            .backoff(Duration::from_millis(500), Duration::from_secs(30))
            .claim_idle(Duration::from_secs(2))
            .order_by("/customer")
            .message_cleanup(true);
        assert_eq!(options, wanted);
        options.check().unwrap();
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, named) in [
            (r#"{"fro": "now"}"#, "fro"),
            (r#"{"from": "then"}"#, "from"),
            (r#"{"count": -1}"#, "count"),
            (r#"{"count": 0}"#, "count"),
            (r#"{"consumers": "a"}"#, "consumers"),
            (r#"{"consumers": [1]}"#, "consumers"),
            (r#"{"backoff": "soon"}"#, "backoff"),
            (r#"{"claim_idle": 0}"#, "claim_idle"),
            (r#"{"order_by": "customer"}"#, "order_by"),
            (r#"{"concurrency": 0}"#, "concurrency"),
            (r#"{"max_deliveries": 0}"#, "max_deliveries"),
            ("[]", "options"),
            ("{", "options"),
        ] {
            let made = ChannelOptions::from_json(text).and_then(|options| options.check());
            let error = made.unwrap_err();
            assert!(error.message().contains(named), "{text}: {error}");
        }
    }

    #[test]
    fn the_names_that_an_unknown_one_is_told_are_those_that_there_are() {
        let error = ChannelOptions::from_json(r#"{"max_delivery": 3}"#).unwrap_err();
        let text = error.to_string();
        let (_, names) = text.split_once("there are ").expect("a list of names");
        let names: Vec<&str> = names.split(", ").collect();
        assert_eq!(names.len(), 15, "{text}");
        for name in names {
            // Of no option's kind, all the same.
            let error = ChannelOptions::from_json(&format!("{{\"{name}\": null}}")).unwrap_err();
            assert!(!error.to_string().contains("there are"), "{error}");
        }
    }
}
