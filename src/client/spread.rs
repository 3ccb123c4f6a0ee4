//! Commands on a cluster: which of them go where, those with keys in several slots taken apart, and all answers put
//! together again as if one server had given them.

use std::borrow::Cow;
use std::ops::Range;

use crate::client::script::Known;
use crate::client::unpack::unpack;
use crate::clock::{Deadline, Moment};
use crate::dispatch::{self, Class, Dispatch, Fate, Join, Part, Reading};
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::topology::slot;
use crate::transport::{Entry, Kind, Reply, command};

#[derive(Default)]
pub(crate) struct Spread<'a> {
    pieces: Vec<Piece<'a>>,
    commands: Vec<Command>,
}

/// What goes to one node as it is: a whole command, or the part of one whose keys share a slot.
struct Piece<'a> {
    bytes: Cow<'a, [u8]>,
    class: Class,
    key: Option<&'a [u8]>,
    /// Of a part: the places of its keys among all keys of the command.
    places: Vec<usize>,
    /// Of a script's call: how a server learns it.
    teaching: Option<&'a [u8]>,
}

struct Command {
    pieces: Range<usize>,
    /// None where it is whole.
    join: Option<Join>,
    keys: usize,
}

/// The one slot of these keys; none where there are none.
pub(super) fn one_slot<'a>(
    name: &[u8],
    keys: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Option<u16>> {
    let mut one = None;
    for key in keys {
        let this = slot(key);
        let first = *one.get_or_insert(this);
        if first != this {
            return Err(Error::new(
                ErrorKind::CrossSlot,
                format!(
                    "{}: its keys lie in different slots of the cluster ({first} and {this}); keys with the same \
                     {{hash tag}} share one",
                    String::from_utf8_lossy(name).to_ascii_uppercase()
                ),
            ));
        }
    }
    Ok(one)
}

/// What the server knows of a command that the table does not.
pub(super) fn look_up(
    dispatch: &Dispatch,
    args: &[&[u8]],
    reading: &mut Reading,
    deadline: Deadline,
) {
    if let (true, Some(name)) = (reading.unknown && args.len() > 1, args.first()) {
        let fact = dispatch.fact(name, deadline);
        reading.key = fact.key.filter(|at| *at < args.len());
        if fact.only_reads {
            reading.class = Class::Read;
        }
    }
}

impl<'a> Spread<'a> {
    /// A command of which it is known that it has one key at most.
    pub(crate) fn add_plain(&mut self, bytes: &'a [u8], class: Class, key: Option<&'a [u8]>) {
        let at = self.pieces.len();
        self.pieces.push(Piece {
            bytes: bytes.into(),
            class,
            key,
            places: Vec::new(),
            teaching: None,
        });
        self.commands.push(Command {
            pieces: at..at + 1,
            join: None,
            keys: 0,
        });
    }

    /// A command that may have several keys.
    pub(super) fn add(&mut self, bytes: &'a [u8], class: Class) -> Result<()> {
        let args = unpack(bytes).unwrap_or_default();
        let keys = dispatch::keys(&args);
        let of = |at: usize| args[at];
        let name = args.first().copied().unwrap_or_default();
        let apart = match one_slot(name, keys.iter().map(|at| of(*at))) {
            Ok(_) => None,
            Err(error) => Some(dispatch::join(name).ok_or(error)?),
        };
        let Some((join, width)) = apart else {
            self.add_plain(bytes, class, keys.first().map(|at| of(*at)));
            return Ok(());
        };
        if !(args.len() - 1).is_multiple_of(width) {
            return Err(Error::argument("a key without its value"));
        }
        let begin = self.pieces.len();
        let mut by_slot: Vec<(u16, Vec<usize>)> = Vec::new();
        for (place, at) in keys.iter().enumerate() {
            let slot = slot(of(*at));
            match by_slot.iter_mut().find(|(known, _)| *known == slot) {
                Some((_, places)) => places.push(place),
                None => by_slot.push((slot, vec![place])),
            }
        }
        for (_, places) in by_slot {
            let mut words = vec![name];
            for place in &places {
                words.extend_from_slice(&args[keys[*place]..keys[*place] + width]);
            }
            let mut bytes = Vec::new();
            command(&mut bytes, &words);
            self.pieces.push(Piece {
                bytes: bytes.into(),
                class,
                key: Some(of(keys[places[0]])),
                places,
                teaching: None,
            });
        }
        self.commands.push(Command {
            pieces: begin..self.pieces.len(),
            join: Some(join),
            keys: keys.len(),
        });
        Ok(())
    }

    /// What was added last calls this script, by its text or by its digest; from here on, it does by its digest.
    pub(super) fn calls(&mut self, script: &'a Known) {
        let Some(piece) = self.pieces.last_mut() else {
            return;
        };
        let args = unpack(&piece.bytes).unwrap_or_default();
        let mut words: Vec<&[u8]> = vec![b"EVALSHA", script.digest.as_bytes()];
        words.extend(args.iter().skip(2));
        let mut bytes = Vec::new();
        command(&mut bytes, &words);
        piece.bytes = bytes.into();
        piece.teaching = Some(&script.teaching);
    }

