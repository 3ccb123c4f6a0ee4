//! The subscriber: what a program adds channels to, and receives events from.

use std::collections::hash_map::Entry;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::fork;
use crate::manager::Manager;
use crate::node::listener::Kind;
use crate::pubsub::handlers::{HandlerResult, Handlers};
use crate::pubsub::inbox::{Inbox, Polled};
use crate::pubsub::lane::Lane;
use crate::pubsub::roll::Roll;
use crate::pubsub::{Event, Gap, Mouth, Overflow, Published, Shared, SubscriberStats};

/// A poll without any subscription looks this often whether the manager was closed.
const GLANCE: Duration = Duration::from_millis(100);

/// Listens to channels, to patterns of them, and to sharded channels; they are added and removed while it runs. What is
/// published is either polled, or handed to handlers: one or the other for one subscriber.
///
/// All subscriptions of a manager share one connection to a node. When that is lost, it is made anew and everything is
/// subscribed to again; what was published meanwhile is lost, and each subscription is told so by one [`Event::Gap`],
/// which stands where the missing messages would. The same happens when another node takes over: the subscriptions of a
/// sharded channel follow its slot, and all others leave a node that is no longer a primary of the sentinels, or no
/// longer part of the cluster.
///
/// What waits to be polled or handled is bounded: by [`queue_limit`](Subscriber::queue_limit) messages and
/// [`queue_bytes`](Subscriber::queue_bytes), for all of a polled subscriber, and for each channel or pattern of one with
/// handlers. What happens beyond that says [`Overflow`]; [`stats`](Subscriber::stats) counts it.
///
/// A clone is the same subscriber. Its subscriptions end when the last clone is dropped. In a forked child it cannot be
/// used: every call says so.
///
/// Polled:
///
/// ```
/// # fn main() -> redkeep::Result<()> {
/// use std::time::Duration;
/// use redkeep::Event;
///
/// let keep = redkeep::Manager::open("embedded://")?;
/// let subscriber = keep.subscriber();
/// subscriber.add("news")?;
/// keep.publish("news", "hello")?;
/// match subscriber.poll(Duration::from_secs(5))? {
///     Some(Event::Message(message)) => assert_eq!(message.data(), b"hello"),
///     Some(Event::Gap(_)) => println!("something was missed"),
///     _ => println!("nothing came"),
/// }
/// # Ok(()) }
/// ```
///
/// With handlers, which run on the manager's worker threads (property `workers`), in order for each channel or pattern:
///
/// ```
/// # fn main() -> redkeep::Result<()> {
/// # let keep = redkeep::Manager::open("embedded://")?;
/// let (sender, receiver) = std::sync::mpsc::sync_channel(1);
/// let subscriber = keep.subscriber();
/// subscriber.on_message(move |message| sender.send(message.channel().into_owned()))?;
/// subscriber.on_gap(|gap| println!("something was missed on {:?}", gap.channel()))?;
/// subscriber.add("news")?;
/// keep.publish("news", "hello")?;
/// assert_eq!(receiver.recv().unwrap(), "news");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Subscriber {
    core: Arc<Core>,
}

struct Core {
    /// The process that it belongs to.
    generation: u64,
    /// There until it is dropped.
    parts: Option<Parts>,
}

struct Parts {
    roll: Arc<Roll>,
    shared: Arc<Shared>,
    inbox: Arc<Inbox>,
    handlers: Arc<Handlers>,
}

impl Subscriber {
    pub(super) fn new(manager: Manager) -> Subscriber {
        let shared: Arc<Shared> = Arc::default();
        let parts = Parts {
            inbox: Arc::new(Inbox::new(&shared)),
            roll: Roll::new(manager),
            shared,
            handlers: Arc::default(),
        };
        Subscriber {
            core: Arc::new(Core {
                generation: fork::generation(),
                parts: Some(parts),
            }),
        }
    }

    /// Subscribes to a channel, and returns when the server has confirmed it: what is published from then on comes.
    /// Waits at most `command_timeout`. Adding what was added before does nothing. A refusal (an ACL that forbids the
    /// channel) is this call's error, and leaves the other subscriptions alone.
    pub fn add(&self, channel: impl AsRef<[u8]>) -> Result<()> {
        self.join(Kind::Channel, channel.as_ref())
    }

