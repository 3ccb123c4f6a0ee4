//! Many commands at once: packed as they are added, sent together, answered together.

use std::time::Duration;

use redis::{FromRedisValue, ToRedisArgs};

use crate::client::packer::Packer;
use crate::client::script::Known;
use crate::client::spread::{look_up, one_slot};
use crate::client::unpack::unpack;
use crate::client::{Client, Lease, Spread, allowed, convert, inspect, own_writes, reply_type};
use crate::clock::{Deadline, Moment};
use crate::dispatch::{self, Class, Dispatch, Reading};
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::node::Batch;
use crate::transport::{Entry, Kind, Reached, Reply, arg, begin_array, command};

/// A pipeline that is empty again keeps this much memory, and gives back what is more.
const KEPT: usize = 4 << 20;

/// Commands that go to the server in one go. Their replies come back in the same order; an error among them is the
/// answer to its own command and does not stop the others.
///
/// ```
/// # fn main() -> redkeep::Result<()> {
/// let keep = redkeep::Manager::open("embedded://")?;
/// let mut pipe = keep.pipeline();
/// pipe.command(("SET", "a", 1))?.command(("INCR", "a"))?.command(("LPUSH", "a", "x"))?;
/// let replies = pipe.execute()?;
/// assert_eq!(replies.get::<i64>(1)?, 2);
/// assert_eq!(replies.get::<i64>(2).unwrap_err().code(), Some("WRONGTYPE"));
/// # Ok(()) }
/// ```
///
/// One deadline, `command_timeout` unless [`within`](Pipeline::within) says otherwise, covers all of it. If the
/// connection breaks, [`execute`](Pipeline::execute) fails and [`outcome`](Pipeline::outcome) tells for each command
/// what became of it; a pipeline of nothing but commands that may be sent twice is sent again by itself. It keeps its
/// memory from one use to the next.
///
/// On a cluster its commands are sent to their nodes side by side, each follows its key if that has moved, and one with
/// keys in several slots is taken apart as [`Client::command`] says. Commands on one key keep their order; those on
/// different nodes have none among them. The keys of a transaction must share a slot.
pub struct Pipeline<'c> {
    road: Road<'c>,
    pub(crate) load: Load,
}

/// Where a pipeline goes.
pub(crate) enum Road<'c> {
    Shared(Client),
    Own(&'c mut Lease),
}

/// What a pipeline carries, whichever way it goes.
#[derive(Default)]
pub(crate) struct Load {
    packed: Vec<u8>,
    marks: Vec<Mark>,
    atomic: bool,
    within: Option<Duration>,
    /// How long its commands may block in the server, by what they say themselves: none is for ever.
    blocks: Option<Duration>,
    pub(crate) stateful: bool,
    replies: Reply,
    /// How the last execution ended, by command; empty when all were answered.
    outcomes: Vec<Option<Outcome>>,
    /// Scripts whose text it brings along.
    pub(super) scripts: Vec<Known>,
}

/// One command of it.
#[derive(Clone, Copy)]
struct Mark {
    /// Where it ends in the packed bytes.
    end: usize,
    class: Class,
    keys: Keys,
    /// The script that it calls, by its place among them.
    script: Option<usize>,
}

/// What is known of its keys, for a cluster.
#[derive(Clone, Copy)]
enum Keys {
    None,
    /// Where it is, counted from the beginning of the command.
    One {
        start: usize,
        len: usize,
    },
    Many,
    /// The server has to be asked.
    Unknown,
}

impl<'c> Pipeline<'c> {
    pub(crate) fn on(road: Road<'c>) -> Pipeline<'c> {
        Pipeline {
            road,
            load: Load::default(),
        }
    }

    /// Adds a command; see [`Client::command`] for its form. One that changes the state of its connection is refused,
    /// unless the connection is a leased one.
    pub fn command(&mut self, args: impl ToRedisArgs) -> Result<&mut Pipeline<'c>> {
        let own = matches!(self.road, Road::Own(_));
        self.load.add(&args, own)?;
        Ok(self)
    }

