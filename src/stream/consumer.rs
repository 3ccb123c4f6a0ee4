//! Messages come in.

use std::fmt::Display;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::client::Client;
use crate::clock::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::fork::lock;
use crate::node::Node;
use crate::stream::channel::{Channel, Handler};
use crate::stream::duty::{self, Channels};
use crate::stream::groups;
use crate::stream::handle;
use crate::stream::names;
use crate::stream::options::ChannelOptions;
use crate::stream::poll::{Inbox, stopped};
use crate::stream::reader::{Reader, Way};
use crate::stream::received::Received;
use crate::stream::shared::Shared;
use crate::stream::stats::{self, Seen};
use crate::stream::threads::Threads;
use crate::worker::Latch;

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

struct Inner {
    shared: Arc<Shared>,
    listener: String,
    channels: Mutex<Vec<Arc<Channel>>>,
    /// What was wrong with a registration.
    fault: Mutex<Option<Error>>,
    run: Mutex<Run>,
    /// There once it is polled.
    polled: OnceLock<Arc<Inbox>>,
    /// How many calls consume in their callers' threads.
    busy: Mutex<usize>,
    idle: Condvar,
    over: Arc<Latch>,
}

#[derive(Default)]
struct Run {
    way: Option<Use>,
    /// Open when the thread has ended: those that read, and the one for duties.
    readers: Vec<Arc<Latch>>,
    duty: Option<Arc<Latch>>,
}

/// The channels that one node serves.
type OfNode = (Arc<Node>, Vec<Arc<Channel>>);

/// How a consumer is used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Started,
    Called,
    Polled,
}

/// After a failed round there is always some rest.
const SHORTEST_REST: Duration = Duration::from_millis(100);

impl Consumer {
    /// How long a round waits for messages, unless told otherwise.
    pub(crate) const BLOCK: Duration = Duration::from_secs(1);
    /// How long to rest after an empty or a failed round, unless told otherwise.
    pub(crate) const REST: Duration = Duration::from_secs(5);

    pub(super) fn new(client: Client, listener: &str) -> Consumer {
        let shared = Shared::new(client, names::consumer(listener));
        let inner = Arc::new(Inner {
            shared,
            listener: listener.to_owned(),
            channels: Mutex::default(),
            fault: Mutex::new(names::check("listener", listener).err()),
            run: Mutex::default(),
            polled: OnceLock::new(),
            busy: Mutex::new(0),
            idle: Condvar::new(),
            over: Arc::default(),
        });
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
            log::warn!(target: "redkeep", "its groups will be made on first use: {error}");
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
        let inner = &self.inner;
        let channels = inner.readable(true)?;
        let mut run = inner.used_as(Use::Started)?;
        if !run.readers.is_empty() {
            return Err(Error::argument("consumer: it was started already"));
        }
        let way = match &channels[..] {
            // There is nothing else to read meanwhile, and a change of threads costs more than reading.
            [only] if only.options.concurrency == 1 => Way::Here,
            _ => Way::Crew(inner.shared.client.dispatch()?.crew.clone()),
        };
        inner.read_in_background(&mut run, channels, &way, rest, block)
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
        self.inner.persist(channels, rest_time, block_time)
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
        self.inner.persist(channels, rest_time, block_time)
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
        let name = self.inner.shared.name.clone();
        self.inner.seen(|all| stats::as_json(&name, all))
    }

    /// The same as text for Prometheus, in its exposition format: `redkeep_stream_...`, labelled by channel and group.
    pub fn stats_prometheus(&self) -> Result<String> {
        self.inner.seen(stats::as_prometheus)
    }

    /// The name under which the server knows this consumer: `{listener}.{host}.{pid}.{8 random}`.
    pub fn name(&self) -> &str {
        &self.inner.shared.name
    }
}

