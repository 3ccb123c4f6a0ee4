//! What all handles of one consumer share: what is registered, and how it is used.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use crate::client::Client;
use crate::clock::Deadline;
use crate::dispatch::Threads;
use crate::error::{Error, ErrorKind, Result};
use crate::fork::lock;
use crate::stream::channel::Channel;
use crate::stream::consumer::Consumer;
use crate::stream::desks::Desks;
use crate::stream::duty::{self, Channels};
use crate::stream::handle;
use crate::stream::names;
use crate::stream::poll::{Inbox, stopped};
use crate::stream::reader::Way;
use crate::stream::rounds::{Pace, Tour, by_node};
use crate::stream::shared::Shared;
use crate::worker::Latch;

pub(super) struct Inner {
    pub(super) shared: Arc<Shared>,
    pub(super) listener: String,
    pub(super) channels: Mutex<Vec<Arc<Channel>>>,
    /// What was wrong with a registration.
    pub(super) fault: Mutex<Option<Error>>,
    pub(super) run: Mutex<Run>,
    /// There once it is polled.
    pub(super) polled: OnceLock<Arc<Inbox>>,
    /// How many calls consume in their callers' threads.
    busy: Mutex<usize>,
    idle: Condvar,
    pub(super) over: Arc<Latch>,
}

#[derive(Default)]
pub(super) struct Run {
    way: Option<Use>,
    /// Those who read in the background.
    desks: Option<Arc<Desks>>,
    /// Open when the thread for duties has ended.
    pub(super) duty: Option<Arc<Latch>>,
}

/// How a consumer is used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Started,
    Called,
    Polled,
}

impl Inner {
    pub(super) fn new(client: Client, listener: &str) -> Inner {
        Inner {
            shared: Shared::new(client, names::consumer(listener)),
            listener: listener.to_owned(),
            channels: Mutex::default(),
            fault: Mutex::new(names::check("listener", listener).err()),
            run: Mutex::default(),
            polled: OnceLock::new(),
            busy: Mutex::new(0),
            idle: Condvar::new(),
            over: Arc::default(),
        }
    }

    pub(super) fn usable_at_all(&self) -> Result<()> {
        match self.shared.is_foreign() {
            true => Err(Error::new(
                ErrorKind::Closed,
                "this consumer belongs to the process that made it, and this is a fork of that one; make another here",
            )),
            false => Ok(()),
        }
    }

    pub(super) fn usable(&self) -> Result<()> {
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
    pub(super) fn unused(&self) -> Result<MutexGuard<'_, Run>> {
        let run = lock(&self.run);
        match run.way {
            None => Ok(run),
            Some(_) => Err(Error::argument(
                "consumer: register before it begins to consume",
            )),
        }
    }

    /// One consumer is used in one way.
    fn used_as(&self, way: Use) -> Result<MutexGuard<'_, Run>> {
        let mut run = lock(&self.run);
        if *run.way.get_or_insert(way) != way {
            return Err(Error::argument(
                "consumer: it is used in another way already: started, consuming in the caller's thread, or polled",
            ));
        }
        Ok(run)
    }

    pub(super) fn channel(&self, name: &str) -> Result<Arc<Channel>> {
        let channels = lock(&self.channels);
        let known = channels.iter().find(|it| it.name == name);
        known.cloned().ok_or_else(|| {
            let text = format!("channel: \"{name}\" was not registered with this consumer; register_channel() comes first");
            Error::argument(text)
        })
    }

    /// A channel with a handler, read in this group.
    pub(super) fn one(&self, name: &str, group: Option<&str>) -> Result<Arc<Channel>> {
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
    pub(super) fn readable(&self, by_handlers: bool) -> Result<Vec<Arc<Channel>>> {
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

    fn begin(self: &Arc<Self>) -> Result<Busy<'_>> {
        {
            let mut run = self.used_as(Use::Called)?;
            self.start_duty(&mut run)?;
        }
        *lock(&self.busy) += 1;
        Ok(Busy(self))
    }

    pub(super) fn consume(
        self: &Arc<Self>,
        channels: Vec<Arc<Channel>>,
        block: Duration,
    ) -> Result<usize> {
        let _busy = self.begin()?;
        // Given up before `_busy` is.
        let mut tour = Tour::new(&self.shared, channels);
        let result = tour.round(block);
        tour.finish();
        result
    }

    pub(super) fn persist(self: &Arc<Self>, channels: Vec<Arc<Channel>>, pace: Pace) -> Result<()> {
        let _busy = self.begin()?;
        Tour::new(&self.shared, channels).go_on(pace)
    }

    pub(super) fn start(self: &Arc<Self>, pace: Pace) -> Result<()> {
        let channels = self.readable(true)?;
        let mut run = self.used_as(Use::Started)?;
        if run.desks.is_some() {
            return Err(Error::argument("consumer: it was started already"));
        }
        let way = match &channels[..] {
            // There is nothing else to read meanwhile, and a change of threads costs more than reading.
            [only] if only.options.concurrency == 1 => Way::Here,
            _ => Way::Crew(self.shared.client.dispatch()?.crew.clone()),
        };
        self.read_in_background(&mut run, channels, way, pace)
    }

    fn read_in_background(
        self: &Arc<Self>,
        run: &mut Run,
        channels: Vec<Arc<Channel>>,
        way: Way,
        pace: Pace,
    ) -> Result<()> {
        // As long as nothing has begun, the next call may try again: where they are served may be unknown for a moment.
        let nodes = by_node(&self.shared, channels)?;
        self.start_duty(run)?;
        let desks = Desks::new(&self.shared, way, pace);
        let begun = desks.begin(nodes);
        match begun {
            Err(_) if desks.are_none() => return begun,
            // One that reads only some of its channels must not pass for a whole one: it has ended.
            Err(_) => self.shared.stopping.open(),
            Ok(()) => {}
        }
        run.desks = Some(desks);
        begun
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
        let threads = Threads::of(self.shared.client.dispatch()?)?;
        run.duty = Some(threads.start(&self.over, "redkeep-stream", body)?);
        let own: Weak<Inner> = Arc::downgrade(self);
        self.shared.client.dispatch()?.consumers.add(own);
        Ok(())
    }

    pub(super) fn inbox(self: &Arc<Self>) -> Result<Arc<Inbox>> {
        self.usable()?;
        if let Some(inbox) = self.polled.get() {
            return Ok(inbox.clone());
        }
        let channels = self.readable(false)?;
        let mut run = self.used_as(Use::Polled)?;
        if let Some(inbox) = self.polled.get() {
            return Ok(inbox.clone());
        }
        let inbox = Inbox::new()?;
        let way = Way::Inbox(inbox.clone());
        let pace = Pace {
            rest: Duration::ZERO,
            block: Consumer::BLOCK,
        };
        self.read_in_background(&mut run, channels, way, pace)?;
        Ok(self.polled.get_or_init(|| inbox).clone())
    }

    /// False if something still ran at the deadline.
    pub(super) fn stop(&self, deadline: Deadline) -> bool {
        self.shared.stopping.open();
        let desks = lock(&self.run).desks.clone();
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
            let ended = desks.iter().all(|desks| desks.wait(step));
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
}

const STEP: Duration = Duration::from_millis(20);

impl Channels for Inner {
    fn channels(&self) -> Vec<Arc<Channel>> {
        lock(&self.channels).clone()
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
