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
//! save that, at the price of a connection for each channel, of which a pool has few.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::clock::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::node::Node;
use crate::stream::channel::Channel;
use crate::stream::groups;
use crate::stream::handle;
use crate::stream::options::Delivery;
use crate::stream::page::{Arena, Chunk, Page};
use crate::stream::poll::Inbox;
use crate::stream::shared::Shared;
use crate::stream::stats::Count;
use crate::stream::wire::{Wire, entries};
use crate::transport::{Entry, Kind, Reply};
use crate::worker::Crew;

/// One wait in the server is no longer than this, so that a reader that cannot be called back comes back soon.
const ONE_WAIT: Duration = Duration::from_secs(1);
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
    shared: Arc<Shared>,
    channels: Vec<Arc<Channel>>,
    wire: Wire,
    way: Way,
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
        }
    }

    /// Waits for messages for `block` at most, and hands over what comes; returns how many.
    pub(super) fn round(&mut self, block: Duration) -> Result<usize> {
        let deadline = Deadline::after(block);
        let mut made_again = false;
        while !self.shared.stopping.is_open() {
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
        due.map_or(left, |due| {
            left.min(due.saturating_duration_since(Instant::now()))
        })
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
        log::warn!(target: "redkeep", "channel {}: {error}", channel.name);
        channel.rest_until(Some(Instant::now() + ONE_WAIT));
        Ok(())
    }

    /// Messages that are to be tried again, and those of consumers that are gone.
    fn due(&mut self) -> Result<usize> {
        let mut found = 0;
        for channel in self.channels.clone() {
            if !channel.ready.load(Ordering::Acquire) || self.shared.stopping.is_open() {
                continue;
            }
            found += self.retry(&channel)?;
            found += self.reclaim(&channel)?;
        }
        Ok(found)
    }

    fn retry(&mut self, channel: &Arc<Channel>) -> Result<usize> {
        let due = channel.due();
        if due.is_empty() {
            return Ok(0);
        }
        let ids: Vec<&str> = due.iter().map(|(id, _)| id.as_str()).collect();
        match self.take(channel, true, &ids, true) {
            Ok(count) => Ok(count),
            Err(error) => {
                for (id, deliveries) in &due {
                    channel.again(id, *deliveries, ONE_WAIT);
                }
                Err(error)
            }
        }
    }

    /// Takes messages of our own once more.
    fn take(
        &mut self,
        channel: &Arc<Channel>,
        counts: bool,
        ids: &[&str],
        again: bool,
    ) -> Result<usize> {
        let shared = &self.shared;
        let taken = shared
            .scripts
            .take(&shared.client, channel.place(), counts, ids);
        let reply = match taken {
            Err(error) if error.kind() == ErrorKind::ReplyTooLarge => {
                return self.too_large(channel, ids, again);
            }
            other => self.checked(channel, other)?,
        };
        let root = *reply.root();
        self.deliver(
            channel,
            Arena::new(reply, &shared.spares.clone()),
            &root,
            again,
        )
    }

    /// One by one; and what is too large by itself is put away.
    fn too_large(&mut self, channel: &Arc<Channel>, ids: &[&str], again: bool) -> Result<usize> {
        if let [id] = ids {
            channel.bury(id, 1, "too_large", "it is larger than max_reply_bytes");
            return Ok(0);
        }
        let mut found = 0;
        for id in ids {
            found += self.take(channel, false, &[id], again)?;
        }
        Ok(found)
    }

    fn reclaim(&mut self, channel: &Arc<Channel>) -> Result<usize> {
        let Some((from, count)) = channel.reclaim_due() else {
            return Ok(0);
        };
        let shared = self.shared.clone();
        let idle = channel.options.claim_idle;
        let at = channel.place();
        let taken = shared
            .scripts
            .reclaim(&shared.client, at, idle, &from, count);
        let taken = match taken {
            // What was claimed is ours from now on, and found like anything else that was lost.
            Err(error) if error.kind() == ErrorKind::ReplyTooLarge => {
                channel.read_less();
                channel.set_lost();
                return Ok(0);
            }
            other => other,
        };
        let reply = self.checked(channel, taken)?;
        let parts = reply.children(reply.root());
        let [next, messages, gone] = parts else {
            return Ok(0);
        };
        for id in reply.children(gone) {
            channel.was_trimmed(&String::from_utf8_lossy(reply.bytes_of(id)));
        }
        let next = String::from_utf8_lossy(reply.bytes_of(next)).into_owned();
        if next != "0-0" {
            channel.reclaim_on(&next);
        }
        let messages = *messages;
        let arena = Arena::new(reply, &shared.spares);
        let page = Arc::new(Page::new(channel, &arena, &messages, false));
        if page.len() == 0 {
            return Ok(0);
        }
        // What is in our own hands is no business of others, and none of ours a second time.
        let flying = channel.flying();
        let own: std::collections::HashSet<&str> =
            flying.iter().flat_map(|page| page.ids(|_| true)).collect();
        let ids = page.ids(|_| true);
        let waiting = ids.iter().map(|id| (*id).to_owned()).collect();
        channel.forget_retries(&waiting);
        for (at, id) in ids.iter().enumerate() {
            if own.contains(id) {
                page.advance(
                    at,
                    crate::stream::page::mark::WAITING,
                    crate::stream::page::mark::DONE,
                );
            }
        }
        let skipped = ids.iter().filter(|id| own.contains(*id)).count();
        let count = page.len() - skipped;
        channel.counts.add(Count::Reclaimed, count as u64);
        channel.admit(&page);
        if skipped > 0 {
            channel.settle(&page, &mut Default::default(), skipped);
        }
        self.hand(channel, page)?;
        Ok(count)
    }

    /// What the server gave us, and we never heard of.
    fn recover(&mut self, channel: &Arc<Channel>) -> Result<usize> {
        let Some(known) = channel.known_if_lost() else {
            return Ok(0);
        };
        if channel.options.delivery == Delivery::AtMostOnce {
            return Ok(0);
        }
        let result = self.recover_all_but(channel, &known);
        if result.is_err() {
            channel.set_lost();
        }
        result
    }

    fn recover_all_but(
        &mut self,
        channel: &Arc<Channel>,
        known: &std::collections::HashSet<String>,
    ) -> Result<usize> {
        let Channel { name, group, .. } = &**channel;
        let most = known.len() + channel.options.count;
        let me = &self.shared.name;
        let words = ("XPENDING", name, group, "-", "+", most, me);
        let pending: Vec<(String, String, i64, i64)> = self.shared.client.command(words)?;
        let ids = pending.iter().map(|(id, ..)| id.as_str());
        let room = channel.options.count.saturating_sub(channel.in_hand());
        let lost: Vec<&str> = ids.filter(|id| !known.contains(*id)).collect();
        if lost.len() > room {
            channel.set_lost();
        }
        let now = &lost[..lost.len().min(room)];
        if now.is_empty() {
            return Ok(0);
        }
        channel.counts.add(Count::Recovered, now.len() as u64);
        self.take(channel, false, now, false)
    }

    /// One exchange with the server, or a wait for handlers; how many messages came.
    fn read(&mut self, wait: Duration) -> Result<usize> {
        let ready = |it: &&Arc<Channel>| it.ready.load(Ordering::Acquire);
        let rooms: Vec<(Arc<Channel>, usize)> = self
            .channels
            .iter()
            .filter(ready)
            .map(|it| (it.clone(), it.room()))
            .collect();
        let open: Vec<(Arc<Channel>, usize)> =
            rooms.into_iter().filter(|(_, room)| *room > 0).collect();
        match &open[..] {
            [] => {
                self.exchange(&[], Duration::ZERO)?;
                self.shared.bell.wait(Deadline::after(wait.min(ONE_SLEEP)));
                Ok(0)
            }
            [_] => self.exchange(&open, wait),
            _ => match self.exchange(&open, Duration::ZERO)? {
                0 if !wait.is_zero() && self.wait_for_any(&open, wait)? => {
                    self.exchange(&open, Duration::ZERO)
                }
                found => Ok(found),
            },
        }
    }

    fn exchange(&mut self, open: &[(Arc<Channel>, usize)], wait: Duration) -> Result<usize> {
        for channel in &self.channels {
            self.wire.acks(channel);
        }
        let first = self.wire.len();
        if first == 0 && open.is_empty() {
            return Ok(0);
        }
        let block = Some(wait).filter(|wait| !wait.is_zero());
        for (channel, room) in open {
            self.wire.read(channel, *room, block);
        }
        let mut replies = self.shared.spares.take();
        if let Err(error) = self.wire.exchange(wait, &mut replies) {
            if error.kind() == ErrorKind::ReplyTooLarge {
                for (channel, _) in open {
                    channel.read_less();
                }
            }
            return Err(error);
        }
        let arena = Arena::new(replies, &self.shared.spares);
        let all = arena.reply.children(arena.reply.root());
        let mut found = 0;
        for (i, (channel, _)) in open.iter().enumerate() {
            let reply = all.get(first + i).copied().unwrap_or(Entry::NIL);
            if reply.kind == Kind::Error {
                let error = Error::from_server(arena.reply.bytes_of(&reply));
                self.refused(channel, error)?;
            } else if let Some(entries) = entries(&arena.reply, &reply) {
                channel.read_more();
                found += self.deliver(channel, arena.clone(), entries, false)?;
            }
        }
        for (channel, _) in open {
            found += self.recover(channel)?;
        }
        Ok(found)
    }

    /// Waits until one of the streams has something that its group has not read.
    fn wait_for_any(&mut self, open: &[(Arc<Channel>, usize)], wait: Duration) -> Result<bool> {
        let mut replies = self.shared.spares.take();
        for (channel, _) in open {
            self.wire
                .add(&[b"XINFO", b"GROUPS", channel.name.as_bytes()]);
        }
        self.wire.exchange(Duration::ZERO, &mut replies)?;
        let all = replies.children(replies.root());
        let mut ids: Vec<Vec<u8>> = Vec::new();
        for ((channel, _), groups) in open.iter().zip(all) {
            match groups::last_delivered(&replies, groups, &channel.group) {
                Some(id) => ids.push(id.to_vec()),
                // It is gone: the next read will tell.
                None => return Ok(true),
            }
        }
        let block = wait.as_millis().max(1).to_string();
        let mut words: Vec<&[u8]> = vec![b"XREAD", b"COUNT", b"1", b"BLOCK", block.as_bytes()];
        words.push(b"STREAMS");
        words.extend(open.iter().map(|(channel, _)| channel.name.as_bytes()));
        words.extend(ids.iter().map(Vec::as_slice));
        self.wire.add(&words);
        let result = self.wire.exchange(wait, &mut replies);
        let woken = result.map(|()| {
            let all = replies.children(replies.root());
            all.first().is_some_and(|reply| reply.kind != Kind::Nil)
        });
        drop(Arena::new(replies, &self.shared.spares));
        woken
    }

    /// What an error says about the group.
    fn checked(&self, channel: &Channel, result: Result<Reply>) -> Result<Reply> {
        result.inspect_err(|error| {
            if is_no_group(error) {
                channel.ready.store(false, Ordering::Release);
            }
        })
    }

    fn refused(&self, channel: &Arc<Channel>, error: Error) -> Result<()> {
        channel.ready.store(false, Ordering::Release);
        if is_no_group(&error) {
            log::warn!(
                target: "redkeep",
                "channel {}: its group {} is gone, and is made again", channel.name, channel.group
            );
            return Err(error);
        }
        let at = self.channels.iter().position(|it| Arc::ptr_eq(it, channel));
        self.spare(at.unwrap_or_default(), error)
    }

    fn deliver(
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

    fn hand(&self, channel: &Arc<Channel>, page: Arc<Page>) -> Result<()> {
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

fn is_no_group(error: &Error) -> bool {
    matches!(error.code(), Some("NOGROUP" | "UNBLOCKED"))
}