    /// Whether the commands are executed as one transaction (MULTI, EXEC): all of them, with nobody else's in
    /// between, or, if the server refuses one beforehand, none; the error is then of kind
    /// [`ExecAbort`](ErrorKind::ExecAbort). Off by default, and again after each execution.
    pub fn atomic(&mut self, on: bool) -> &mut Pipeline<'c> {
        self.load.set_atomic(on);
        self
    }

    /// The deadline for all of it, from the moment it is executed.
    pub fn within(&mut self, time: Duration) -> &mut Pipeline<'c> {
        self.load.set_within(Some(time));
        self
    }

    /// How many commands it holds.
    pub fn len(&self) -> usize {
        self.load.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes all commands out again.
    pub fn clear(&mut self) {
        self.load.clear();
    }

    /// Sends the commands and reads all replies. Afterwards the pipeline is empty, however this ended.
    pub fn execute(&mut self) -> Result<Replies<'_>> {
        match &mut self.road {
            Road::Shared(client) => client.execute(&mut self.load),
            Road::Own(lease) => lease.execute(&mut self.load),
        }
    }

    /// As [`execute`](Pipeline::execute), and turns all replies into one type, a tuple or a vector; the first error
    /// among the replies is the error of the whole.
    ///
    /// ```
    /// # fn main() -> redkeep::Result<()> {
    /// # let keep = redkeep::Manager::open("embedded://")?;
    /// let mut pipe = keep.pipeline();
    /// pipe.atomic(true).command(("INCR", "visits"))?.command(("EXPIRE", "visits", 60))?;
    /// let (visits, expires): (i64, bool) = pipe.query()?;
    /// assert_eq!((visits, expires), (1, true));
    /// # Ok(()) }
    /// ```
    pub fn query<T: FromRedisValue>(&mut self) -> Result<T> {
        self.execute()?.all()
    }

    /// After an execution that failed: what became of the command at this place. None if it was answered.
    pub fn outcome(&self, index: usize) -> Option<Outcome> {
        self.load.outcome(index)
    }
}

impl Client {
    pub(crate) fn execute<'l>(&self, load: &'l mut Load) -> Result<Replies<'l>> {
        let timeout = self.timeout().inspect_err(|_| load.give_up())?;
        let dispatch = self.dispatch().inspect_err(|_| load.give_up())?;
        let on_cluster = dispatch.topology.is_cluster();
        if on_cluster && !load.atomic {
            return load.run_spread(timeout, dispatch);
        }
        let key = match on_cluster {
            true => load.one_key().inspect_err(|_| load.give_up())?,
            false => None,
        };
        let home = dispatch.topology.home_if_known();
        load.run(timeout, |batch, class, replies, reached| {
            let result = dispatch.call_many(batch, class, key.as_deref(), replies, reached);
            own_writes::tell(&dispatch.topology.fleet.witnesses, batch.bytes);
            result
        })
        .map_err(|error| match (error.outcome(), home) {
            (Outcome::Refused, Some(node)) if !on_cluster => error.on_node(&node.name),
            _ => error,
        })
    }
}

impl Load {
    pub(crate) fn add(&mut self, args: &impl ToRedisArgs, own_connection: bool) -> Result<()> {
        self.add_with(own_connection, |packer| {
            packer.any(args);
            Ok(())
        })
    }

