//! The socket of a listener: what was asked on it, and what the server's words mean.
//!
//! Every command names one channel, so that each has exactly one answer, and they come in order. In RESP3 answers to
//! subscriptions and messages are pushes; in RESP2 they are arrays, the first element of which tells what they are.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Moment;
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::node::listener::{Kind, Message};
use crate::sys::{PollFd, READABLE, WRITABLE};
use crate::transport::{Connection, Kind as ReplyKind, Progress, Reply, command};

/// What a large message has left behind is given back above this.
const KEEP: usize = 64 << 10;

enum Asked {
    Ping,
    Subscribe(Kind, Arc<[u8]>, u64),
    Unsubscribe(Kind, Arc<[u8]>),
    Track(u64),
    Untrack,
}

/// What has come from the server.
pub(super) enum News<'a> {
    Message(Message<'a>),
    Subscribed(Kind, Arc<[u8]>, u64),
    Refused(Kind, Arc<[u8]>, u64, Error),
    /// The server ended the subscription by itself: a sharded channel has moved.
    Dropped(Kind, Arc<[u8]>),
    /// Keys were changed.
    Changed(Changed<'a>),
    /// It tells of changes from now on.
    Tracked(u64),
    Untold(u64, Error),
    /// An answer from which nothing follows.
    Nothing,
}

/// The keys that the server says were changed.
pub(super) struct Changed<'a>(&'a Reply);

impl<'a> Changed<'a> {
    /// None: all there are.
    pub(super) fn keys(&self) -> Option<impl Iterator<Item = &'a [u8]>> {
        let reply = self.0;
        let list = reply.children(reply.root()).get(1)?;
        let keys = reply.children(list);
        (list.kind == ReplyKind::Array).then(|| keys.iter().map(|key| reply.text_of(key)))
    }
}

pub(super) struct Link {
    connection: Connection,
    reply: Reply,
    out: Vec<u8>,
    /// How much of `out` has gone.
    sent: usize,
    /// What was asked and not answered, each with when.
    unanswered: VecDeque<(Asked, Moment)>,
    /// When something came last.
    heard: Moment,
    pub(super) since: Moment,
}

impl Drop for Link {
    fn drop(&mut self) {
        // A forked child may hold the socket open, and then the server would go on filling it.
        self.connection.hang_up();
    }
}

impl Link {
    pub(super) fn new(connection: Connection) -> Link {
        let now = Moment::now();
        Link {
            connection,
            reply: Reply::new(),
            out: Vec::new(),
            sent: 0,
            unanswered: VecDeque::new(),
            heard: now,
            since: now,
        }
    }

    pub(super) fn subscribe(&mut self, kind: Kind, name: &Arc<[u8]>, number: u64) {
        self.ask(
            &[kind.subscribe(), name],
            Asked::Subscribe(kind, name.clone(), number),
        );
    }

    pub(super) fn unsubscribe(&mut self, kind: Kind, name: &[u8]) {
        self.ask(
            &[kind.unsubscribe(), name],
            Asked::Unsubscribe(kind, name.into()),
        );
    }

    /// Asks to be told of changes. Only in RESP3 are they pushed to the connection that asks.
    pub(super) fn track(&mut self, prefixes: &[Box<[u8]>], number: u64) {
        let mut words: Vec<&[u8]> = vec![b"CLIENT", b"TRACKING", b"ON", b"BCAST"];
        for prefix in prefixes.iter().filter(|prefix| !prefix.is_empty()) {
            words.extend([b"PREFIX", &**prefix]);
        }
        self.ask(&words, Asked::Track(number));
    }

    pub(super) fn untrack(&mut self) {
        self.ask(&[b"CLIENT", b"TRACKING", b"OFF"], Asked::Untrack);
    }

    pub(super) fn pushes(&self) -> bool {
        self.connection.speaks_resp3()
    }

    fn ask(&mut self, words: &[&[u8]], asked: Asked) {
        command(&mut self.out, words);
        self.unanswered.push_back((asked, Moment::now()));
    }

    /// Sends what the kernel takes.
    pub(super) fn flush(&mut self) -> Result<()> {
        while self.sent < self.out.len() {
            match self.connection.send_some(&self.out[self.sent..])? {
                0 => return Ok(()),
                n => self.sent += n,
            }
        }
        self.out.clear();
        self.out.shrink_to(KEEP);
        self.sent = 0;
        Ok(())
    }

    pub(super) fn poll_entry(&self) -> PollFd {
        self.connection.poll_entry(match self.out.is_empty() {
            true => READABLE,
            false => READABLE | WRITABLE,
        })
    }

