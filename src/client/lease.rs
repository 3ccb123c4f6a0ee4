//! A connection of one's own, for as long as one holds it.

use std::sync::Arc;
use std::time::Duration;

use redis::{FromRedisValue, ToRedisArgs};

use crate::client::listening::Listening;
use crate::client::scratch::Scratch;
use crate::client::{
    Load, Packer, Pipeline, Replies, Road, convert, look, nothing, own_writes, pack_any, patience,
    stateful, typed,
};
use crate::clock::Deadline;
use crate::config::Endpoint;
use crate::dispatch::{self, Answers, Dispatch, Mute, Sent};
use crate::error::{Error, ErrorKind, Result};
use crate::fork;
use crate::node::{Held, Node};
use crate::stats::Counters;
use crate::transport::{Entry, Reply};

/// A connection taken out of a node's pool. Commands on it go to that node, in order, one after the other, and may
/// change its state (MULTI, WATCH, SELECT, SUBSCRIBE, MONITOR, CLIENT REPLY). Nothing is sent twice. Dropped, it goes
/// back to the pool; if its state was changed, it is closed instead.
///
/// ```
/// # fn main() -> redkeep::Result<()> {
/// let keep = redkeep::Manager::open("embedded://")?;
/// let mut one = keep.client().dedicated()?;
/// one.command::<()>("MULTI")?;
/// one.command::<()>(("INCR", "visits"))?;
/// let (visits,): (i64,) = one.command("EXEC")?;
/// assert_eq!(visits, 1);
/// # Ok(()) }
/// ```
pub struct Lease {
    /// There until it is dropped.
    held: Option<Held<Arc<Node>>>,
    timeout: Duration,
    generation: u64,
    /// Its state is no longer that of a fresh one, and only closing it undoes that.
    changed: bool,
    /// Keys are watched. EXEC and UNWATCH undo it.
    watching: bool,
    /// The connection that was leased is gone, and with it what was done to it.
    lost: bool,
    /// There once it may hear what nobody waits for.
    listening: Option<Box<Listening>>,
    /// Which replies the server leaves out.
    mute: Mute,
    /// Where its calls are counted.
    counters: Arc<Counters>,
}

impl Lease {
    /// Waits for `wait` at most; with none, takes what is free, and may only open it.
    pub(crate) fn take(
        dispatch: &Dispatch,
        node: Arc<Node>,
        wait: Duration,
        timeout: Duration,
    ) -> Result<Lease> {
        let deadline = Deadline::after(wait);
        let mut held = Held::take(node, deadline)?;
        held.open(match wait.is_zero() {
            true => Deadline::after(timeout),
            false => deadline,
        })?;
        held.lease();
        Ok(Lease {
            held: Some(held),
            timeout,
            generation: fork::generation(),
            changed: false,
            watching: false,
            lost: false,
            listening: None,
            mute: Mute::None,
            counters: dispatch.leased.clone(),
        })
    }

    /// Any command, by its name and arguments; see [`Client::command`](crate::Client::command).
    pub fn command<T: FromRedisValue>(&mut self, args: impl ToRedisArgs) -> Result<T> {
        self.any_command(args, None, typed)
    }

    /// As [`command`](Lease::command), with a deadline of one's own.
    pub fn command_within<T: FromRedisValue>(
        &mut self,
        args: impl ToRedisArgs,
        time: Duration,
    ) -> Result<T> {
        self.any_command(args, Some(time), typed)
    }

