//! The one push connection of a node, on which all subscriptions of a process share one socket and one thread.
//!
//! ```text
//!  subscribe, drop ──orders──> inbox ··bell··> thread redkeep-listen: Rounds
//!                                               ├─ Topics   who listens to what, and what the server has confirmed
//!                                               ├─ Tracking who watches which keys for changes
//!                                               └─ Link     the socket: what was asked, what was answered, PING
//!  Sink::message, gap, closed <──────────────────┘
//! ```
//!
//! Thread and socket begin with the first subscription and end a moment after the last one. Only the thread knows what
//! is subscribed, so that a message reaches its sinks without a lock. A lost socket is dialled again, at once at first;
//! everything is subscribed anew, and each subscription is told of the gap when it is.

mod link;
mod rounds;
#[cfg(test)]
mod tests;
mod topics;
mod tracking;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::clock::Deadline;
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::fork::{self, lock};
use crate::node::condition::Condition;
use crate::sys::Flag;
use crate::transport::Dialer;
use crate::worker::Worker;
use rounds::Rounds;

/// What a subscription is to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A channel.
    Channel,
    /// All channels whose names match.
    Pattern,
    /// A channel that belongs to the slot of its name.
    Sharded,
}

impl Kind {
    pub(crate) const ALL: [Kind; 3] = [Kind::Channel, Kind::Pattern, Kind::Sharded];

    fn subscribe(self) -> &'static [u8] {
        match self {
            Kind::Channel => b"SUBSCRIBE",
            Kind::Pattern => b"PSUBSCRIBE",
            Kind::Sharded => b"SSUBSCRIBE",
        }
    }

    fn unsubscribe(self) -> &'static [u8] {
        match self {
            Kind::Channel => b"UNSUBSCRIBE",
            Kind::Pattern => b"PUNSUBSCRIBE",
            Kind::Sharded => b"SUNSUBSCRIBE",
        }
    }
}

/// A published message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) kind: Kind,
    /// The pattern that the channel matched, for a subscription to a pattern.
    pub(crate) pattern: Option<&'a [u8]>,
    pub(crate) channel: &'a [u8],
    pub(crate) data: &'a [u8],
}

/// Who listens. It is called on the listener's thread, one call after the other and without a lock, and holds up
/// every other subscription of the node while it works: it hands over to a queue. It must not subscribe from in here.
pub(crate) trait Sink: Send + Sync {
    /// May come once more while the subscription is being dropped.
    fn message(&self, message: &Message<'_>);
    /// The connection was lost and is there again: what was published meanwhile never comes. Told once for each time
    /// that the subscription was renewed.
    fn gap(&self);
    /// The server refuses to renew it, or cannot be reached: the channel may live elsewhere now. The server is asked again
    /// after a while.
    fn refused(&self, _error: &Error) {}
    /// The manager was closed: nothing comes any more.
    fn closed(&self);
}

/// Who wants to know which of the node's keys change. Called as a [`Sink`] is.
pub(crate) trait Watcher: Send + Sync {
    /// From now on every change is told. Comes again after `lost`.
    fn begun(&self);
    /// Changes may have been missed, and none are told for now. Comes also when none were told before.
    fn lost(&self);
    /// This key was set, deleted or has expired. May be one that was not asked for.
    fn changed(&self, key: &[u8]);
    /// Any key may have changed: the database was emptied, or part of it has moved to another node.
    fn all_changed(&self);
}

/// How the names of the keys begin that somebody watches; none: every key.
pub(crate) type Prefixes = Arc<[Box<[u8]>]>;

/// Gives access to the node's push connection.
pub(crate) struct Listener {
    shared: Arc<Shared>,
}

struct Shared {
    /// The process that it belongs to.
    generation: u64,
    name: Arc<str>,
    dialer: Dialer,
    condition: Arc<Condition>,
    next_id: AtomicU64,
    inbox: Mutex<Inbox>,
}

/// What the thread is to do next.
#[derive(Default)]
struct Inbox {
    orders: Vec<Order>,
    /// The connection is stale.
    renew: bool,
    /// Keys may have changed untold.
    doubt: bool,
    /// For good.
    closed: bool,
    /// There while the thread runs.
    bell: Option<Arc<Flag>>,
    worker: Option<Worker>,
}

enum Order {
    Subscribe {
        kind: Kind,
        name: Arc<[u8]>,
        id: u64,
        sink: Arc<dyn Sink>,
        answer: Sender<Result<()>>,
    },
    Unsubscribe {
        kind: Kind,
        name: Arc<[u8]>,
        id: u64,
    },
    Watch {
        id: u64,
        prefixes: Prefixes,
        watcher: Arc<dyn Watcher>,
        answer: Sender<Result<()>>,
    },
    Unwatch {
        id: u64,
    },
}

impl Inbox {
    fn ring(&self) {
        if let Some(bell) = &self.bell {
            bell.raise();
        }
    }
}

impl Listener {
    pub(crate) fn new(name: &Arc<str>, dialer: &Dialer, condition: &Arc<Condition>) -> Listener {
        Listener {
            shared: Arc::new(Shared {
                generation: fork::generation(),
                name: name.clone(),
                dialer: dialer.clone(),
                condition: condition.clone(),
                next_id: AtomicU64::new(0),
                inbox: Mutex::default(),
            }),
        }
    }