    /// Asks for a sign of life after a silence of `interval`; an error if there is none within `patience`. Returns when
    /// to look again.
    pub(super) fn keep_alive(
        &mut self,
        now: Moment,
        interval: Duration,
        patience: Duration,
    ) -> Result<Moment> {
        if self.unanswered.is_empty() {
            if now < self.heard + interval {
                return Ok(self.heard + interval);
            }
            self.ask(&[b"PING"], Asked::Ping);
            self.flush()?;
        }
        let asked = self.unanswered.front().map_or(now, |(_, at)| *at);
        let limit = asked.max(self.heard) + patience;
        match now < limit {
            true => Ok(limit),
            false => Err(Error::new(
                ErrorKind::Timeout,
                "the server gave no sign of life on the push connection",
            )
            .outcome_is(Outcome::Unknown)),
        }
    }

    /// The next thing that has come, without waiting.
    pub(super) fn next(&mut self) -> Result<Option<News<'_>>> {
        if self.reply.bytes.capacity() > KEEP && !self.connection.under_way() {
            self.reply.clear();
            self.reply.trim(KEEP);
        }
        loop {
            match self.connection.arrived(&mut self.reply)? {
                None => return Ok(None),
                // A part of something large is a sign of life too.
                Some(Progress::More) => self.heard = Moment::now(),
                Some(_) => break,
            }
        }
        read(&self.reply, &mut self.unanswered).map(Some)
    }
}

fn read<'a>(reply: &'a Reply, unanswered: &mut VecDeque<(Asked, Moment)>) -> Result<News<'a>> {
    let words = reply.children(reply.root());
    let word = |i: usize| words.get(i).map_or(&b""[..], |entry| reply.text_of(entry));
    let message = |kind, pattern, channel, data| {
        Ok(News::Message(Message {
            kind,
            pattern,
            channel,
            data,
        }))
    };
    use Kind::*;
    match (words.len(), word(0)) {
        (3, b"message") => message(Channel, None, word(1), word(2)),
        (3, b"smessage") => message(Sharded, None, word(1), word(2)),
        (4, b"pmessage") => message(Pattern, Some(word(1)), word(2), word(3)),
        (3, b"subscribe") => subscribed(unanswered, Channel, word(1)),
        (3, b"psubscribe") => subscribed(unanswered, Pattern, word(1)),
        (3, b"ssubscribe") => subscribed(unanswered, Sharded, word(1)),
        (3, b"unsubscribe") => unsubscribed(unanswered, Channel, word(1)),
        (3, b"punsubscribe") => unsubscribed(unanswered, Pattern, word(1)),
        (3, b"sunsubscribe") => unsubscribed(unanswered, Sharded, word(1)),
        (2, b"invalidate") if reply.kind() == ReplyKind::Push => Ok(News::Changed(Changed(reply))),
        // An answer that is no push: to a PING, or an error in place of a confirmation.
        (0, _) | (_, b"pong") => answered(unanswered, reply),
        // A push that nobody here knows.
        _ => Ok(News::Nothing),
    }
}

fn subscribed<'a>(
    unanswered: &mut VecDeque<(Asked, Moment)>,
    kind: Kind,
    name: &[u8],
) -> Result<News<'a>> {
    match unanswered.pop_front() {
        Some((Asked::Subscribe(k, n, number), _)) if k == kind && *n == *name => {
            Ok(News::Subscribed(kind, n, number))
        }
        _ => Err(out_of_turn()),
    }
}

fn unsubscribed<'a>(
    unanswered: &mut VecDeque<(Asked, Moment)>,
    kind: Kind,
    name: &[u8],
) -> Result<News<'a>> {
    match unanswered.front() {
        Some((Asked::Unsubscribe(k, n), _)) if *k == kind && **n == *name => {
            unanswered.pop_front();
            Ok(News::Nothing)
        }
        _ => Ok(News::Dropped(kind, name.into())),
    }
}

fn answered<'a>(unanswered: &mut VecDeque<(Asked, Moment)>, reply: &Reply) -> Result<News<'a>> {
    match (unanswered.pop_front(), reply.error_text()) {
        (Some((Asked::Subscribe(kind, name, number), _)), Some(text)) => {
            Ok(News::Refused(kind, name, number, Error::from_server(text)))
        }
        (Some((Asked::Track(number), _)), None) => Ok(News::Tracked(number)),
        (Some((Asked::Track(number), _)), Some(text)) => {
            Ok(News::Untold(number, Error::from_server(text)))
        }
        (Some((Asked::Untrack, _)), _) => Ok(News::Nothing),
        // Any answer to a PING is a sign of life. What may not be unsubscribed was not subscribed.
        (Some((Asked::Ping, _)), _) | (Some((Asked::Unsubscribe(..), _)), Some(_)) => {
            Ok(News::Nothing)
        }
        (None, Some(text)) => Err(Error::from_server(text)),
        _ => Err(out_of_turn()),
    }
}

fn out_of_turn() -> Error {
    Error::new(
        ErrorKind::Protocol,
        "the server's answer on the push connection is to something that was not asked",
    )
    .outcome_is(Outcome::Unknown)
}