impl Inner {
    fn usable_at_all(&self) -> Result<()> {
        match self.shared.is_foreign() {
            true => Err(Error::new(
                ErrorKind::Closed,
                "this consumer belongs to the process that made it, and this is a fork of that one; make another here",
            )),
            false => Ok(()),
        }
    }

    fn usable(&self) -> Result<()> {
        self.usable_at_all()?;
        if self.shared.stopping.is_open() {
            return Err(stopped());
        }
        match &*lock(&self.fault) {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// What it runs, which must be nothing yet.
    fn unused(&self) -> Result<std::sync::MutexGuard<'_, Run>> {
        let run = lock(&self.run);
        match run.way {
            None => Ok(run),
            Some(_) => Err(Error::argument(
                "consumer: register before it begins to consume",
            )),
        }
    }

    /// One consumer is used in one way.
    fn used_as(&self, way: Use) -> Result<std::sync::MutexGuard<'_, Run>> {
        let mut run = lock(&self.run);
        if *run.way.get_or_insert(way) != way {
            return Err(Error::argument(
                "consumer: it is used in another way already: started, consuming in the caller's thread, or polled",
            ));
        }
        Ok(run)
    }

    fn channel(&self, name: &str) -> Result<Arc<Channel>> {
        let channels = lock(&self.channels);
        let known = channels.iter().find(|it| it.name == name);
        known.cloned().ok_or_else(|| {
            let text = format!("channel: \"{name}\" was not registered with this consumer");
            Error::argument(text)
        })
    }

    /// A channel with a handler, read in this group.
    fn one(&self, name: &str, group: Option<&str>) -> Result<Arc<Channel>> {
        self.usable()?;
        let channel = self.channel(name)?;
        let handler = channel.handler.get().ok_or_else(|| no_handler(name))?;
        let Some(group) = group.filter(|group| *group != channel.group) else {
            return Ok(channel);
        };
        names::check("group", group)?;
        let mut channels = lock(&self.channels);
        let known = channels
            .iter()
            .find(|it| it.name == name && it.group == group);
        if let Some(known) = known {
            return Ok(known.clone());
        }
        let made = Channel::new(
            name,
            group.to_owned(),
            channel.dead.clone(),
            channel.options.clone(),
            self.shared.clone(),
        );
        let _ = made.handler.set(handler.clone());
        // Behind the first of its name, which is the listener's own.
        channels.push(made.clone());
        Ok(made)
    }

    /// The channels that are read.
    fn readable(&self, by_handlers: bool) -> Result<Vec<Arc<Channel>>> {
        self.usable()?;
        let channels = lock(&self.channels);
        let own = |it: &&Arc<Channel>| it.group == names::group(&it.name, &self.listener);
        let read = channels.iter().filter(own);
        let read: Vec<Arc<Channel>> = read
            .filter(|it| it.options.read_messages)
            .cloned()
            .collect();
        if read.is_empty() {
            return Err(Error::argument(
                "consumer: no channel is registered that is to be read",
            ));
        }
        for channel in &read {
            match channel.handler.get().is_some() {
                false if by_handlers => return Err(no_handler(&channel.name)),
                true if !by_handlers => {
                    return Err(Error::argument(format!(
                        "channel: \"{}\" has a handler; a consumer is polled, or has handlers",
                        channel.name
                    )));
                }
                _ => {}
            }
        }
        Ok(read)
    }

    /// Channels by the node that serves them.
    fn by_node(&self, channels: Vec<Arc<Channel>>) -> Result<Vec<OfNode>> {
        let topology = &self.shared.client.dispatch()?.topology;
        let deadline = Deadline::after(self.shared.client.timeout()?);
        let mut nodes: Vec<OfNode> = Vec::new();
        for channel in channels {
            let node = topology.pick(Some(channel.name.as_bytes()), false, deadline)?;
            match nodes.iter_mut().find(|(it, _)| Arc::ptr_eq(it, &node)) {
                Some((_, all)) => all.push(channel),
                None => nodes.push((node.clone(), vec![channel])),
            }
        }
        Ok(nodes)
    }

