//! What a subscriber receives.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::node::listener::{Kind, Message};

/// What happened at a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A message was published.
    Message(Published),
    /// The connection was lost and is there again: what was published meanwhile is lost.
    Gap(Gap),
}

impl Event {
    /// Whether it belongs to the subscription to that name.
    pub(super) fn is_from(&self, kind: Kind, name: &[u8]) -> bool {
        match self {
            Event::Gap(gap) => gap.kind == kind && *gap.name == *name,
            Event::Message(message) => {
                let own = message.pattern_bytes().unwrap_or(message.channel_bytes());
                message.kind == kind && own == name
            }
        }
    }
}

/// A published message.
///
/// ```
/// # fn main() -> redkeep::Result<()> {
/// use std::time::Duration;
/// use redkeep::Event;
///
/// let keep = redkeep::Manager::open("embedded://")?;
/// let subscriber = keep.subscriber();
/// subscriber.add_pattern("orders:*")?;
/// keep.publish_json("orders:eu", &("created", 7))?;
/// let Some(Event::Message(message)) = subscriber.poll(Duration::from_secs(5))? else { panic!() };
/// assert_eq!(message.channel(), "orders:eu");
/// assert_eq!(message.pattern().as_deref(), Some("orders:*"));
/// let (what, id): (String, u32) = message.json()?;
/// assert_eq!((what.as_str(), id), ("created", 7));
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Published {
    kind: Kind,
    /// Pattern, channel and data, one after the other.
    bytes: Box<[u8]>,
    channel: usize,
    data: usize,
}

impl Published {
    pub(super) fn new(message: &Message<'_>) -> Published {
        let pattern = message.pattern.unwrap_or_default();
        let parts = [pattern, message.channel, message.data];
        Published {
            kind: message.kind,
            bytes: parts.concat().into(),
            channel: pattern.len(),
            data: pattern.len() + message.channel.len(),
        }
    }

    /// How much memory it takes, about.
    pub(super) fn weight(&self) -> usize {
        self.bytes.len() + size_of::<Event>()
    }

    /// The channel that it was published to. Bytes that are not UTF-8 are replaced; see
    /// [`channel_bytes`](Published::channel_bytes).
    pub fn channel(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.channel_bytes())
    }

    /// The channel that it was published to, as it is.
    pub fn channel_bytes(&self) -> &[u8] {
        &self.bytes[self.channel..self.data]
    }

    /// The pattern through which it came; none for a subscription to the channel itself.
    pub fn pattern(&self) -> Option<Cow<'_, str>> {
        self.pattern_bytes().map(String::from_utf8_lossy)
    }

    /// The pattern through which it came, as it is.
    pub fn pattern_bytes(&self) -> Option<&[u8]> {
        (self.kind == Kind::Pattern).then(|| &self.bytes[..self.channel])
    }

    /// Whether the channel is a sharded one.
    pub fn is_sharded(&self) -> bool {
        self.kind == Kind::Sharded
    }

    /// What was published.
    pub fn data(&self) -> &[u8] {
        &self.bytes[self.data..]
    }

    /// What was published, read from JSON. An error of kind [`StoredJson`](ErrorKind::StoredJson) says that it is no
    /// JSON, or not of this type.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(self.data()).map_err(|why| {
            let what = match why.is_data() {
                true => "the message's JSON is not of the type asked for",
                false => "the message is not JSON",
            };
            // Where, and not what: values have no business in an error.
            let place = format!("{what} (line {}, column {})", why.line(), why.column());
            Error::new(ErrorKind::StoredJson, place).outcome_is(Outcome::Unknown)
        })
    }
}

impl std::fmt::Debug for Published {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Published")
            .field("channel", &self.channel())
            .field("pattern", &self.pattern())
            .field("bytes", &self.data().len())
            .finish()
    }
}

/// A subscription was interrupted, and is there again. Each is told of once for each time that it was renewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    kind: Kind,
    name: Box<[u8]>,
}

impl Gap {
    pub(super) fn new(kind: Kind, name: &[u8]) -> Gap {
        let name = name.into();
        Gap { kind, name }
    }

    /// The channel that was subscribed to; none if it was a pattern.
    pub fn channel(&self) -> Option<Cow<'_, str>> {
        self.channel_bytes().map(String::from_utf8_lossy)
    }

    /// The channel that was subscribed to, as it is.
    pub fn channel_bytes(&self) -> Option<&[u8]> {
        (self.kind != Kind::Pattern).then_some(&self.name)
    }

    /// The pattern that was subscribed to; none if it was a channel.
    pub fn pattern(&self) -> Option<Cow<'_, str>> {
        self.pattern_bytes().map(String::from_utf8_lossy)
    }

    /// The pattern that was subscribed to, as it is.
    pub fn pattern_bytes(&self) -> Option<&[u8]> {
        (self.kind == Kind::Pattern).then_some(&self.name)
    }
}
