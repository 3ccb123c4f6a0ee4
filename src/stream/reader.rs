//! Reading: one round after the other, over one connection, for all channels of a node.
//!
//! ```text
//!  one channel      XACK …  XREADGROUP BLOCK                       a message wakes the read itself
//!  several          XACK …  XREADGROUP  XACK …  XREADGROUP  …      all that there is
//!                   XINFO GROUPS …                                 nothing: up to where have the groups read?
//!                   XREAD COUNT 1 BLOCK, all streams from there    wakes when one of them has something new
//! ```
//!
//! XREADGROUP waits for the streams of one group only, and groups are named after their channels. So several channels
//! are waited for by XREAD, which knows no groups, and costs one round trip more; a connection for each channel would
//! save that, at the price of a connection for each channel, of which a pool has few. Channels in different slots of a
//! cluster cannot be named in one XREAD: they are waited for in turn, for a moment each.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock::{Deadline, Moment, tell};
use crate::error::{Error, ErrorKind, Result};
use crate::node::Node;
use crate::stream::channel::Channel;
use crate::stream::groups;
use crate::stream::handle;
use crate::stream::page::{Arena, Chunk, Page};
use crate::stream::poll::Inbox;
use crate::stream::shared::Shared;
use crate::stream::wire::{Wire, entries};
use crate::transport::{Entry, Kind, Reply};
use crate::worker::Crew;

/// One wait in the server is no longer than this, so that a reader that cannot be called back comes back soon.
pub(super) const ONE_WAIT: Duration = Duration::from_secs(1);
/// The bell is rung when there is something to do; this is for what nobody rings for.
const ONE_SLEEP: Duration = Duration::from_millis(100);

/// Where messages go.
#[derive(Clone)]
pub(super) enum Way {
    /// To handlers in this thread.
    Here,
    /// To handlers in the threads of the pool.
    Crew(Arc<Crew>),
    /// To whoever polls.
    Inbox(Arc<Inbox>),
}

pub(super) struct Reader {
    pub(super) shared: Arc<Shared>,
    pub(super) channels: Vec<Arc<Channel>>,
    pub(super) wire: Wire,
    way: Way,
    /// The channels cannot be waited for together.
    pub(super) in_turns: bool,
    pub(super) turn: usize,
}

impl Reader {
    pub(super) fn new(
        shared: &Arc<Shared>,
        node: &Arc<Node>,
        channels: Vec<Arc<Channel>>,
        way: Way,
    ) -> Reader {
        Reader {
            shared: shared.clone(),
            channels,
            wire: Wire::new(shared, node),
            way,
            in_turns: false,
            turn: 0,
        }
    }

    /// From now on these are its channels.
    pub(super) fn attend_to(&mut self, channels: Vec<Arc<Channel>>) {
        self.channels = channels;
        self.in_turns = false;
    }

    /// Whether another node serves one of its channels now.
    pub(super) fn has_strayed(&self) -> bool {
        let node = self.wire.node();
        let elsewhere = |it: &Arc<Channel>| it.is_elsewhere(node);
        let dispatch = self.shared.client.dispatch();
        dispatch.is_ok_and(|it| it.topology.may_change()) && self.channels.iter().any(elsewhere)
    }

    /// Waits for messages for `block` at most, and hands over what comes; returns how many. It ends early when a channel
    /// has strayed.
    pub(super) fn round(&mut self, block: Duration) -> Result<usize> {
        let steps = AssertUnwindSafe(|| self.steps(Deadline::after(block)));
        let result = catch_unwind(steps).unwrap_or_else(|_| Err(self.start_anew()));
        if let (Err(error), Ok(dispatch)) = (&result, self.shared.client.dispatch()) {
            dispatch.met(self.wire.node(), error);
        }
        result
    }

    /// After a panic, which the panic hook has reported; whoever logs for us may panic, too. A consumer must not end
    /// unseen, and what was being read is asked for again.
    fn start_anew(&mut self) -> Error {
        self.wire.hang_up();
        self.wire = Wire::new(&self.shared, &self.wire.node().clone());
        self.channels.iter().for_each(|it| it.set_lost());
        Error::new(ErrorKind::Internal, "the reader panicked")
    }

