//! Asking the server: always the primary of the key, for a replica may answer what was true before a change that has been
//! told already. Together with a value its remaining time is asked for: the server tells that a key has expired only when
//! it notices.

use std::sync::Arc;

use crate::client::Client;
use crate::clock::{Deadline, Moment};
use crate::dispatch::{Class, Dispatch, Request};
use crate::error::{Error, ErrorKind, Result};
use crate::near::Store;
use crate::near::shelf::{Answer, Hash, Ticket};
use crate::node::{Batch, Node};
use crate::transport::{Entry, Kind, Reply, command};

/// What is asked of a key.
#[derive(Clone, Copy)]
pub(super) enum Ask<'a> {
    Text,
    Field(&'a [u8]),
    Whole,
}

impl Ask<'_> {
    /// `known`: what is known of the hash besides, and to be confirmed.
    fn pack(self, out: &mut Vec<u8>, key: &[u8], known: Option<&Hash>) {
        match self {
            Ask::Text => command(out, &[b"GET", key]),
            Ask::Field(name) => {
                let mut words: Vec<&[u8]> = vec![b"HMGET", key, name];
                words.extend(known.iter().flat_map(|known| known.names()));
                command(out, &words);
            }
            Ask::Whole => command(out, &[b"HGETALL", key]),
        }
    }

    fn read(self, reply: &Reply, entry: &Entry, known: Option<&Hash>) -> Answer {
        let bytes = |entry: &Entry| Arc::from(reply.text_of(entry));
        let some = |entry: &Entry| (entry.kind != Kind::Nil).then(|| bytes(entry));
        match self {
            Ask::Text => Answer::Text(some(entry)),
            Ask::Field(name) => {
                let known = known.iter().flat_map(|known| known.names());
                let names = std::iter::once(name).chain(known).map(Box::from);
                let values = reply.children(entry).iter().map(some);
                Answer::Part(Arc::new(Hash::part(names.zip(values))))
            }
            Ask::Whole => {
                let pairs = reply.children(entry).chunks_exact(2);
                let fields = pairs.map(|pair| (reply.text_of(&pair[0]).into(), bytes(&pair[1])));
                Answer::Whole(Arc::new(Hash::whole(fields)))
            }
        }
    }
}

/// One key that is not known, and what the server may say of it.
struct Wanted<'a> {
    key: &'a [u8],
    ask: Ask<'a>,
    ticket: Option<Ticket>,
    answer: Option<Answer>,
}

impl Wanted<'_> {
    fn known(&self) -> Option<&Hash> {
        self.ticket.as_ref()?.known.as_deref()
    }
}

/// By when it all has to end.
#[derive(Clone, Copy)]
struct Time {
    started: Moment,
    deadline: Deadline,
}

impl Store {
    /// What the server says of one key, which is kept where it can be.
    pub(super) fn load(&self, client: &Client, key: &[u8], ask: Ask<'_>) -> Result<Answer> {
        let (dispatch, time) = begin(client)?;
        let (node, mut wanted) = self.prepare(dispatch, key, ask, time)?;
        if wanted.ticket.is_some() {
            self.ask(dispatch, &node, std::slice::from_mut(&mut wanted), time)?;
        }
        match wanted.answer {
            Some(answer) => Ok(answer),
            None => self.ask_plainly(dispatch, key, ask, time),
        }
    }

    /// The values of several keys, each node's in one go.
    pub(super) fn load_texts(&self, client: &Client, keys: &[&[u8]]) -> Result<Vec<Answer>> {
        let (dispatch, time) = begin(client)?;
        let mut groups: Vec<(Arc<Node>, Vec<usize>, Vec<Wanted<'_>>)> = Vec::new();
        for (place, key) in keys.iter().enumerate() {
            let (node, wanted) = self.prepare(dispatch, key, Ask::Text, time)?;
            match groups.iter_mut().find(|group| Arc::ptr_eq(&group.0, &node)) {
                Some((_, places, all)) => {
                    places.push(place);
                    all.push(wanted);
                }
                None => groups.push((node, vec![place], vec![wanted])),
            }
        }
        let mut answers: Vec<Option<Answer>> = vec![None; keys.len()];
        for (node, places, mut all) in groups {
            self.ask(dispatch, &node, &mut all, time)?;
            for (place, wanted) in places.into_iter().zip(all) {
                answers[place] = wanted.answer;
            }
        }
        let places = keys.iter().zip(answers);
        let each = places.map(|(key, answer)| match answer {
            Some(answer) => Ok(answer),
            None => match self.ask_plainly(dispatch, key, Ask::Text, time) {
                // To MGET, what is no string is not there.
                Err(error) if error.kind() == ErrorKind::WrongType => Ok(Answer::Text(None)),
                other => other,
            },
        });
        each.collect()
    }

    fn prepare<'a>(
        &self,
        dispatch: &Dispatch,
        key: &'a [u8],
        ask: Ask<'a>,
        time: Time,
    ) -> Result<(Arc<Node>, Wanted<'a>)> {
        let node = (dispatch.topology)
            .pick(Some(key), false, time.deadline)?
            .clone();
        let mark = match self.is_on && self.inside.trackers.cover(key) {
            true => self.inside.trackers.mark(&node, time.deadline),
            false => None,
        };
        let wanted = Wanted {
            key,
            ask,
            ticket: mark.and_then(|mark| self.shelf.ticket(key, mark)),
            answer: None,
        };
        Ok((node, wanted))
    }

