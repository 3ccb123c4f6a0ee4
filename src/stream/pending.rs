//! What a reader does about messages that the server counts as pending: those to be tried again, those of consumers that
//! are gone, and those that it gave us and we never heard of.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::{ErrorKind, Result};
use crate::stream::channel::Channel;
use crate::stream::options::Delivery;
use crate::stream::page::{Arena, Page, mark};
use crate::stream::reader::{ONE_WAIT, Reader};
use crate::stream::stats::Count;

impl Reader {
    /// Messages that are to be tried again, and those of consumers that are gone.
    pub(super) fn due(&mut self) -> Result<usize> {
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
        let own: HashSet<&str> = flying.iter().flat_map(|page| page.ids(|_| true)).collect();
        let ids = page.ids(|_| true);
        let waiting = ids.iter().map(|id| (*id).to_owned()).collect();
        channel.forget_retries(&waiting);
        for (at, id) in ids.iter().enumerate() {
            if own.contains(id) {
                page.advance(at, mark::WAITING, mark::DONE);
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
    pub(super) fn recover(&mut self, channel: &Arc<Channel>) -> Result<usize> {
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
        known: &HashSet<String>,
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
}
