//! Messages come in.

use std::fmt::Display;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::client::Client;
use crate::clock::{Deadline, tell};
use crate::error::{Error, ErrorKind, Result};
use crate::fork::lock;
use crate::stats::{Exposition, Reporter};
use crate::stream::channel::{Channel, Handler};
use crate::stream::duty;
use crate::stream::groups;
use crate::stream::handle;
use crate::stream::inner::Inner;
use crate::stream::names;
use crate::stream::options::ChannelOptions;
use crate::stream::poll::stopped;
use crate::stream::received::Received;
use crate::stream::rounds::Pace;

/// Receives messages from channels, which are Redis streams, in the name of a listener. All consumers of one listener,
/// in whatever processes, share the messages of a channel; another listener gets all of them again.
///
/// There are three ways to use it, one for each consumer: [`start`](Consumer::start), after which handlers run on the
/// manager's worker threads (with a single channel and a concurrency of 1, on the thread that reads it) until
/// [`stop`](Consumer::stop); the `consume` and `persist` methods, which call handlers in
/// the caller's own thread; or [`poll`](Consumer::poll), without handlers.
///
/// ```
/// # fn main() -> redkeep::Result<()> {
/// # let keep = redkeep::Manager::open("embedded://")?;
/// use std::time::Duration;
/// use redkeep::{ChannelOptions, Message, Received};
///
/// let sender = keep.sender().register_channel("orders");
/// sender.send("orders", &Message::from_json("order.created", r#"{"id": 1}"#)?)?;
///
/// let (tell, told) = std::sync::mpsc::channel();
/// let worker = keep
///     .consumer("billing")
///     .register_channel("orders", ChannelOptions::new())
///     .register_handler("orders", move |message: &Received| {
///         tell.send(message.body().to_owned()) // an error, or a panic, has it delivered again
///     })
///     .start()?;
/// assert_eq!(told.recv().unwrap(), r#"{"id": 1}"#);
/// worker.stop(Duration::from_secs(10))?;
/// # Ok(()) }
/// ```
///
/// A clone is the same consumer. When the last one is dropped, it is stopped, and the drop waits for the handlers under
/// way. In a forked child a consumer that was made before refuses every call: make another one there.
#[derive(Clone)]
pub struct Consumer {
    inner: Arc<Inner>,
    /// Its drop is the end.
    _guard: Arc<Guard>,
}

impl Consumer {
    /// How long a round waits for messages, unless told otherwise.
    pub(crate) const BLOCK: Duration = Duration::from_secs(1);
    /// How long to rest after an empty or a failed round, unless told otherwise.
    pub(crate) const REST: Duration = Duration::from_secs(5);

    pub(super) fn new(client: Client, listener: &str) -> Consumer {
        let inner = Arc::new(Inner::new(client, listener));
        let _guard = Arc::new(Guard(inner.clone()));
        Consumer { inner, _guard }
    }

    /// Names a channel, and how it is to be consumed. What is wrong with it is told by the first call that consumes.
    /// With [`consumers`](ChannelOptions::consumers), all groups are made now, if the server can be reached.
    pub fn register_channel(self, channel: &str, options: ChannelOptions) -> Consumer {
        let result = self.add_channel(channel, options);
        self.noted(result)
    }

    /// Says what handles the messages of a channel. It is called with one message at a time, or with
    /// [`concurrency`](ChannelOptions::concurrency) of them on several threads; an error or a panic has the message
    /// delivered again after a pause, and put into the dead-letter stream after `max_deliveries`. A handler that never
    /// returns holds its thread for ever, and [`stop`](Consumer::stop) fails at its deadline.
    pub fn register_handler<E: Display>(
        self,
        channel: &str,
        handler: impl Fn(&Received) -> std::result::Result<(), E> + Send + Sync + 'static,
    ) -> Consumer {
        let handler = move |message: &Received| handler(message).map_err(|error| error.to_string());
        let result = self.add_handler(channel, Arc::new(handler));
        self.noted(result)
    }

    /// What was wrong with a registration, if anything was.
    pub(crate) fn check(&self) -> Result<()> {
        self.inner.usable()
    }

