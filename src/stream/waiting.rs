//! How a reader waits for several channels at once.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::stream::groups;
use crate::stream::page::Arena;
use crate::stream::reader::{Open, Reader};
use crate::transport::{Entry, Kind, Reply};

/// Where channels are waited for in turn, this is the turn of one of them.
const TURN: Duration = Duration::from_millis(50);

impl Reader {
    /// Waits until one of several channels has something, and reads.
    pub(super) fn wait_among(&mut self, open: &[Open], wait: Duration) -> Result<usize> {
        let node = self.wire.node();
        let moving = open.iter().any(|(channel, _)| channel.asked_to(node));
        if !moving && !self.in_turns && !self.wait_for_any(open, wait)? {
            return Ok(0);
        }
        if !moving && !self.in_turns {
            return self.exchange(open, Duration::ZERO);
        }
        self.turn = self.turn.wrapping_add(1);
        let one = &open[self.turn % open.len()];
        self.exchange(std::slice::from_ref(one), wait.min(TURN))
    }

    /// Waits until one of the streams has something that its group has not read.
    fn wait_for_any(&mut self, open: &[Open], wait: Duration) -> Result<bool> {
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
                None => {
                    self.in_turns |= cannot_be(&replies, groups);
                    return Ok(true);
                }
            }
        }
        let block = wait.as_millis().max(1).to_string();
        let mut words: Vec<&[u8]> = vec![b"XREAD", b"COUNT", b"1", b"BLOCK", block.as_bytes()];
        words.push(b"STREAMS");
        words.extend(open.iter().map(|(channel, _)| channel.name.as_bytes()));
        words.extend(ids.iter().map(Vec::as_slice));
        self.wire.add(&words);
        let result = self.wire.exchange(wait, &mut replies);
        let woken = result.map(|_| {
            let first = replies.children(replies.root()).first();
            self.in_turns |= first.is_some_and(|reply| cannot_be(&replies, reply));
            first.is_some_and(|reply| reply.kind != Kind::Nil)
        });
        drop(Arena::new(replies, &self.shared.spares));
        woken
    }
}

/// Whether the server will never answer such a question: the keys lie in different slots, or it is forbidden.
fn cannot_be(replies: &Reply, answer: &Entry) -> bool {
    use ErrorKind::{CrossSlot, NoPermission};
    answer.kind == Kind::Error
        && matches!(
            Error::from_server(replies.bytes_of(answer)).kind(),
            CrossSlot | NoPermission
        )
}
