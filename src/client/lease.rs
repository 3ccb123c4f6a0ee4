//! A connection of one's own, for as long as one holds it.

use std::sync::Arc;
use std::time::Duration;

use redis::{FromRedisValue, ToRedisArgs};

use crate::client::scratch::Scratch;
use crate::client::{
    Load, Packer, Pipeline, Replies, Road, inspect, nothing, pack_any, patience, typed,
};
use crate::clock::Deadline;
use crate::config::Endpoint;
use crate::dispatch;
use crate::error::{Error, ErrorKind, Result};
use crate::fork;
use crate::node::{Held, Node};
use crate::transport::Reply;

/// A connection taken out of a node's pool. Commands on it go to that node, in order, one after the other, and may
/// change its state (MULTI, WATCH, SELECT). Nothing is sent twice. Dropped, it goes back to the pool; if its state
/// was changed, it is closed instead.
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
}

impl Lease {
    /// Waits for `wait` at most; with none, takes what is free, and may only open it.
    pub(crate) fn take(node: Arc<Node>, wait: Duration, timeout: Duration) -> Result<Lease> {
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

    pub(crate) fn execute<'l>(&mut self, load: &'l mut Load) -> Result<Replies<'l>> {
        self.usable().inspect_err(|_| load.give_up())?;
        self.changed |= load.stateful;
        let (held, lost) = (
            self.held.as_mut().expect("taken only by drop"),
            &mut self.lost,
        );
        let atomic = load.is_atomic();
        let result = load.run(self.timeout, |batch, _, replies, reached| {
            held.call_many_open(batch, replies, reached)
                .inspect_err(|_| *lost = true)
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
        let (_, reading) = inspect(packed, true)?;
        self.changed |= reading.stateful;
        let time = within.unwrap_or_else(|| patience(self.timeout, &reading));
        let deadline = Deadline::after(time);
        let held = self.held.as_mut().expect("taken only by drop");
        if let Err(error) = held.call_open(packed, reply, deadline) {
            self.lost = true;
            return Err(error);
        }
        match reply.error_text() {
            None => read(reply),
            Some(text) => {
                Err(dispatch::refused(text, reading.class).on_node(&self.held().node().name))
            }
        }
    }
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