    pub(crate) fn add_with(
        &mut self,
        own_connection: bool,
        pack: impl FnOnce(&mut Packer<'_>) -> Result<()>,
    ) -> Result<()> {
        let base = self.packed.len();
        let mut packer = Packer::behind(&mut self.packed);
        let packed = pack(&mut packer).map(|()| {
            packer.finish();
        });
        self.admit(base, packed, own_connection)
    }

    pub(crate) fn len(&self) -> usize {
        self.marks.len()
    }

    pub(crate) fn set_within(&mut self, time: Option<Duration>) {
        self.within = time;
    }

    /// After an execution that failed: what became of a command that was not answered.
    pub(crate) fn outcome(&self, index: usize) -> Option<Outcome> {
        self.outcomes.get(index).copied().flatten()
    }

    /// The replies of the last execution, an array.
    pub(crate) fn last(&mut self) -> &mut Reply {
        &mut self.replies
    }

    pub(crate) fn add_packed(&mut self, packed: &[u8], own_connection: bool) -> Result<()> {
        let base = self.packed.len();
        self.packed.extend_from_slice(packed);
        self.admit(base, Ok(()), own_connection)
    }

    /// Notes what begins at `base`; if that was not packed well, or is not allowed, it goes out again.
    fn admit(&mut self, base: usize, packed: Result<()>, own_connection: bool) -> Result<()> {
        let result = packed.and_then(|()| self.note(base, own_connection));
        if result.is_err() {
            self.packed.truncate(base);
        }
        result
    }

    fn note(&mut self, base: usize, own_connection: bool) -> Result<()> {
        let packed = &self.packed[base..];
        let (args, reading) = inspect(packed, own_connection)?;
        let place = |at: usize| args[at].as_ptr().addr() - packed.as_ptr().addr();
        let key = reading.key.map(|at| (place(at), args[at].len()));
        self.mark(&reading, key);
        Ok(())
    }

    /// Adds a command whose arguments lie one by one. They are looked at before they are packed, not taken apart after.
    pub(crate) fn add_args(&mut self, args: &[&[u8]], own_connection: bool) -> Result<()> {
        let reading = allowed(args, own_connection)?;
        let base = self.packed.len();
        begin_array(&mut self.packed, args.len());
        let mut key = None;
        for (at, bytes) in args.iter().enumerate() {
            arg(&mut self.packed, bytes);
            if reading.key == Some(at) {
                let end = self.packed.len() - b"\r\n".len();
                key = Some((end - bytes.len() - base, bytes.len()));
            }
        }
        self.mark(&reading, key);
        Ok(())
    }

    /// Notes the command packed last; `key` is where its first key begins in it, and how long that is.
    fn mark(&mut self, reading: &Reading, key: Option<(usize, usize)>) {
        let keys = match key {
            _ if reading.unknown => Keys::Unknown,
            None => Keys::None,
            Some(_) if reading.many_keys => Keys::Many,
            Some((start, len)) => Keys::One { start, len },
        };
        self.stateful |= reading.stateful;
        if let Some(time) = reading.blocks {
            let so_far = self.blocks.unwrap_or_default();
            self.blocks = Some(time.map_or(Duration::MAX, |time| so_far.saturating_add(time)));
        }
        self.marks.push(Mark {
            end: self.packed.len(),
            class: reading.class,
            keys,
            script: None,
        });
    }

    /// The command added last calls the script at this place.
    pub(super) fn calls_script(&mut self, at: usize) {
        if let Some(mark) = self.marks.last_mut() {
            mark.script = Some(at);
        }
    }

    pub(crate) fn is_atomic(&self) -> bool {
        self.atomic
    }

    pub(crate) fn set_atomic(&mut self, on: bool) {
        self.atomic = on;
    }

    pub(crate) fn clear(&mut self) {
        self.scripts.clear();
        self.packed.clear();
        self.packed.shrink_to(KEPT);
        self.marks.clear();
        self.marks.shrink_to(KEPT / size_of::<Mark>());
        self.atomic = false;
        self.within = None;
        self.blocks = None;
        self.stateful = false;
    }

    /// Nothing of it was sent, and nothing will be.
    pub(crate) fn give_up(&mut self) {
        self.outcomes.clear();
        self.outcomes
            .resize(self.marks.len(), Some(Outcome::NotSent));
        self.replies.clear();
        self.clear();
    }

    /// Executes by way of `send`, which gets the packed commands, what may be done with them, and room for the
    /// replies. Afterwards it is empty.
    pub(crate) fn run(
        &mut self,
        timeout: Duration,
        send: impl FnOnce(&Batch<'_>, Class, &mut Reply, &mut Reached) -> Result<()>,
    ) -> Result<Replies<'_>> {
        self.outcomes.clear();
        self.replies.clear();
        self.replies.trim(KEPT);
        self.replies.root = Entry::scalar(Kind::Array, 0);
        let result = match self.marks.is_empty() {
            true => Ok(()),
            false => self.run_some(timeout, send),
        };
        self.clear();
        result.map(|()| Replies(&self.replies))
    }

    fn run_some(
        &mut self,
        timeout: Duration,
        send: impl FnOnce(&Batch<'_>, Class, &mut Reply, &mut Reached) -> Result<()>,
    ) -> Result<()> {
        let count = self.marks.len();
        let patience = timeout.saturating_add(self.blocks.unwrap_or_default());
        let started = Moment::now();
        let mut batch = Batch {
            bytes: &self.packed,
            count,
            atomic: false,
            started,
            deadline: Deadline::at(started, self.within.unwrap_or(patience)),
        };
        let class = match self.marks.iter().all(|mark| mark.class.may_repeat()) {
            true => Class::Repeatable,
            false => Class::Once,
        };
        let mut reached = Reached::default();
        if !self.atomic {
            let result = send(&batch, class, &mut self.replies, &mut reached);
            return result.inspect_err(|error| self.settle(error, &reached));
        }
        let mut whole = Vec::with_capacity(self.packed.len() + 32);
        command(&mut whole, &[b"MULTI"]);
        whole.extend_from_slice(&self.packed);
        command(&mut whole, &[b"EXEC"]);
        batch.bytes = &whole;
        batch.count = count + 2;
        batch.atomic = true;
        send(&batch, class, &mut self.replies, &mut reached)
            .and_then(|()| executed(&mut self.replies, count))
            .inspect_err(|error| self.outcomes = vec![Some(error.outcome()); count])
    }

    /// Executes it on a cluster, each command at the node of its key.
    fn run_spread(&mut self, timeout: Duration, dispatch: &Dispatch) -> Result<Replies<'_>> {
        self.outcomes.clear();
        self.replies.clear();
        self.replies.trim(KEPT);
        self.replies.root = Entry::scalar(Kind::Array, 0);
        let result = match self.marks.is_empty() {
            true => Ok(()),
            false => self.spread(timeout, dispatch),
        };
        own_writes::tell(&dispatch.topology.fleet.witnesses, &self.packed);
        self.clear();
        result.map(|()| Replies(&self.replies))
    }

    fn spread(&mut self, timeout: Duration, dispatch: &Dispatch) -> Result<()> {
        let patience = timeout.saturating_add(self.blocks.unwrap_or_default());
        let started = Moment::now();
        let deadline = Deadline::at(started, self.within.unwrap_or(patience));
        let mut spread = Spread::default();
        let mut begin = 0;
        for mark in &self.marks {
            let packed = &self.packed[begin..mark.end];
            begin = mark.end;
            let added = match mark.keys {
                Keys::Many => spread.add(packed, mark.class),
                Keys::Unknown => {
                    let args = unpack(packed).unwrap_or_default();
                    let mut reading = dispatch::read(&args);
                    look_up(dispatch, &args, &mut reading, deadline);
                    spread.add_plain(packed, reading.class, reading.key.map(|at| args[at]));
                    Ok(())
                }
                Keys::None => {
                    spread.add_plain(packed, mark.class, None);
                    Ok(())
                }
                Keys::One { start, len } => {
                    spread.add_plain(packed, mark.class, Some(&packed[start..start + len]));
                    Ok(())
                }
            };
            if let Err(error) = added {
                self.outcomes = vec![Some(Outcome::NotSent); self.marks.len()];
                return Err(error);
            }
            if let Some(at) = mark.script {
                spread.calls(&self.scripts[at]);
            }
        }
        spread.run(
            dispatch,
            started,
            deadline,
            &mut self.replies,
            &mut self.outcomes,
        )
    }

    /// The key by which a transaction finds its node: all its keys must lie in one slot.
    fn one_key(&self) -> Result<Option<Vec<u8>>> {
        let all = self.keys();
        one_slot(b"transaction", all.iter().copied())?;
        Ok(all.first().map(|key| key.to_vec()))
    }

    /// Whether all its keys lie in the slot of this one.
    pub(crate) fn stays_with(&self, key: &[u8]) -> Result<()> {
        let all = std::iter::once(key).chain(self.keys());
        one_slot(b"transaction", all).map(drop)
    }

    fn keys(&self) -> Vec<&[u8]> {
        let mut all: Vec<&[u8]> = Vec::new();
        let mut begin = 0;
        for mark in &self.marks {
            let packed = &self.packed[begin..mark.end];
            begin = mark.end;
            let args = unpack(packed).unwrap_or_default();
            all.extend(dispatch::keys(&args).into_iter().map(|at| args[at]));
        }
        all
    }

    /// Works out, for a batch that broke, what became of each command.
    fn settle(&mut self, error: &Error, reached: &Reached) {
        let mut start = 0;
        for (i, mark) in self.marks.iter().enumerate() {
            self.outcomes.push(match start {
                _ if i < reached.answered => None,
                // A refusal, or a doubt from an earlier attempt, holds for all of them.
                _ if error.outcome() == Outcome::Refused || reached.sent == 0 => {
                    Some(error.outcome())
                }
                start if start >= reached.sent => Some(Outcome::NotSent),
                _ => Some(Outcome::Unknown),
            });
            start = mark.end;
        }
    }
}

/// What became of MULTI, `count` commands and EXEC. On success the reply becomes what EXEC brought.
fn executed(replies: &mut Reply, count: usize) -> Result<()> {
    let all = replies.children(replies.root());
    let (first, queued, exec) = (all[0], &all[1..=count], all[count + 1]);
    if first.kind == Kind::Error {
        let error = Error::from_server(replies.bytes_of(&first));
        // Where only MULTI is refused, the commands were executed one by one, or in a transaction begun before.
        return Err(match queued.iter().all(|entry| entry.kind == Kind::Error) {
            true => error,
            false => error.outcome_is(Outcome::Unknown),
        });
    }
    match exec.kind {
        Kind::Error => {
            let error = Error::from_server(replies.bytes_of(&exec));
            let cause = queued.iter().position(|entry| entry.kind == Kind::Error);
            let refusal = |at: usize| Error::from_server(replies.bytes_of(&queued[at]));
            Err(match cause {
                None => error,
                // Another node of the cluster would have executed it.
                Some(at) if refusal(at).kind() == ErrorKind::Cluster => refusal(at),
                Some(at) => error.caused_by(Refusal {
                    at,
                    error: refusal(at),
                }),
            })
        }
        Kind::Array => {
            replies.root = exec;
            Ok(())
        }
        // The one thing that makes it nil.
        Kind::Nil => Err(Error::new(
            ErrorKind::Watched,
            "a watched key was changed by somebody else; nothing was executed",
        )
        .outcome_is(Outcome::Refused)),
        _ => Err(reply_type("EXEC was not answered by an array".into())),
    }
}

/// Why a transaction was thrown away.
#[derive(Debug)]
struct Refusal {
    at: usize,
    error: Error,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "command {}: {}", self.at, self.error.message())
    }
}