    /// Subscribes to all channels whose names match: `?` is any character, `*` any number of them, `[ab]` one of these.
    /// Otherwise as [`add`](Subscriber::add). A message whose channel matches several of its subscriptions comes once
    /// for each.
    pub fn add_pattern(&self, pattern: impl AsRef<[u8]>) -> Result<()> {
        self.join(Kind::Pattern, pattern.as_ref())
    }

    /// Subscribes to a sharded channel, which belongs to the slot of its name and is published to by
    /// [`publish_sharded`](crate::Client::publish_sharded). Otherwise as [`add`](Subscriber::add).
    pub fn add_sharded(&self, channel: impl AsRef<[u8]>) -> Result<()> {
        self.join(Kind::Sharded, channel.as_ref())
    }

    /// Ends the subscription to a channel; false if there is none. What waits of it is forgotten, and no handler is called
    /// for it any more; one that runs at this moment is not waited for.
    pub fn remove(&self, channel: impl AsRef<[u8]>) -> Result<bool> {
        self.leave(Kind::Channel, channel.as_ref())
    }

    /// As [`remove`](Subscriber::remove), for a pattern.
    pub fn remove_pattern(&self, pattern: impl AsRef<[u8]>) -> Result<bool> {
        self.leave(Kind::Pattern, pattern.as_ref())
    }

    /// As [`remove`](Subscriber::remove), for a sharded channel.
    pub fn remove_sharded(&self, channel: impl AsRef<[u8]>) -> Result<bool> {
        self.leave(Kind::Sharded, channel.as_ref())
    }

    /// Has every message handled by `handler`, on the manager's worker threads: one after the other for each channel or
    /// pattern added, at the same time for different ones. An error that it returns is logged and counted, a panic too,
    /// and the next message comes. It is set once, before anything is added.
    ///
    /// Dropping the last clone of the subscriber waits for the handlers that are running, unless it is dropped in one of
    /// them.
    pub fn on_message<R: HandlerResult>(
        &self,
        handler: impl Fn(&Published) -> R + Send + Sync + 'static,
    ) -> Result<()> {
        let parts = self.parts()?;
        let names = parts.roll.names();
        names.may_have_handlers("on_message")?;
        let handler = move |message: &Published| handler(message).into_error();
        parts.handlers.set_message(Arc::new(handler))
    }

    /// Has `handler` called for every gap, in its place among the messages of that channel or pattern. Otherwise as
    /// [`on_message`](Subscriber::on_message), without which it is of no use.
    pub fn on_gap<R: HandlerResult>(
        &self,
        handler: impl Fn(&Gap) -> R + Send + Sync + 'static,
    ) -> Result<()> {
        let parts = self.parts()?;
        let names = parts.roll.names();
        names.may_have_handlers("on_gap")?;
        let handler = move |gap: &Gap| handler(gap).into_error();
        parts.handlers.set_gap(Arc::new(handler))
    }

    /// The next event, waiting for it at most that long; none if nothing came. Not for a subscriber with handlers. An error
    /// of kind [`Closed`](ErrorKind::Closed) says that the manager was closed.
    pub fn poll(&self, timeout: Duration) -> Result<Option<Event>> {
        let deadline = Deadline::after(timeout);
        let parts = self.polled("poll")?;
        loop {
            let left = deadline.remaining();
            let listens = !parts.roll.names().all.is_empty();
            if !listens && parts.is_closed()? {
                return Err(Error::closed());
            }
            let time = left.unwrap_or_default();
            let event = parts.inbox.take(match listens {
                true => time,
                false => time.min(GLANCE),
            })?;
            if event.is_some() || left.is_none() {
                return Ok(event);
            }
        }
    }

