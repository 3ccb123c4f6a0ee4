//! What a leased connection hears that nobody asked for just now: the messages of its subscriptions, MONITOR's lines,
//! the invalidations of CLIENT TRACKING.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::clock::Deadline;
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::node::{Held, Node};
use crate::transport::{Kind, Reply, command};

type Own = Held<Arc<Node>>;

/// What is still to be received, and what has been.
#[derive(Default)]
pub(super) struct Listening {
    /// What is being read: the same from one call to the next, since a call may end in the middle of it.
    incoming: Reply,
    /// Messages that came while something else was waited for.
    waiting: VecDeque<Reply>,
    /// The bytes of those.
    bytes: usize,
    /// Messages come as arrays, as they do in RESP2.
    arrays: bool,
    /// Every line is a message: MONITOR.
    pub(super) lines: bool,
}

const MESSAGES: &[&[u8]] = &[b"message", b"pmessage", b"smessage"];
const CONFIRMATIONS: &[&[u8]] = &[
    b"subscribe",
    b"psubscribe",
    b"ssubscribe",
    b"unsubscribe",
    b"punsubscribe",
    b"sunsubscribe",
];

impl Listening {
    /// Sends one packed command and reads its reply; messages that come before it wait.
    pub(super) fn call(
        &mut self,
        held: &mut Own,
        packed: &[u8],
        reply: &mut Reply,
        deadline: Deadline,
    ) -> Result<()> {
        held.with_open(|connection| connection.send(packed, deadline))?;
        loop {
            self.next(held, deadline)?;
            match self.is_message() {
                true => self.keep(held)?,
                false => break,
            }
        }
        std::mem::swap(&mut self.incoming, reply);
        Ok(())
    }

    /// Sends one packed command that subscribes or unsubscribes. The reply becomes the last of its confirmations.
    pub(super) fn subscribe(
        &mut self,
        held: &mut Own,
        packed: &[u8],
        reply: &mut Reply,
        deadline: Deadline,
    ) -> Result<()> {
        // How many confirmations come, the server alone knows; so it is asked for something that comes after them.
        let mut both = packed.to_vec();
        command(&mut both, &[b"PING"]);
        held.with_open(|connection| connection.send(&both, deadline))?;
        let mut answered = false;
        loop {
            self.next(held, deadline)?;
            match self.begins_with(CONFIRMATIONS) {
                true => {
                    self.arrays = self.incoming.kind() == Kind::Array;
                    self.incoming.root.kind = Kind::Array;
                }
                false if self.is_message() => {
                    self.keep(held)?;
                    continue;
                }
                // The answer to PING; or, before it, what came in place of any confirmation.
                false if answered => return Ok(()),
                false => {}
            }
            answered = true;
            std::mem::swap(&mut self.incoming, reply);
        }
    }

    /// The next message. None if none is there by the deadline.
    pub(super) fn receive(&mut self, held: &mut Own, deadline: Deadline) -> Result<Option<Reply>> {
        if let Some(message) = self.waiting.pop_front() {
            self.bytes -= size(&message);
            return Ok(Some(message));
        }
        let incoming = &mut self.incoming;
        if !held.with_open(|connection| connection.next(incoming, deadline))? {
            return Ok(None);
        }
        let mut message = std::mem::take(&mut self.incoming);
        if message.kind() == Kind::Push {
            message.root.kind = Kind::Array;
        }
        Ok(Some(message))
    }

    fn next(&mut self, held: &mut Own, deadline: Deadline) -> Result<()> {
        let incoming = &mut self.incoming;
        held.with_open(|connection| match connection.next(incoming, deadline)? {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Timeout, "no reply came in time")
                .outcome_is(Outcome::Unknown)),
        })
    }

    fn is_message(&self) -> bool {
        self.incoming.kind() == Kind::Push || (self.arrays && self.begins_with(MESSAGES))
    }

    fn begins_with(&self, words: &[&[u8]]) -> bool {
        let all = self.incoming.children(self.incoming.root());
        matches!(self.incoming.kind(), Kind::Push | Kind::Array)
            && all
                .first()
                .is_some_and(|first| words.contains(&self.incoming.bytes_of(first)))
    }

    /// Keeps what came for `receive`.
    fn keep(&mut self, held: &Own) -> Result<()> {
        let mut message = std::mem::take(&mut self.incoming);
        message.root.kind = Kind::Array;
        self.bytes += size(&message);
        let most = held.node().dialer.settings.max_reply_bytes;
        if self.bytes > most {
            return Err(Error::new(
                ErrorKind::ReplyTooLarge,
                format!("more than {most} bytes of messages wait to be received (property max_reply_bytes)"),
            )
            .outcome_is(Outcome::Unknown));
        }
        self.waiting.push_back(message);
        Ok(())
    }
}

fn size(message: &Reply) -> usize {
    message.bytes.len() + size_of_val(message.entries.as_slice()) + size_of::<Reply>()
}