impl std::error::Error for Refusal {}

/// The replies to a pipeline, in the order of its commands.
pub struct Replies<'a>(&'a Reply);

impl Replies<'_> {
    pub(crate) fn cloned(&self) -> Reply {
        self.0.clone()
    }

    /// How many there are: as many as there were commands.
    pub fn len(&self) -> usize {
        self.0.root().len
    }

    /// Whether the pipeline was empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The reply to the command at this place, as the type asked for, or the error that it got.
    pub fn get<T: FromRedisValue>(&self, index: usize) -> Result<T> {
        let entries = self.0.children(self.0.root());
        let entry = entries.get(index).ok_or_else(|| {
            Error::argument(format!(
                "index: {index} is beyond the last of {} replies",
                entries.len()
            ))
        })?;
        if entry.kind == Kind::Error {
            return Err(Error::from_server(self.0.bytes_of(entry)));
        }
        convert(self.0.value_of(entry)?)
    }

    /// All replies as one type; the first error among them is the error of the whole.
    pub fn all<T: FromRedisValue>(&self) -> Result<T> {
        let entries = self.0.children(self.0.root());
        if let Some(entry) = entries.iter().find(|entry| entry.kind == Kind::Error) {
            return Err(Error::from_server(self.0.bytes_of(entry)));
        }
        convert(redis::Value::Array(self.values()?))
    }

    /// All replies as they are, errors among them.
    pub(crate) fn values(&self) -> Result<Vec<redis::Value>> {
        let entries = self.0.children(self.0.root());
        entries.iter().map(|entry| self.0.value_of(entry)).collect()
    }
}