    fn steps(&mut self, deadline: Deadline) -> Result<usize> {
        let mut made_again = false;
        while !self.shared.stopping.is_open() && !self.has_strayed() {
            match self.step(deadline) {
                Ok(0) if deadline.passed() => break,
                Ok(0) => {}
                // The groups are made again, once; from there on it is an error.
                Err(error) if is_no_group(&error) && !made_again => made_again = true,
                other => return other,
            }
        }
        Ok(0)
    }

    fn step(&mut self, deadline: Deadline) -> Result<usize> {
        self.make_groups()?;
        let found = self.due()?;
        let wait = match found {
            0 => self.patience(deadline),
            _ => Duration::ZERO,
        };
        let read = self.read(wait);
        // What was handed over is not taken back by what comes after it.
        match read {
            Ok(more) => Ok(found + more),
            Err(error) => {
                self.channels.iter().for_each(|it| it.set_lost());
                Err(error)
            }
        }
    }

    fn patience(&self, deadline: Deadline) -> Duration {
        let left = deadline.remaining().unwrap_or_default().min(ONE_WAIT);
        let due = self.channels.iter().filter_map(|it| it.next_due()).min();
        due.map_or(left, |due| left.min(due.since(Moment::now())))
    }

    fn make_groups(&mut self) -> Result<()> {
        for i in 0..self.channels.len() {
            let channel = &self.channels[i];
            if channel.ready.load(Ordering::Acquire) {
                continue;
            }
            match groups::make(channel) {
                Ok(()) => channel.rest_until(None),
                Err(error) => self.spare(i, error)?,
            }
        }
        Ok(())
    }

    /// An error of one channel among several lets the others go on, and that one rest for a while.
    fn spare(&self, at: usize, error: Error) -> Result<()> {
        let channel = &self.channels[at];
        let all = self.channels.len() == 1 || error.outcome() != crate::error::Outcome::Refused;
        if all {
            return Err(error);
        }
        tell!(Warn, "channel {}: {error}", channel.name);
        channel.rest_until(Some(Moment::now() + ONE_WAIT));
        Ok(())
    }

    /// One exchange with the server, or a wait for handlers; how many messages came.
    fn read(&mut self, wait: Duration) -> Result<usize> {
        let ready = |it: &&Arc<Channel>| it.ready.load(Ordering::Acquire);
        let rooms: Vec<Open> = self
            .channels
            .iter()
            .filter(ready)
            .map(|it| (it.clone(), it.room()))
            .collect();
        let open: Vec<Open> = rooms.into_iter().filter(|(_, room)| *room > 0).collect();
        match &open[..] {
            [] => {
                self.exchange(&[], Duration::ZERO)?;
                self.shared.bell.wait(Deadline::after(wait.min(ONE_SLEEP)));
                Ok(0)
            }
            [_] => self.exchange(&open, wait),
            _ => match self.exchange(&open, Duration::ZERO)? {
                0 if !wait.is_zero() && !self.has_strayed() => self.wait_among(&open, wait),
                found => Ok(found),
            },
        }
    }

    pub(super) fn exchange(&mut self, open: &[Open], wait: Duration) -> Result<usize> {
        for channel in &self.channels {
            self.wire.acks(channel);
        }
        if self.wire.is_empty() && open.is_empty() {
            return Ok(0);
        }
        let block = Some(wait).filter(|wait| !wait.is_zero());
        let answers: Vec<usize> = open
            .iter()
            .map(|(channel, room)| self.wire.read(channel, *room, block))
            .collect();
        let mut replies = self.shared.spares.take();
        let refused = self
            .wire
            .exchange(wait, &mut replies)
            .inspect_err(|error| {
                if error.kind() == ErrorKind::ReplyTooLarge {
                    for (channel, _) in open {
                        channel.read_less();
                    }
                }
            })?;
        let mut result = Ok(());
        for (channel, error) in refused {
            result = result.and(self.refused(&channel, error));
        }
        let arena = Arena::new(replies, &self.shared.spares);
        let all = arena.reply.children(arena.reply.root());
        let mut found = 0;
        for ((channel, _), answer) in open.iter().zip(answers) {
            let reply = all.get(answer).copied().unwrap_or(Entry::NIL);
            if reply.kind == Kind::Error {
                let error = Error::from_server(arena.reply.bytes_of(&reply));
                result = result.and(self.refused(channel, error));
                continue;
            }
            let entries = entries(&arena.reply, &reply);
            channel.was_read(entries.is_some());
            if let Some(entries) = entries {
                found += self.deliver(channel, arena.clone(), entries, false)?;
            }
        }
        result?;
        for (channel, _) in open {
            found += self.recover(channel)?;
        }
        Ok(found)
    }