    /// Many commands at once, on this connection: see [`Pipeline`].
    pub fn pipeline(&mut self) -> Pipeline<'_> {
        Pipeline::on(Road::Own(self))
    }

    /// The next message on this connection, after SUBSCRIBE and its kin, MONITOR or CLIENT TRACKING. Waits for `time`
    /// at most; none if none came. Messages come in their order, and those that arrive while another command waits for
    /// its reply are kept until they are received. For subscriptions that mend themselves, see the manager's own.
    ///
    /// ```
    /// # fn main() -> redkeep::Result<()> {
    /// use std::time::Duration;
    ///
    /// let keep = redkeep::Manager::open("embedded://")?;
    /// let mut one = keep.client().dedicated()?;
    /// let (_, _, channels): (String, String, i64) = one.command(("SUBSCRIBE", "news"))?;
    /// assert_eq!(channels, 1);
    /// let _: i64 = keep.command(("PUBLISH", "news", "hello"))?;
    /// let message: Option<(String, String, String)> = one.receive(Duration::from_secs(5))?;
    /// assert_eq!(message.unwrap().2, "hello");
    /// # Ok(()) }
    /// ```
    pub fn receive<T: FromRedisValue>(&mut self, time: Duration) -> Result<Option<T>> {
        let message = self.receive_raw(Some(time))?;
        message
            .map(|message| convert(message.into_value()?))
            .transpose()
    }

    /// As `receive`; with no time, for ever.
    pub(crate) fn receive_raw(&mut self, time: Option<Duration>) -> Result<Option<Reply>> {
        self.usable()?;
        let Some(listening) = &mut self.listening else {
            return Err(Error::new(
                ErrorKind::Stateful,
                "nothing was subscribed to on this connection, so no message can come",
            ));
        };
        let held = self.held.as_mut().expect("taken only by drop");
        listening
            .receive(held, time.map_or_else(Deadline::never, Deadline::after))
            .inspect_err(|_| self.lost = true)
    }

    /// A batch counts on one reply for each of its commands, and on nothing in between.
    fn answers_in_turn(&self) -> Result<()> {
        let why = match self.listening.is_some() {
            true => "receives messages",
            false if self.mute != Mute::None => "has its replies switched off",
            false => return Ok(()),
        };
        Err(Error::new(
            ErrorKind::Stateful,
            format!("this connection {why}; a pipeline needs another one"),
        ))
    }

    pub(crate) fn execute<'l>(&mut self, load: &'l mut Load) -> Result<Replies<'l>> {
        self.usable()
            .and_then(|()| self.answers_in_turn())
            .inspect_err(|_| load.give_up())?;
        self.changed |= load.stateful;
        let (held, lost) = (
            self.held.as_mut().expect("taken only by drop"),
            &mut self.lost,
        );
        let atomic = load.is_atomic();
        let (counters, node) = (&self.counters, held.node().clone());
        let result = load.run(self.timeout, |batch, _, replies, reached| {
            let sent = Sent {
                bytes: batch.bytes,
                commands: batch.count,
                atomic: batch.atomic,
                apart: false,
            };
            let result = counted(counters, &node, sent, || {
                held.call_many_open(batch, replies, reached)
            });
            own_writes::tell(&held.node().witnesses, batch.bytes);
            result.inspect_err(|_| *lost = true)
        });
        // EXEC ends every watch, unless there was nothing for it to execute, as when MULTI was refused.
        let ended = |error: &Error| {
            use ErrorKind::{ExecAbort, Watched};
            matches!(error.kind(), ExecAbort | Watched)
        };
        if atomic && result.as_ref().map_or_else(ended, |_| true) {
            self.watching = false;
        }
        result
    }

    /// WATCH. Undone by EXEC, or by `unwatch`.
    pub(crate) fn watch(&mut self, keys: &impl ToRedisArgs) -> Result<()> {
        Scratch::with(|scratch| {
            let mut packer = Packer::begin(&mut scratch.request, "WATCH");
            packer.keys(keys)?;
            let (packed, _) = packer.finish();
            let changed = self.changed;
            let result = self.run_any(packed, None, &mut scratch.reply, nothing);
            self.changed = changed;
            self.watching = true;
            result
        })
    }

    pub(crate) fn unwatch(&mut self) {
        let changed = self.changed;
        self.watching = self.command::<()>("UNWATCH").is_err();
        self.changed = changed;
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.held().node().dialer.endpoint
    }

    /// Whether anything can still be sent on it.
    pub(crate) fn usable(&self) -> Result<()> {
        if self.generation != fork::generation() {
            return Err(Error::new(
                ErrorKind::Closed,
                "this connection belongs to the process that leased it, and this is a fork of that one",
            ));
        }
        if self.lost {
            return Err(Error::new(
                ErrorKind::Io,
                "the leased connection broke in an earlier call; lease another one",
            ));
        }
        Ok(())
    }

    /// The node it leads to, as `host:port` or the path of its socket.
    pub fn node(&self) -> &str {
        &self.held().node().name
    }

    pub(crate) fn node_itself(&self) -> Arc<Node> {
        self.held().node().clone()
    }

    fn held(&self) -> &Held<Arc<Node>> {
        self.held.as_ref().expect("taken only by drop")
    }

    /// Any command, with the reply as it came.
    pub(crate) fn any_command<T>(
        &mut self,
        args: impl ToRedisArgs,
        within: Option<Duration>,
        read: impl FnOnce(&mut Reply) -> Result<T>,
    ) -> Result<T> {
        Scratch::with(|scratch| {
            let packed = pack_any(&mut scratch.request, &args);
            self.run_any(packed, within, &mut scratch.reply, read)
        })
    }

    pub(crate) fn run_any<T>(
        &mut self,
        packed: &[u8],
        within: Option<Duration>,
        reply: &mut Reply,
        read: impl FnOnce(&mut Reply) -> Result<T>,
    ) -> Result<T> {
        self.usable()?;
        let (args, reading) = look(packed)?;
        let answers = dispatch::answers(&args);
        match (answers, &self.listening) {
            (Answers::Stream, _) => {
                return Err(stateful(
                    &args,
                    "is answered by no replies, but by a stream",
                ));
            }
            (_, Some(listening)) if listening.lines => {
                return Err(stateful(&args, "cannot be sent: this connection monitors"));
            }
            (Answers::Confirmations | Answers::Lines, _) if self.mute != Mute::None => {
                return Err(stateful(
                    &args,
                    "needs its replies, and they are switched off",
                ));
            }
            _ => {}
        }
        self.changed |= reading.stateful;
        let time = within.unwrap_or_else(|| patience(self.timeout, &reading));
        let deadline = Deadline::after(time);
        let sent = Sent {
            bytes: packed,
            commands: 1,
            atomic: false,
            apart: reading.blocks.is_some(),
        };
        let (counters, node) = (self.counters.clone(), self.node_itself());
        let mut lost = false;
        let result = counted(&counters, &node, sent, || {
            (self.send(packed, answers, reply, deadline)).inspect_err(|_| lost = true)?;
            match reply.error_text() {
                None => Ok(()),
                Some(text) => Err(dispatch::refused(text, reading.class).on_node(&node.name)),
            }
        });
        self.lost |= lost;
        own_writes::tell(&self.held().node().witnesses, packed);
        result?;
        read(reply)
    }
}