    /// A descriptor for `select`, `poll` or `epoll`, which is readable while there is something to poll, the end of the
    /// manager among it. Only for waiting: it is neither read nor closed by the program.
    pub fn fd(&self) -> Result<BorrowedFd<'_>> {
        self.polled("fd")?.inbox.fd()
    }

    /// How many messages may wait. Defaults to 10,000; at least 1.
    pub fn queue_limit(&self, messages: usize) -> Result<()> {
        let limits = &self.parts()?.shared.limits;
        limits
            .messages
            .store(at_least_one("queue_limit", messages)?, Ordering::Relaxed);
        Ok(())
    }

    /// How many bytes of messages may wait, about. Defaults to 64 MiB. One message may wait however large it is.
    pub fn queue_bytes(&self, bytes: usize) -> Result<()> {
        let limits = &self.parts()?.shared.limits;
        limits
            .bytes
            .store(at_least_one("queue_bytes", bytes)?, Ordering::Relaxed);
        Ok(())
    }

    /// What happens to a message for which there is no room. Defaults to [`Overflow::DropOldest`].
    pub fn overflow(&self, overflow: Overflow) -> Result<()> {
        let limits = &self.parts()?.shared.limits;
        limits
            .newest
            .store(overflow == Overflow::DropNewest, Ordering::Relaxed);
        Ok(())
    }

    /// What it has seen so far.
    pub fn stats(&self) -> Result<SubscriberStats> {
        let parts = self.parts()?;
        let subscriptions = parts.roll.names().all.len();
        Ok(parts.shared.counts.told(subscriptions))
    }

    fn parts(&self) -> Result<&Parts> {
        match self.core.generation == fork::generation() {
            true => Ok(self.core.parts.as_ref().expect("taken only by drop")),
            false => Err(Error::new(
                ErrorKind::Closed,
                "this subscriber belongs to the process that made it, and this is a fork of that one",
            )),
        }
    }

    fn polled(&self, what: &str) -> Result<&Parts> {
        let parts = self.parts()?;
        let mut names = parts.roll.names();
        if let (true, _) | (_, true) = parts.handlers.are_set() {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("{what}: this subscriber has handlers; one or the other"),
            ));
        }
        names.polled = true;
        drop(names);
        Ok(parts)
    }

    fn join(&self, kind: Kind, name: &[u8]) -> Result<()> {
        let parts = self.parts()?;
        let key = (kind as u8, Box::from(name));
        if parts.roll.names().all.contains_key(&key) {
            return Ok(());
        }
        let dispatch = parts.roll.manager.dispatch()?;
        if dispatch.topology.fleet.closing.is_open() {
            return Err(Error::closed());
        }
        let mouth: Arc<dyn Mouth> = match parts.handlers.are_set() {
            (true, _) => Lane::new(kind, name, &parts.shared, &parts.handlers, &dispatch.crew),
            (false, false) => Arc::new(Polled::new(kind, name, &parts.inbox)),
            (false, true) => {
                return Err(Error::argument(
                    "on_message: it has to be set, as on_gap is, before anything is added",
                ));
            }
        };
        let held = parts.roll.subscribe(kind, name, mouth.clone())?;
        let spare = {
            let mut names = parts.roll.names();
            // Should another thread have added the same name meanwhile, ours goes away again.
            match names.all.entry(key) {
                Entry::Vacant(place) => {
                    mouth.begin();
                    place.insert(held);
                    None
                }
                Entry::Occupied(_) => Some(held),
            }
        };
        drop(spare);
        // The map may have changed in between.
        parts.roll.catch_up();
        Ok(())
    }

    fn leave(&self, kind: Kind, name: &[u8]) -> Result<bool> {
        let parts = self.parts()?;
        let key = (kind as u8, Box::from(name));
        let held = parts.roll.names().all.remove(&key);
        if let Some(held) = &held {
            held.mouth.end();
            parts.inbox.nudge();
        }
        Ok(held.is_some())
    }
}

impl Parts {
    fn is_closed(&self) -> Result<bool> {
        Ok(self
            .roll
            .manager
            .dispatch()?
            .topology
            .fleet
            .closing
            .is_open())
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        let parts = self.parts.take();
        // In a fork, what the parent's threads may have been changing is left as it is.
        if self.generation != fork::generation() {
            return std::mem::forget(parts);
        }
        if let Some(parts) = parts {
            let all = std::mem::take(&mut parts.roll.names().all);
            for held in all.values() {
                held.mouth.end();
            }
            drop(all);
            parts.handlers.end();
        }
    }
}

impl std::fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Subscriber")
    }
}

fn at_least_one(what: &str, value: usize) -> Result<usize> {
    match value {
        0 => Err(Error::new(
            ErrorKind::BadValue,
            format!("{what}: 0 is not allowed; it takes a whole number from 1"),
        )),
        value => Ok(value),
    }
}