    /// What an error says about the group.
    pub(super) fn checked(&self, channel: &Channel, result: Result<Reply>) -> Result<Reply> {
        result.inspect_err(|error| {
            if is_no_group(error) {
                channel.ready.store(false, Ordering::Release);
            }
        })
    }

    /// What the server's refusal of one channel means for it, and for all of them.
    fn refused(&mut self, channel: &Arc<Channel>, error: Error) -> Result<()> {
        use ErrorKind::{Cluster, Loading, NoWrites, OutOfMemory, ReadOnly};
        let dispatch = self.shared.client.dispatch()?;
        let node = self.wire.node();
        if is_no_group(&error) {
            channel.ready.store(false, Ordering::Release);
            match error.code() {
                // It may have become a replica.
                Some("UNBLOCKED") => dispatch.topology.doubt(),
                _ => tell!(
                    Warn,
                    "channel {}: its group {} is gone, and is made again",
                    channel.name,
                    channel.group
                ),
            }
            return Err(error);
        }
        let error = error.on_node(&node.name);
        if let Some(to) = dispatch.sent_on(node, &error)? {
            let asked = (error.code() == Some("ASK")).then_some(to);
            channel.stray(asked);
            return Ok(());
        }
        dispatch.met(node, &error);
        match error.kind() {
            // It refuses all of them alike, and the connection may lead to another server next time.
            ReadOnly => {
                self.wire.hang_up();
                return Err(error);
            }
            Cluster | Loading | NoWrites | OutOfMemory => {}
            _ => channel.ready.store(false, Ordering::Release),
        }
        let at = self.channels.iter().position(|it| Arc::ptr_eq(it, channel));
        self.spare(at.unwrap_or_default(), error)
    }

    pub(super) fn deliver(
        &mut self,
        channel: &Arc<Channel>,
        arena: Arc<Arena>,
        entries: &Entry,
        again: bool,
    ) -> Result<usize> {
        let page = Arc::new(Page::new(channel, &arena, entries, again));
        let count = page.len();
        if count > 0 {
            channel.admit(&page);
            drop(arena);
            self.hand(channel, page)?;
        }
        Ok(count)
    }

    pub(super) fn hand(&self, channel: &Arc<Channel>, page: Arc<Page>) -> Result<()> {
        match &self.way {
            Way::Here => handle::run(&Chunk::new(page, None), true),
            Way::Crew(crew) => channel.hand_over(page, crew)?,
            Way::Inbox(inbox) => inbox.put(page),
        }
        Ok(())
    }

    /// The end: what was handled is acknowledged; what was not begun is given back, once no handler runs any more.
    pub(super) fn finish(&mut self) {
        let stopping = self.shared.stopping.is_open();
        while stopping && self.shared.has_jobs() && !self.shared.is_over() {
            self.shared.bell.wait(Deadline::after(ONE_SLEEP));
        }
        for channel in &self.channels {
            if stopping {
                groups::give_back(channel);
            }
            channel.send_acks();
        }
    }
}

/// A channel, and how many messages may be read of it.
pub(super) type Open = (Arc<Channel>, usize);

fn is_no_group(error: &Error) -> bool {
    matches!(error.code(), Some("NOGROUP" | "UNBLOCKED"))
}