impl std::fmt::Debug for Pipeline<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pipeline({} commands)", self.len())
    }
}

impl std::fmt::Debug for Replies<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Replies({})", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where its memory is, and how much of it.
    type Places = [(usize, usize); 4];

    fn places(load: &Load) -> Places {
        fn place<T>(of: &Vec<T>) -> (usize, usize) {
            (of.as_ptr().addr(), of.capacity())
        }
        [
            place(&load.packed),
            place(&load.marks),
            place(&load.replies.entries),
            place(&load.replies.bytes),
        ]
    }

    /// Fills it, and has it answered with a text for each.
    fn run(load: &mut Load, count: usize, text: &[u8]) -> Places {
        for _ in 0..count {
            load.add_args(&[b"ECHO", text], false).expect("a command");
        }
        let sent = load.run(Duration::from_secs(1), |batch, _, replies, _| {
            assert_eq!(batch.count, count);
            for _ in 0..count {
                let start = replies.bytes.len();
                replies.bytes.extend_from_slice(text);
                replies.entries.push(Entry {
                    kind: Kind::Bytes,
                    start,
                    len: text.len(),
                });
            }
            Ok(())
        });
        assert!(sent.is_ok());
        assert_eq!(load.len(), 0);
        places(load)
    }

    #[test]
    fn its_memory_serves_again_and_what_was_huge_is_given_back() {
        let mut load = Load::default();
        let first = run(&mut load, 1000, b"a text");
        assert!(first.iter().all(|&(_, capacity)| capacity > 0), "{first:?}");
        for _ in 0..2 {
            assert_eq!(run(&mut load, 1000, b"others"), first);
            assert_eq!(run(&mut load, 10, b"fewer"), first);
        }
        let bytes = |places: Places| {
            let sizes = [1, size_of::<Mark>(), size_of::<Entry>(), 1];
            let pairs = places.iter().zip(sizes);
            pairs
                .map(|((_, count), size)| count * size)
                .collect::<Vec<_>>()
        };
        let huge = bytes(run(&mut load, 200_000, &[b'x'; 60]));
        assert!(huge[2] > KEPT && huge[3] > KEPT, "{huge:?}");
        // The requests are given back at once, and the replies when they are no longer looked at.
        let next = bytes(run(&mut load, 1000, b"a text"));
        assert!(next.iter().all(|&held| held <= KEPT), "{next:?}");
        assert!(huge[0] <= KEPT && huge[1] <= KEPT, "{huge:?}");
    }
}