    /// Asks this node and no other, for nobody else's answer can be kept under its tickets. What it does not answer stays
    /// without an answer; an error only where there is no time left to ask otherwise.
    fn ask(
        &self,
        dispatch: &Dispatch,
        node: &Arc<Node>,
        all: &mut [Wanted<'_>],
        time: Time,
    ) -> Result<()> {
        let (mut bytes, mut count) = (Vec::new(), 0);
        for wanted in &*all {
            (wanted.ask).pack(&mut bytes, wanted.key, wanted.known());
            count += 1;
            if wanted.ticket.is_some() {
                command(&mut bytes, &[b"PTTL", wanted.key]);
                count += 1;
            }
        }
        let batch = Batch {
            bytes: &bytes,
            count,
            atomic: false,
            started: time.started,
            deadline: time.deadline,
        };
        let mut reply = Reply::new();
        if let Err(error) = dispatch.read_many_on(node, &batch, &mut reply) {
            let over = error.kind() == ErrorKind::Closed || time.deadline.passed();
            return if over { Err(error) } else { Ok(()) };
        }
        let mut entries = reply.children(reply.root()).iter();
        for wanted in all {
            let mut next = || entries.next().expect("a reply for each command");
            let value = next();
            let lives = wanted.ticket.as_ref().map(|_| next().integer());
            // What is refused here is asked for once more, and there becomes an answer or an error.
            if value.kind == Kind::Error {
                continue;
            }
            let answer = wanted.ask.read(&reply, value, wanted.known());
            self.put_away(dispatch, wanted, answer.clone(), lives.flatten());
            wanted.answer = Some(answer);
        }
        Ok(())
    }

    /// `lives`: what PTTL said.
    fn put_away(
        &self,
        dispatch: &Dispatch,
        wanted: &Wanted<'_>,
        answer: Answer,
        lives: Option<i64>,
    ) {
        let nothing = match &answer {
            Answer::Text(value) => value.is_none(),
            Answer::Part(hash) | Answer::Whole(hash) => hash.fields().next().is_none(),
        };
        let kept = match (wanted.ticket.clone(), lives) {
            (Some(ticket), Some(-1)) => Some((ticket, None)),
            (Some(ticket), Some(time @ 0..)) => Some((ticket, Some(time as u64))),
            // No such key. A key that is not there cannot be moved, so on a cluster nobody would tell that it is made by
            // another node.
            (Some(ticket), Some(-2)) if nothing && !dispatch.topology.is_cluster() => {
                Some((ticket, None))
            }
            _ => None,
        };
        match kept {
            Some((ticket, lives)) => self.shelf.keep(wanted.key, ticket, answer, lives),
            // What is there may be older than what the caller is about to see.
            None => {
                self.shelf.forget(wanted.key);
            }
        }
    }

    /// As if there were no near cache.
    fn ask_plainly(
        &self,
        dispatch: &Dispatch,
        key: &[u8],
        ask: Ask<'_>,
        time: Time,
    ) -> Result<Answer> {
        let mut bytes = Vec::new();
        ask.pack(&mut bytes, key, None);
        let request = Request {
            bytes: &bytes,
            class: Class::Read,
            key: Some(key),
            apart: false,
            started: time.started,
            deadline: time.deadline,
        };
        let mut reply = Reply::new();
        dispatch.call_primary(&request, &mut reply)?;
        let answer = ask.read(&reply, reply.root(), None);
        self.shelf.forget(key);
        Ok(answer)
    }
}

fn begin(client: &Client) -> Result<(&Dispatch, Time)> {
    let dispatch = client.dispatch()?;
    if dispatch.topology.fleet.closing.is_open() {
        return Err(Error::closed());
    }
    let started = Moment::now();
    let deadline = Deadline::at(started, client.timeout()?);
    Ok((dispatch, Time { started, deadline }))
}