impl Lease {
    /// Sends one packed command, and reads what comes back of it.
    fn send(
        &mut self,
        packed: &[u8],
        answers: Answers,
        reply: &mut Reply,
        deadline: Deadline,
    ) -> Result<()> {
        let held = self.held.as_mut().expect("taken only by drop");
        let mute = match answers {
            Answers::Mute(mute) => mute,
            _ => self.mute,
        };
        if mute != Mute::None {
            reply.set_scalar(Entry::NIL);
            self.mute = match (answers, mute) {
                // SKIP while all are left out anyway changes nothing.
                (Answers::Mute(Mute::Next), _) if self.mute == Mute::All => Mute::All,
                (Answers::Mute(mute), _) => mute,
                (_, Mute::Next) => Mute::None,
                (_, mute) => mute,
            };
            return held.with_open(|connection| connection.send(packed, deadline));
        }
        self.mute = mute;
        if let (Answers::Confirmations | Answers::ReplyAndPushes, None) = (answers, &self.listening)
        {
            self.listening = Some(Box::default());
        }
        match (answers, &mut self.listening) {
            (Answers::Confirmations, Some(listening)) => {
                listening.subscribe(held, packed, reply, deadline)
            }
            (_, Some(listening)) => listening.call(held, packed, reply, deadline),
            (_, None) => held.call_open(packed, reply, deadline),
        }?;
        if answers == Answers::Lines && reply.error_text().is_none() {
            self.listening.get_or_insert_default().lines = true;
        }
        Ok(())
    }
}

/// Counts a call on a connection that is leased, and tells who watches.
fn counted(
    counters: &Counters,
    node: &Arc<Node>,
    sent: Sent<'_>,
    call: impl FnOnce() -> Result<()>,
) -> Result<()> {
    counters.calls.add();
    let settings = &node.dialer.settings;
    let result = match settings.watch() {
        false => call(),
        true => dispatch::watched(
            settings,
            counters,
            sent,
            |way| {
                way.node = Some(node.name.clone());
                way.tries = 1;
                call()
            },
            |result| result.as_ref().err(),
        ),
    };
    result.inspect_err(|error| counters.failed(error))
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut held = self.held.take();
        // In a fork, the pool and its locks are the parent's: nothing of it may be touched, so it stays as it is.
        if self.generation != fork::generation() {
            return std::mem::forget(held);
        }
        if let Some(held) = held.as_mut().filter(|_| self.changed || self.watching) {
            held.discard();
        }
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lease({})", self.node())
    }
}
