//! Where the events of a polled subscriber wait, whatever they are about.

use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::fork::lock;
use crate::node::listener::{Kind, Message, Sink};
use crate::pubsub::queue::Queue;
use crate::pubsub::{Event, Gap, Mouth, Published, Shared};
use crate::sys::Flag;

#[derive(Default)]
struct Waiting {
    queue: Queue,
    closed: bool,
    /// Whether the flag is up.
    shown: bool,
}

pub(super) struct Inbox {
    shared: Arc<Shared>,
    waiting: Mutex<Waiting>,
    came: Condvar,
    /// Up exactly while there is something to poll. Made when it is asked for.
    flag: OnceLock<Flag>,
}

impl Inbox {
    pub(super) fn new(shared: &Arc<Shared>) -> Inbox {
        Inbox {
            shared: shared.clone(),
            waiting: Mutex::default(),
            came: Condvar::new(),
            flag: OnceLock::new(),
        }
    }

    /// The next event. None if there is none after `time`, or after being woken: then the caller looks around.
    pub(super) fn take(&self, time: Duration) -> Result<Option<Event>> {
        let mut waiting = lock(&self.waiting);
        if waiting.queue.is_empty() && !waiting.closed && !time.is_zero() {
            waiting = self
                .came
                .wait_timeout(waiting, time)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        if waiting.closed {
            return Err(Error::closed());
        }
        let event = waiting.queue.pop(&self.shared.counts);
        if event.is_some() {
            self.shared.counts.delivered.fetch_add(1, Ordering::Relaxed);
        }
        self.show(&mut waiting);
        Ok(event)
    }

    /// Wakes all who wait, so that they look around.
    pub(super) fn nudge(&self) {
        let _waiting = lock(&self.waiting);
        self.came.notify_all();
    }

    /// Readable while there is something to poll.
    pub(super) fn fd(&self) -> Result<BorrowedFd<'_>> {
        let mut waiting = lock(&self.waiting);
        let flag = match self.flag.get() {
            Some(flag) => flag,
            None => {
                let flag = Flag::new().map_err(|error| {
                    Error::new(ErrorKind::System, "no descriptor for the subscriber")
                        .caused_by(error)
                })?;
                self.flag.get_or_init(|| flag)
            }
        };
        self.show(&mut waiting);
        Ok(flag.as_fd())
    }

    /// Under the lock, so that the flag never tells less than is there.
    fn show(&self, waiting: &mut Waiting) {
        let up = !waiting.queue.is_empty() || waiting.closed;
        match self.flag.get() {
            Some(flag) if up && !waiting.shown => flag.raise(),
            Some(flag) if !up && waiting.shown => flag.lower(),
            _ => return,
        }
        waiting.shown = up;
    }

    fn push(&self, event: Event) {
        let mut waiting = lock(&self.waiting);
        let Shared { limits, counts, .. } = &*self.shared;
        if waiting.queue.push(event, limits, counts) {
            self.show(&mut waiting);
            self.came.notify_one();
        }
    }

    fn close(&self) {
        let mut waiting = lock(&self.waiting);
        waiting.closed = true;
        self.show(&mut waiting);
        self.came.notify_all();
    }

    /// Lets go of what waits under this name.
    fn forget(&self, kind: Kind, name: &[u8]) {
        let mut waiting = lock(&self.waiting);
        let keep = |event: &Event| !event.is_from(kind, name);
        waiting.queue.retain(keep, &self.shared.counts);
        self.show(&mut waiting);
    }
}

/// One name of a polled subscriber.
pub(super) struct Polled {
    kind: Kind,
    name: Box<[u8]>,
    inbox: Arc<Inbox>,
    /// Whether it is subscribed to, as far as the subscriber is concerned.
    live: Mutex<bool>,
}

impl Polled {
    pub(super) fn new(kind: Kind, name: &[u8], inbox: &Arc<Inbox>) -> Polled {
        Polled {
            kind,
            name: name.into(),
            inbox: inbox.clone(),
            live: Mutex::new(false),
        }
    }

    fn push(&self, event: impl FnOnce() -> Event) {
        let live = lock(&self.live);
        if *live {
            self.inbox.push(event());
        }
        drop(live);
        self.inbox.shared.counts.tell_of_drops();
    }
}

impl Sink for Polled {
    fn message(&self, message: &Message<'_>) {
        self.push(|| Event::Message(Published::new(message)));
    }

    fn gap(&self) {
        self.push(|| Event::Gap(Gap::new(self.kind, &self.name)));
    }

    fn closed(&self) {
        self.inbox.close();
    }
}

impl Mouth for Polled {
    fn begin(&self) {
        *lock(&self.live) = true;
    }

    fn end(&self) {
        let mut live = lock(&self.live);
        *live = false;
        self.inbox.forget(self.kind, &self.name);
    }
}