    fn noted(self, result: Result<()>) -> Consumer {
        if let Err(error) = result {
            lock(&self.inner.fault).get_or_insert(error);
        }
        self
    }

    pub(crate) fn add_channel(&self, channel: &str, options: ChannelOptions) -> Result<()> {
        let inner = &self.inner;
        inner.usable()?;
        names::check("channel", channel)?;
        options.check()?;
        for listener in &options.consumers {
            names::check("consumers", listener)?;
        }
        let has_others = !options.consumers.is_empty();
        let made = {
            let _run = inner.unused()?;
            let mut channels = lock(&inner.channels);
            if channels.iter().any(|it| it.name == channel) {
                let text = format!("channel: \"{channel}\" is registered already");
                return Err(Error::argument(text));
            }
            let group = names::group(channel, &inner.listener);
            let dead = names::dead(channel)?;
            let shared = inner.shared.clone();
            let made = Channel::new(channel, group, dead, options, shared);
            channels.push(made.clone());
            made
        };
        if has_others && let Err(error) = groups::make(&made) {
            tell!(Warn, "its groups will be made on first use: {error}");
        }
        Ok(())
    }

    pub(crate) fn add_handler(&self, channel: &str, handler: Handler) -> Result<()> {
        let inner = &self.inner;
        inner.usable()?;
        let _run = inner.unused()?;
        let known = inner.channel(channel)?;
        known.handler.set(handler).map_err(|_| {
            let text = format!("channel: \"{channel}\" has a handler already");
            Error::argument(text)
        })
    }

    /// Begins to consume all channels in the background, and returns. A round waits for messages for 1 s at most; after
    /// an empty or a failed one, the consumer rests for 5 s.
    pub fn start(self) -> Result<Consumer> {
        self.start_with(Consumer::REST, Consumer::BLOCK)?;
        Ok(self)
    }

    /// As [`start`](Consumer::start), with other times. With a rest of zero, messages are handled as soon as they come;
    /// after a failed round there is a rest of 100 ms all the same.
    pub fn start_with(&self, rest: Duration, block: Duration) -> Result<()> {
        self.inner.start(Pace { rest, block })
    }

    /// Reads one batch of a channel's messages and handles them in this thread; returns how many came. Waits for the
    /// first of them for `block_time` at most. Without a group, it is that of this listener: `{channel}:{listener}:cg`,
    /// with their names in place of the braces.
    pub fn consume_messages(
        &self,
        channel: &str,
        consumer_group: Option<&str>,
        block_time: Duration,
    ) -> Result<usize> {
        let channels = vec![self.inner.one(channel, consumer_group)?];
        self.inner.consume(channels, block_time)
    }

    /// Does so again and again, until [`stop`](Consumer::stop) is called in another thread or in a handler. After a
    /// round that was empty or failed, it rests; failures are logged.
    pub fn persist_consume_messages(
        &self,
        channel: &str,
        consumer_group: Option<&str>,
        rest_time: Duration,
        block_time: Duration,
    ) -> Result<()> {
        let channels = vec![self.inner.one(channel, consumer_group)?];
        let pace = Pace {
            rest: rest_time,
            block: block_time,
        };
        self.inner.persist(channels, pace)
    }

    /// As [`consume_messages`](Consumer::consume_messages), for one batch of each registered channel.
    pub fn consume_all_channels(&self, block_time: Duration) -> Result<usize> {
        let channels = self.inner.readable(true)?;
        self.inner.consume(channels, block_time)
    }

    /// As [`persist_consume_messages`](Consumer::persist_consume_messages), for all registered channels.
    pub fn persist_consume_all_channels(
        &self,
        rest_time: Duration,
        block_time: Duration,
    ) -> Result<()> {
        let channels = self.inner.readable(true)?;
        let pace = Pace {
            rest: rest_time,
            block: block_time,
        };
        self.inner.persist(channels, pace)
    }

    /// The next message, for programs without handlers; none if none comes within `timeout`. Say what became of it with
    /// [`Received::ack`] or [`Received::fail`]. From the first call on, messages are read in the background.
    pub fn poll(&self, timeout: Duration) -> Result<Option<Received>> {
        let deadline = Deadline::after(timeout);
        self.inner.inbox()?.next(deadline)
    }