    /// Whether nothing was taken apart.
    pub(super) fn is_whole(&self) -> bool {
        self.commands.iter().all(|command| command.join.is_none())
    }

    /// Sends everything, and makes of the answers one array, an element a command. On an error, `outcomes` tells what
    /// became of each command; none of one that was answered.
    pub(crate) fn run(
        &self,
        dispatch: &Dispatch,
        started: Moment,
        deadline: Deadline,
        reply: &mut Reply,
        outcomes: &mut Vec<Option<Outcome>>,
    ) -> Result<()> {
        let parts: Vec<Part<'_>> = (self.pieces.iter())
            .map(|piece| Part {
                bytes: &piece.bytes,
                class: piece.class,
                key: piece.key,
                teaching: piece.teaching,
            })
            .collect();
        let (fates, replies) = dispatch.scatter(&parts, started, deadline);
        let failed = fates.iter().find_map(|fate| match fate {
            Fate::Failed(error) => Some(error.clone()),
            Fate::Answered(..) => None,
        });
        if let Some(error) = failed {
            outcomes.extend(self.commands.iter().map(|it| it.outcome(&fates)));
            let whole = outcomes.iter().flatten().copied();
            let outcome = if self.commands.len() == 1 {
                whole.last()
            } else {
                None
            };
            return Err(match outcome {
                Some(outcome) => error.outcome_is(outcome),
                None => error,
            });
        }
        self.put_together(&fates, &replies, reply);
        Ok(())
    }

    fn put_together(&self, fates: &[Fate], replies: &[Reply], out: &mut Reply) {
        out.clear();
        let bases: Vec<Base> = replies.iter().map(|reply| append(out, reply)).collect();
        let moved = |fate: &Fate| match fate {
            Fate::Answered(reply, entry) => bases[*reply].moved(*entry),
            Fate::Failed(_) => Entry::NIL,
        };
        let mut tops = Vec::with_capacity(self.commands.len());
        for it in &self.commands {
            let answers: Vec<Entry> = fates[it.pieces.clone()].iter().map(moved).collect();
            let refusal = answers.iter().find(|answer| answer.kind == Kind::Error);
            tops.push(match (refusal, it.join) {
                (Some(refusal), _) => *refusal,
                (None, None) => answers[0],
                (None, Some(Join::AllOk)) => answers[0],
                (None, Some(Join::Sum)) => {
                    let sum: i64 = answers.iter().filter_map(Entry::integer).sum();
                    Entry::scalar(Kind::Integer, sum as usize)
                }
                (None, Some(Join::Places)) => {
                    let mut values = vec![Entry::NIL; it.keys];
                    for (piece, answer) in self.pieces[it.pieces.clone()].iter().zip(&answers) {
                        for (place, value) in piece.places.iter().zip(out.children(answer)) {
                            values[*place] = *value;
                        }
                    }
                    let start = out.entries.len();
                    out.entries.extend(values);
                    array(start, it.keys)
                }
            });
        }
        let start = out.entries.len();
        out.root = array(start, tops.len());
        out.entries.extend(tops);
    }
}

impl Command {
    /// What became of it as a whole; none where all of it was answered.
    fn outcome(&self, fates: &[Fate]) -> Option<Outcome> {
        let fates = &fates[self.pieces.clone()];
        let of = |fate: &Fate| match fate {
            Fate::Answered(..) => None,
            Fate::Failed(error) => Some(error.outcome()),
        };
        let first = fates.iter().find_map(of)?;
        // Where one part was executed and another not, neither word is true of the whole.
        match fates.iter().all(|fate| of(fate) == Some(first)) {
            true => Some(first),
            false => Some(Outcome::Unknown),
        }
    }
}

fn array(start: usize, len: usize) -> Entry {
    Entry {
        kind: Kind::Array,
        start,
        len,
    }
}

/// How far the values of a reply were moved.
struct Base {
    entries: usize,
    bytes: usize,
}

impl Base {
    fn moved(&self, mut entry: Entry) -> Entry {
        entry.start += match entry.kind {
            Kind::Nil | Kind::Integer | Kind::Double | Kind::Bool => 0,
            Kind::Array | Kind::Set | Kind::Map | Kind::Push => self.entries,
            Kind::Status | Kind::Error | Kind::Bytes | Kind::BigNumber | Kind::Verbatim => {
                self.bytes
            }
        };
        entry
    }
}

/// Appends all that a reply holds.
fn append(out: &mut Reply, reply: &Reply) -> Base {
    let base = Base {
        entries: out.entries.len(),
        bytes: out.bytes.len(),
    };
    out.bytes.extend_from_slice(&reply.bytes);
    out.entries
        .extend(reply.entries.iter().map(|entry| base.moved(*entry)));
    base
}
