//! Messages go out.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::client::{Client, Packer, Script};
use crate::clock::Deadline;
use crate::dispatch::Class;
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::node::Batch;
use crate::stream::message::Message;
use crate::stream::names;
use crate::stream::options::{number, object, seconds, truth};
use crate::stream::shelf::Shelf;
use crate::transport::{Kind, Reached, Reply};

/// How long a stream may become. What is trimmed is gone, also for those who have not read it; where every message
/// counts, let consumers clean up instead (`message_cleanup` of [`ChannelOptions`](crate::ChannelOptions)).
///
/// ```
/// # fn main() -> redkeep::Result<()> {
/// # let keep = redkeep::Manager::open("embedded://")?;
/// use redkeep::{Message, Trim};
/// let sender = keep.sender().register_channel_with("ticks", Trim::Length(10_000));
/// sender.send("ticks", &Message::new("tick", &1)?)?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Trim {
    /// It is not trimmed. The default.
    #[default]
    Never,
    /// To about this many entries: the server removes whole blocks of about a hundred, which costs it next to nothing.
    Length(u64),
    /// To exactly this many entries.
    ExactLength(u64),
    /// To entries younger than about this, by this machine's clock.
    Age(Duration),
    /// To entries younger than exactly this, by this machine's clock.
    ExactAge(Duration),
}

impl Trim {
    /// From a JSON object: `max_length` (entries) or `max_age` (seconds), and `exact`.
    pub(crate) fn from_json(text: &str) -> Result<Trim> {
        let (mut length, mut age, mut exact) = (None, None, false);
        for (name, value) in &object(text, "options_json")? {
            match name.as_str() {
                "max_length" => length = Some(number(name, value)?),
                "max_age" => age = Some(seconds(name, value)?),
                "exact" => exact = truth(name, value)?,
                _ => {
                    let text = format!("options_json: no option has the name \"{name}\"");
                    return Err(Error::argument(text));
                }
            }
        }
        match (length, age, exact) {
            (None, None, _) => Ok(Trim::Never),
            (Some(length), None, false) => Ok(Trim::Length(length)),
            (Some(length), None, true) => Ok(Trim::ExactLength(length)),
            (None, Some(age), false) => Ok(Trim::Age(age)),
            (None, Some(age), true) => Ok(Trim::ExactAge(age)),
            (Some(_), Some(_), _) => Err(Error::argument(
                "options_json: \"max_length\" and \"max_age\" exclude each other",
            )),
        }
    }
}

/// Sends messages to channels, which are Redis streams. Cheap to clone; a clone is the same sender, and any number of
/// threads may use it at once. In a forked child it works on.
///
/// ```
/// # fn main() -> redkeep::Result<()> {
/// # let keep = redkeep::Manager::open("embedded://")?;
/// use redkeep::Message;
///
/// let sender = keep.sender().register_channel("orders");
/// let id = sender.send("orders", &Message::from_json("order.created", r#"{"id": 1}"#)?)?;
/// let many: Vec<Message> = (2..100).map(|id| Message::new("order.created", &id)).collect::<Result<_, _>>()?;
/// let ids = sender.send_many("orders", &many)?;
/// assert!(ids.len() == 98 && !id.is_empty());
/// assert!(sender.send("refunds", &many[0]).is_err()); // it was not registered
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Sender {
    client: Client,
    channels: Arc<Shelf<Channel>>,
    once: Arc<Script>,
}

struct Channel {
    name: String,
    trim: Trim,
}

/// For how long a message with an idempotency key is known to have been sent.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// Sends a message unless one with its key was sent; the id of that one otherwise.
const ONCE: &str = "
local sent = redis.call('GET', KEYS[2])
if sent then return sent end
local id = redis.call('XADD', KEYS[1], unpack(ARGV, 2))
redis.call('SET', KEYS[2], id, 'PX', ARGV[1])
return id";

impl Sender {
    pub(super) fn new(client: Client) -> Sender {
        Sender {
            client,
            channels: Arc::default(),
            once: Arc::new(Script::new(ONCE)),
        }
    }

    /// Names a channel that may be sent to. Nothing is asked of the server: the stream is there with its first message.
    pub fn register_channel(self, channel: &str) -> Sender {
        self.register_channel_with(channel, Trim::Never)
    }

    /// As [`register_channel`](Sender::register_channel), with a limit for the stream's length. Registering a channel
    /// again changes its limit.
    pub fn register_channel_with(self, channel: &str, trim: Trim) -> Sender {
        // A name that cannot be is told by whoever sends to it.
        let _ = self.add(channel, trim);
        self
    }

    pub(crate) fn add(&self, channel: &str, trim: Trim) -> Result<()> {
        names::check("channel", channel)?;
        let name = channel.to_owned();
        self.channels.push(Channel { name, trim });
        Ok(())
    }

    /// Sends a message and returns its id. An error says whether it was sent: where its outcome is
    /// [`Unknown`](Outcome::Unknown), it may have been, and it is not sent again by itself; see
    /// [`send_once`](Sender::send_once).
    pub fn send(&self, channel: &str, message: &Message) -> Result<String> {
        self.send_raw(channel, message.name(), message.body())
    }

    /// The seed's name of [`send`](Sender::send).
    pub fn send_message(&self, channel: &str, message: &Message) -> Result<String> {
        self.send(channel, message)
    }

    pub(crate) fn send_raw(&self, channel: &str, name: &str, body: &str) -> Result<String> {
        let trim = self.trim_of(channel)?;
        self.client.run(
            "XADD",
            Class::Once,
            |to| {
                to.key(&channel)?;
                entry(to, &limit(trim), name, body);
                Ok(())
            },
            |reply| id(reply.as_bytes()),
        )
    }

