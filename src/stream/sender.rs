//! Messages go out.

use std::sync::Arc;
use std::time::Duration;

use crate::client::{Client, Packer, Script, Spread};
use crate::clock::{Deadline, Moment};
use crate::dispatch::Class;
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::node::Batch;
use crate::stream::message::Message;
use crate::stream::names;
use crate::stream::shelf::Shelf;
use crate::stream::trim::Trim;
use crate::transport::{Entry, Kind, Reached, Reply};

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
                entry(to, &trim.words(), name, body);
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
        args.extend(trim.words());
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
        let limit = self.trim_of(channel)?.words();
        let (mut packed, mut ends) = (Vec::new(), Vec::new());
        for (name, body) in pairs {
            let mut packer = Packer::behind(&mut packed);
            packer.bytes(b"XADD");
            packer.bytes(channel.as_bytes());
            entry(&mut packer, &limit, name, body);
            packer.finish();
            ends.push(packed.len());
        }
        let mut replies = Reply::new();
        if ends.is_empty() {
            replies.set_scalar(Entry::scalar(Kind::Array, 0));
            return read(&mut replies);
        }
        match self.client.dispatch()?.topology.may_change() {
            true => self.send_apart(channel, &packed, &ends, &mut replies)?,
            false => self.send_together(channel, &packed, ends.len(), &mut replies)?,
        }
        let all = replies.children(replies.root());
        let mut refused = all.iter().filter(|entry| entry.kind == Kind::Error);
        match refused.next() {
            None => read(&mut replies),
            Some(first) => {
                let error = Error::from_server(replies.bytes_of(first));
                let (refused, count) = (1 + refused.count(), ends.len());
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

    /// To the one server that there is, in one write.
    fn send_together(
        &self,
        channel: &str,
        packed: &[u8],
        count: usize,
        replies: &mut Reply,
    ) -> Result<()> {
        let started = Moment::now();
        let batch = Batch {
            bytes: packed,
            count,
            atomic: false,
            started,
            deadline: Deadline::at(started, self.client.timeout()?),
        };
        let (dispatch, key) = (self.client.dispatch()?, Some(channel.as_bytes()));
        dispatch.call_many(&batch, Class::Once, key, replies, &mut Reached::default())
    }

    /// Where another node may take over in the middle: each message is followed by itself, so that what one node has
    /// taken is not sent to the other, and what it refused is.
    fn send_apart(
        &self,
        channel: &str,
        packed: &[u8],
        ends: &[usize],
        replies: &mut Reply,
    ) -> Result<()> {
        let started = Moment::now();
        let deadline = Deadline::at(started, self.client.timeout()?);
        let mut spread = Spread::default();
        let mut begin = 0;
        for &end in ends {
            let key = Some(channel.as_bytes());
            spread.add_plain(&packed[begin..end], Class::Once, key);
            begin = end;
        }
        let mut outcomes = Vec::new();
        let dispatch = self.client.dispatch()?;
        let result = spread.run(dispatch, started, deadline, replies, &mut outcomes);
        result.map_err(|error| {
            let count = ends.len();
            let unknown = outcomes.iter().flatten();
            let unknown = unknown.filter(|it| **it == Outcome::Unknown).count();
            let sent = outcomes.iter().filter(|it| it.is_none()).count();
            let outcome = match (sent, unknown) {
                (0, 0) => error.outcome(),
                _ => Outcome::Unknown,
            };
            let text = format!(
                "{sent} of {count} messages were sent, and of {unknown} it is not known: {}",
                error.message()
            );
            error.with_message(text).outcome_is(outcome)
        })
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
            let text = format!("channel: \"{channel}\" was not registered with this sender; register_channel() comes first");
            Error::argument(text)
        })
    }
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