    /// A descriptor that select, poll and epoll find readable while [`poll`](Consumer::poll) has something to return at
    /// once, the news that the consumer was stopped included. It belongs to the consumer: do not read or close it.
    pub fn descriptor(&self) -> Result<BorrowedFd<'_>> {
        self.inner.inbox()?;
        let inbox = self.inner.polled.get().ok_or_else(stopped)?;
        Ok(inbox.descriptor())
    }

    /// Ends it: no handler is begun any more, those under way are waited for, what they have handled is acknowledged,
    /// and what was read and not begun is given back. An error of kind [`Timeout`](ErrorKind::Timeout) says that a
    /// handler still ran after `timeout`: its message is acknowledged if it succeeds after all. Called in a handler, it
    /// does not wait. A stopped consumer stays stopped.
    pub fn stop(&self, timeout: Duration) -> Result<()> {
        self.inner.usable_at_all()?;
        match self.inner.stop(Deadline::after(timeout)) {
            true => Ok(()),
            false => Err(Error::new(
                ErrorKind::Timeout,
                "a handler was still running at the deadline; what it does is acknowledged if it succeeds",
            )),
        }
    }

    /// Deletes the entries that every group of the channel has read and acknowledged, in the channels that were
    /// registered with `message_cleanup`; returns how many. Entries that a group has still to read, or to acknowledge,
    /// stay, and so does everything while a group of one of the `consumers` is missing.
    pub fn clean_up_consumed_messages(&self) -> Result<u64> {
        self.inner.usable_at_all()?;
        let channels = lock(&self.inner.channels).clone();
        let mut deleted = 0;
        for channel in channels.iter().filter(|it| it.options.message_cleanup) {
            deleted += duty::clean(channel)?;
        }
        Ok(deleted)
    }

    /// What is counted of each channel, as JSON: `{"consumer": name, "channels": [...]}`. Fields are added, never
    /// removed:
    ///
    /// | field | meaning |
    /// |---|---|
    /// | channel, group | whose counts these are |
    /// | lag | entries that the group has not read yet; null if the server did not tell |
    /// | pending | entries that the group has read and not acknowledged; null if the server did not tell |
    /// | in_hand | messages in the hands of this consumer |
    /// | delivered, handled, failed | messages handed out, handled, and handler calls that failed |
    /// | reclaimed | messages taken over from other consumers |
    /// | recovered | own messages found again after a connection broke |
    /// | repeated | messages that the ledger knew, and that were not handled again |
    /// | dead, trimmed | messages put into the dead-letter stream, and gone before they were handled |
    /// | cleaned | entries deleted by clean-up |
    /// | handler_time | `seconds` in all, and `buckets`: how many calls (`count`) took up to `le` seconds |
    pub fn stats(&self) -> Result<Value> {
        self.inner.usable_at_all()?;
        self.inner.look();
        Ok(self.inner.as_json())
    }

    /// The same as text for Prometheus, in its exposition format: `redkeep_stream_...`, labelled by channel and group.
    pub fn stats_prometheus(&self) -> Result<String> {
        self.inner.usable_at_all()?;
        self.inner.look();
        let mut to = Exposition::default();
        self.inner.expose(&mut to);
        Ok(to.text())
    }

    /// The name under which the server knows this consumer: `{listener}.{host}.{pid}.{8 random}`.
    pub fn name(&self) -> &str {
        &self.inner.shared.name
    }
}

/// The thread for duties ends at once, unless it is in the middle of a call.
const MOMENT: Duration = Duration::from_secs(1);

/// Stops the consumer when its last handle goes.
struct Guard(Arc<Inner>);

impl Drop for Guard {
    fn drop(&mut self) {
        if self.0.shared.is_foreign() {
            // Its locks may be held by threads of the parent's.
            return std::mem::forget(self.0.clone());
        }
        self.0.stop(Deadline::never());
        self.0.over.open();
        let duty = lock(&self.0.run).duty.clone();
        if let Some(duty) = duty.filter(|_| !handle::is_handling()) {
            // It may be in the middle of a call, which is not worth a wait.
            duty.wait(Deadline::after(MOMENT));
        }
    }
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Consumer({})", self.name())
    }
}