    /// Subscribes, and waits until the server has confirmed it. Several subscriptions to one name are one on the
    /// server. A node that cannot be reached is told when two attempts have failed, or at the deadline.
    pub(crate) fn subscribe(
        &self,
        kind: Kind,
        name: &[u8],
        sink: Arc<dyn Sink>,
        deadline: Deadline,
    ) -> Result<Subscription> {
        let shared = &self.shared;
        let (answer, answered) = bounded(1);
        // From here on, giving up takes the order back.
        let subscription = Subscription {
            shared: shared.clone(),
            kind,
            name: name.into(),
            id: shared.next_id.fetch_add(1, Ordering::Relaxed),
        };
        shared.order(Order::Subscribe {
            kind,
            name: subscription.name.clone(),
            id: subscription.id,
            sink,
            answer,
        })?;
        match answered.recv_timeout(deadline.remaining().unwrap_or_default()) {
            Ok(result) => result.map(|()| subscription),
            Err(RecvTimeoutError::Timeout) => Err(Error::new(
                ErrorKind::Timeout,
                "the server did not confirm the subscription in time",
            )
            .outcome_is(Outcome::Unknown)
            .on_node(&shared.name)),
            Err(RecvTimeoutError::Disconnected) => Err(Error::closed()),
        }
    }

    /// Has the watcher told of every change to a key that begins with one of these, from the moment at which the server
    /// confirms it, and again after each loss of the connection. What comes out of the receiver is how the first attempt
    /// went; a refusal is repeated from time to time, and does not end the watch.
    pub(crate) fn watch(
        &self,
        prefixes: Prefixes,
        watcher: Arc<dyn Watcher>,
    ) -> Result<(Watch, Receiver<Result<()>>)> {
        let shared = &self.shared;
        let (answer, answered) = bounded(1);
        let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
        shared.order(Order::Watch {
            id,
            prefixes,
            watcher,
            answer,
        })?;
        let shared = shared.clone();
        Ok((Watch { shared, id }, answered))
    }

    /// Keys of this node may have changed without its telling: part of them has moved to another.
    pub(crate) fn doubt(&self) {
        let mut inbox = lock(&self.shared.inbox);
        inbox.doubt = true;
        inbox.ring();
    }

    /// What is connected now is stale: connect anew, at once.
    pub(crate) fn renew(&self) {
        let mut inbox = lock(&self.shared.inbox);
        inbox.renew = true;
        inbox.ring();
    }

    /// Ends it for good; whoever waits is told.
    pub(crate) fn close(&self) {
        let mut inbox = lock(&self.shared.inbox);
        inbox.closed = true;
        inbox.ring();
    }

    /// Waits for the end of the thread, if it runs; false if it still ran at the deadline.
    pub(crate) fn join(&self, deadline: Deadline) -> bool {
        let worker = lock(&self.shared.inbox).worker.take();
        worker.is_none_or(|worker| worker.join(deadline))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    /// Hands an order to the thread, which is started if it does not run.
    fn order(self: &Arc<Shared>, order: Order) -> Result<()> {
        let mut inbox = lock(&self.inbox);
        if inbox.closed {
            return Err(Error::closed());
        }
        if inbox.bell.is_none() {
            let bell = Flag::new().map_err(|error| {
                Error::new(ErrorKind::System, "no descriptor for the listener").caused_by(error)
            })?;
            let bell = Arc::new(bell);
            let rounds = Rounds::new(self.clone(), bell.clone());
            inbox.worker = Some(Worker::start("redkeep-listen", || rounds.run())?);
            inbox.bell = Some(bell);
        }
        inbox.orders.push(order);
        inbox.ring();
        Ok(())
    }

    /// Takes something back, where there is a thread that knows of it.
    fn take_back(&self, order: Order) {
        // In a fork, the listener and its locks are the parent's: nothing of it may be touched.
        if self.generation != fork::generation() {
            return;
        }
        let mut inbox = lock(&self.inbox);
        if inbox.bell.is_some() {
            inbox.orders.push(order);
            inbox.ring();
        }
    }
}

/// A subscription that the server has confirmed; dropped, it ends. While it lasts it is renewed after every loss of
/// the connection.
pub(crate) struct Subscription {
    shared: Arc<Shared>,
    kind: Kind,
    name: Arc<[u8]>,
    id: u64,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.shared.take_back(Order::Unsubscribe {
            kind: self.kind,
            name: self.name.clone(),
            id: self.id,
        });
    }
}

/// Somebody's wish to be told of changes; dropped, it ends.
pub(crate) struct Watch {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.take_back(Order::Unwatch { id: self.id });
    }
}