    fn readers(&self, channels: &[Arc<Channel>], way: &Way) -> Result<Vec<Reader>> {
        let nodes = self.by_node(channels.to_vec())?;
        let reader = |(node, channels)| Reader::new(&self.shared, &node, channels, way.clone());
        Ok(nodes.into_iter().map(reader).collect())
    }

    fn begin(self: &Arc<Self>) -> Result<Busy<'_>> {
        {
            let mut run = self.used_as(Use::Called)?;
            self.start_duty(&mut run)?;
        }
        *lock(&self.busy) += 1;
        Ok(Busy(self))
    }

    fn consume(self: &Arc<Self>, channels: Vec<Arc<Channel>>, block: Duration) -> Result<usize> {
        let _busy = self.begin()?;
        // Given up before `_busy` is.
        let channels = channels;
        let mut readers = self.readers(&channels, &Way::Here)?;
        let share = block / readers.len().max(1) as u32;
        let mut found = 0;
        for reader in &mut readers {
            let result = reader.round(share);
            reader.finish();
            found += result?;
        }
        Ok(found)
    }

    fn persist(
        self: &Arc<Self>,
        channels: Vec<Arc<Channel>>,
        rest: Duration,
        block: Duration,
    ) -> Result<()> {
        let _busy = self.begin()?;
        let channels = channels;
        let make = || self.readers(&channels, &Way::Here);
        keep_reading(&self.shared, &make, rest, block)
    }

    fn read_in_background(
        self: &Arc<Self>,
        run: &mut Run,
        channels: Vec<Arc<Channel>>,
        way: &Way,
        rest: Duration,
        block: Duration,
    ) -> Result<()> {
        self.start_duty(run)?;
        let threads = Threads::of(&self.shared.client)?;
        for (_, channels) in self.by_node(channels)? {
            let (inner, way) = (Arc::downgrade(self), way.clone());
            let shared = self.shared.clone();
            let inbox = self.polled.get().cloned();
            let body = move || {
                let make = || match inner.upgrade() {
                    Some(inner) => inner.readers(&channels, &way),
                    None => Err(stopped()),
                };
                let result = keep_reading(&shared, &make, rest, block);
                if let Err(error) = result
                    && error.kind() != ErrorKind::Closed
                {
                    log::warn!(target: "redkeep", "consumer {}: {error}", shared.name);
                }
                if let Some(inbox) = inbox {
                    inbox.close();
                }
            };
            let stop = &self.shared.stopping;
            let ended = threads.start(stop, "redkeep-read", body)?;
            run.readers.push(ended);
        }
        Ok(())
    }

    fn start_duty(self: &Arc<Self>, run: &mut Run) -> Result<()> {
        if run.duty.is_some() {
            return Ok(());
        }
        let (inner, over) = (Arc::downgrade(self), self.over.clone());
        let shared = self.shared.clone();
        let body = move || {
            duty::run(&inner, &over);
            // Whoever rests in a thread of its own has nobody else to be told by.
            if shared.is_over() {
                shared.stopping.open();
            }
        };
        let threads = Threads::of(&self.shared.client)?;
        run.duty = Some(threads.start(&self.over, "redkeep-stream", body)?);
        Ok(())
    }

    fn inbox(self: &Arc<Self>) -> Result<Arc<Inbox>> {
        self.usable()?;
        if let Some(inbox) = self.polled.get() {
            return Ok(inbox.clone());
        }
        let channels = self.readable(false)?;
        let mut run = self.used_as(Use::Polled)?;
        if let Some(inbox) = self.polled.get() {
            return Ok(inbox.clone());
        }
        let made = Inbox::new()?;
        let inbox = self.polled.get_or_init(|| made);
        let way = Way::Inbox(inbox.clone());
        self.read_in_background(&mut run, channels, &way, Duration::ZERO, Consumer::BLOCK)?;
        Ok(inbox.clone())
    }

    /// False if something still ran at the deadline.
    fn stop(&self, deadline: Deadline) -> bool {
        self.shared.stopping.open();
        let readers = lock(&self.run).readers.clone();
        if let Some(inbox) = self.polled.get() {
            inbox.close();
        }
        if handle::is_handling() {
            self.shared.rouse();
            return true;
        }
        loop {
            let step = Deadline::after(STEP).min(deadline);
            // A reader may begin to wait just after it was called back, so it is called more than once.
            self.shared.rouse();
            let ended = readers.iter().all(|reader| reader.wait(step));
            if ended && self.wait_idle(step) {
                self.over.open();
                return true;
            }
            if deadline.passed() {
                return false;
            }
        }
    }

    fn wait_idle(&self, deadline: Deadline) -> bool {
        let mut busy = lock(&self.busy);
        while *busy > 0 {
            let Some(left) = deadline.remaining() else {
                return false;
            };
            let waited = self.idle.wait_timeout(busy, left);
            busy = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn seen<T>(&self, show: impl FnOnce(&[Seen<'_>]) -> T) -> Result<T> {
        self.usable_at_all()?;
        let channels = lock(&self.channels).clone();
        let all: Vec<Seen<'_>> = channels
            .iter()
            .map(|it| {
                let (lag, pending) = groups::lag_and_pending(it).unwrap_or_default();
                Seen {
                    channel: &it.name,
                    group: &it.group,
                    counts: &it.counts,
                    lag,
                    pending,
                    in_hand: it.in_hand(),
                }
            })
            .collect();
        Ok(show(&all))
    }
}

const STEP: Duration = Duration::from_millis(20);
/// The thread for duties ends at once, unless it is in the middle of a call.
const MOMENT: Duration = Duration::from_secs(1);

impl Channels for Inner {
    fn channels(&self) -> Vec<Arc<Channel>> {
        lock(&self.channels).clone()
    }
}

/// Rounds until the consumer is stopped or the manager is closed.
fn keep_reading(
    shared: &Shared,
    make: &dyn Fn() -> Result<Vec<Reader>>,
    rest: Duration,
    block: Duration,
) -> Result<()> {
    let mut failures = 0u32;
    let mut readers: Vec<Reader> = Vec::new();
    let mut last = None;
    while !shared.stopping.is_open() && !shared.is_over() {
        let round = |readers: &mut Vec<Reader>| {
            if readers.is_empty() {
                *readers = make()?;
            }
            let share = block / readers.len().max(1) as u32;
            readers.iter_mut().try_fold(0, |found, reader| {
                reader.round(share).map(|more| found + more)
            })
        };
        match round(&mut readers) {
            Ok(0) => {
                failures = 0;
                shared.stopping.sleep(rest);
            }
            Ok(_) => failures = 0,
            Err(error) if shared.stopping.is_open() || shared.is_over() => last = Some(error),
            Err(error) => {
                // Once, and then now and again: a server that is away for long is told of by its node.
                if failures.is_multiple_of(20) {
                    log::warn!(target: "redkeep", "consumer {}: a round failed: {error}", shared.name);
                }
                failures += 1;
                // Which node serves a channel may have changed.
                readers.clear();
                shared.stopping.sleep(rest.max(SHORTEST_REST));
            }
        }
    }
    if readers.is_empty() {
        readers = make().unwrap_or_default();
    }
    readers.iter_mut().for_each(Reader::finish);
    match (shared.is_over(), last) {
        (true, Some(error)) => Err(error),
        (true, None) => Err(Error::closed()),
        _ => Ok(()),
    }
}

fn no_handler(channel: &str) -> Error {
    Error::argument(format!("channel: \"{channel}\" has no handler"))
}

/// A call that consumes in its caller's thread.
struct Busy<'a>(&'a Inner);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        *lock(&self.0.busy) -= 1;
        self.0.idle.notify_all();
    }
}

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