    /// Sends a message at most once for this key, and returns its id, or that of the message that was sent with the key
    /// before. It is repeated by itself when its outcome is unknown, and the caller may repeat it too. The server
    /// remembers keys for 24 hours.
    pub fn send_once(&self, channel: &str, message: &Message, key: &str) -> Result<String> {
        self.send_once_raw(channel, message.name(), message.body(), key)
    }

    pub(crate) fn send_once_raw(
        &self,
        channel: &str,
        name: &str,
        body: &str,
        key: &str,
    ) -> Result<String> {
        let trim = self.trim_of(channel)?;
        names::check("idempotency key", key)?;
        let mark = names::sent(channel, key)?;
        let keys = &[channel, mark.as_str()];
        let mut args = vec![REMEMBERED.as_millis().to_string()];
        args.extend(limit(trim));
        args.extend(["*", "name", name, "body", body].map(str::to_owned));
        // Twice is the same as once, and the answer is the same.
        let class = Class::Repeatable;
        self.client.eval_as(
            class,
            &self.once,
            &keys,
            &args,
            |reply| id(reply.as_bytes()),
        )
    }

    /// Sends many messages in one go and returns their ids, in the same order. Should the server refuse some of them,
    /// the error says how many; should the connection break, its outcome is that of all of them together.
    pub fn send_many(&self, channel: &str, messages: &[Message]) -> Result<Vec<String>> {
        let pairs = messages.iter().map(|it| (it.name(), it.body()));
        self.send_many_raw(channel, pairs, |replies| {
            let all = replies.children(replies.root());
            let ids = all.iter().map(|entry| id(Some(replies.bytes_of(entry))));
            ids.collect()
        })
    }

    pub(crate) fn send_many_raw<'m, T>(
        &self,
        channel: &str,
        pairs: impl Iterator<Item = (&'m str, &'m str)>,
        read: impl FnOnce(&mut Reply) -> Result<T>,
    ) -> Result<T> {
        let limit = limit(self.trim_of(channel)?);
        let (mut packed, mut scratch) = (Vec::new(), Vec::new());
        let mut count = 0;
        for (name, body) in pairs {
            let mut packer = Packer::begin(&mut scratch, "XADD");
            packer.bytes(channel.as_bytes());
            entry(&mut packer, &limit, name, body);
            packed.extend_from_slice(packer.finish().0);
            count += 1;
        }
        let mut replies = Reply::new();
        if count == 0 {
            replies.set_scalar(crate::transport::Entry::scalar(Kind::Array, 0));
            return read(&mut replies);
        }
        let started = Instant::now();
        let batch = Batch {
            bytes: &packed,
            count,
            atomic: false,
            started,
            deadline: Deadline::at(started, self.client.timeout()?),
        };
        let mut reached = Reached::default();
        let dispatch = self.client.dispatch()?;
        let key = Some(channel.as_bytes());
        dispatch.call_many(&batch, Class::Once, key, &mut replies, &mut reached)?;
        let all = replies.children(replies.root());
        let mut refused = all.iter().filter(|entry| entry.kind == Kind::Error);
        match refused.next() {
            None => read(&mut replies),
            Some(first) => {
                let error = Error::from_server(replies.bytes_of(first));
                let refused = 1 + refused.count();
                let text = format!("{refused} of {count} messages were refused by the server");
                let kind = error.kind();
                let all = refused == count;
                let error = Error::new(kind, text).caused_by(error);
                Err(error.outcome_is(match all {
                    true => Outcome::Refused,
                    false => Outcome::Unknown,
                }))
            }
        }
    }

    /// Sends the messages of the channel's dead-letter stream once more, the oldest first, `most` of them at most, and
    /// takes them out of it; returns how many. They get new ids, and every listener of the channel sees them again.
    pub fn redrive(&self, channel: &str, most: u64) -> Result<u64> {
        self.trim_of(channel)?;
        super::deadletter::redrive(&self.client, channel, most)
    }

    fn trim_of(&self, channel: &str) -> Result<Trim> {
        names::check("channel", channel)?;
        // The last registration counts.
        let known = self.channels.iter().filter(|it| it.name == channel).last();
        known.map(|it| it.trim).ok_or_else(|| {
            let text = format!("channel: \"{channel}\" was not registered with this sender");
            Error::argument(text)
        })
    }
}

/// What stands between a stream's name and the entry's id.
fn limit(trim: Trim) -> Vec<String> {
    let (what, how, to) = match trim {
        Trim::Never => return Vec::new(),
        Trim::Length(n) => ("MAXLEN", "~", n.to_string()),
        Trim::ExactLength(n) => ("MAXLEN", "=", n.to_string()),
        Trim::Age(age) => ("MINID", "~", oldest(age)),
        Trim::ExactAge(age) => ("MINID", "=", oldest(age)),
    };
    vec![what.to_owned(), how.to_owned(), to]
}

fn oldest(age: Duration) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let ms = now.unwrap_or_default().saturating_sub(age).as_millis();
    format!("{ms}-0")
}

fn entry(to: &mut Packer<'_>, limit: &[String], name: &str, body: &str) {
    limit.iter().for_each(|word| to.bytes(word.as_bytes()));
    to.bytes(b"*");
    to.bytes(b"name");
    to.bytes(name.as_bytes());
    to.bytes(b"body");
    to.bytes(body.as_bytes());
}

fn id(bytes: Option<&[u8]>) -> Result<String> {
    let id = bytes.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
    id.ok_or_else(|| {
        let error = Error::new(ErrorKind::ReplyType, "the server sent no id of an entry");
        error.outcome_is(Outcome::Unknown)
    })
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.channels.iter().map(|it| it.name.as_str()).collect();
        f.debug_tuple("Sender").field(&names).finish()
    }
}
