//! Optimistic transactions: read, decide, and write only if nobody came in between.

use std::time::Duration;

use redis::{FromRedisValue, ToRedisArgs};

use crate::client::pipeline::{Load, Replies};
use crate::client::spread::one_slot;
use crate::client::{Client, Lease, Scratch, inspect, pack_any, typed};
use crate::clock::{self, Deadline};
use crate::error::{ErrorKind, Result};
use crate::transport::Reply;

/// How often a transaction begins anew before it is given up.
const TRIES: u32 = 16;
/// How often a transaction follows its keys to another node.
const MOVES: u32 = 16;
/// The longest pause before it begins anew, at random from nothing up.
const PAUSE: Duration = Duration::from_millis(20);

/// A transaction under way: what is [`read`](Transaction::read) is answered now; what is added by
/// [`command`](Transaction::command) is executed at the end, if the watched keys are still as they were.
pub struct Transaction<'t> {
    lease: &'t mut Lease,
    load: &'t mut Load,
}

impl Transaction<'_> {
    /// Sends a command now, before the transaction: to read what it is to be decided upon.
    pub fn read<T: FromRedisValue>(&mut self, args: impl ToRedisArgs) -> Result<T> {
        self.read_raw(args, typed)
    }

    pub(crate) fn read_raw<T>(
        &mut self,
        args: impl ToRedisArgs,
        read: impl FnOnce(&mut Reply) -> Result<T>,
    ) -> Result<T> {
        Scratch::with(|scratch| {
            let packed = pack_any(&mut scratch.request, &args);
            // What ends the watch, or goes past it, has no place here.
            inspect(packed, false)?;
            self.lease.run_any(packed, None, &mut scratch.reply, read)
        })
    }

    /// Adds a command to the transaction.
    pub fn command(&mut self, args: impl ToRedisArgs) -> Result<&mut Self> {
        self.load.add(&args, false)?;
        Ok(self)
    }
}

impl Client {
    /// Watches `keys`, lets `body` read and add commands, and executes those as one transaction, unless somebody
    /// changed a watched key meanwhile: then it all begins anew, 16 times at most and not after `command_timeout` is
    /// over; the error is then of kind [`Watched`](ErrorKind::Watched). An error of `body` ends it, and nothing is
    /// executed.
    ///
    /// ```
    /// # fn main() -> redkeep::Result<()> {
    /// # let keep = redkeep::Manager::open("embedded://")?;
    /// keep.set("balance", 100)?;
    /// let (left,): (i64,) = keep.transaction("balance", |tx| {
    ///     let balance: i64 = tx.read(("GET", "balance"))?;
    ///     tx.command(("DECRBY", "balance", balance / 2))?;
    ///     Ok(())
    /// })?;
    /// assert_eq!(left, 50);
    /// # Ok(()) }
    /// ```
    pub fn transaction<T: FromRedisValue>(
        &self,
        keys: impl ToRedisArgs,
        body: impl FnMut(&mut Transaction<'_>) -> Result<()>,
    ) -> Result<T> {
        self.transact(&keys, body, |replies| replies.all())
    }

    pub(crate) fn transact<T>(
        &self,
        keys: &impl ToRedisArgs,
        mut body: impl FnMut(&mut Transaction<'_>) -> Result<()>,
        read: impl Fn(Replies<'_>) -> Result<T>,
    ) -> Result<T> {
        let time = self.timeout()?;
        let deadline = Deadline::after(time);
        let topology = &self.dispatch()?.topology;
        let key = match topology.is_cluster() {
            true => one_key(keys)?,
            false => None,
        };
        let mut lease = self.dedicated_for(key.as_deref(), time)?;
        let mut load = Load::default();
        let (mut tries, mut moves, mut renewed) = (0, 0, false);
        loop {
            let error = match lease.watch(keys) {
                Ok(()) => {
                    tries += 1;
                    let done = attempt(&mut lease, &mut load, key.as_deref(), &mut body);
                    match done.and_then(&read) {
                        Ok(value) => return Ok(value),
                        Err(error) => error,
                    }
                }
                // The server had closed it while it was idle: nothing was done yet, and another one will do.
                Err(error) if error.kind() == ErrorKind::Io && tries == 0 && !renewed => {
                    renewed = true;
                    // Back first, for it may be the only one.
                    drop(lease);
                    let left = deadline.remaining().unwrap_or_default();
                    lease = self.dedicated_for(key.as_deref(), left)?;
                    continue;
                }
                Err(error) => error,
            };
            match error.kind() {
                ErrorKind::Watched if tries < TRIES && !deadline.passed() => {
                    let pause = clock::between(Duration::ZERO, PAUSE);
                    topology.fleet.closing.sleep(pause);
                }
                ErrorKind::Watched => {
                    return Err(error.with_message(format!(
                        "a watched key was changed by somebody else, {tries} times in a row; nothing was executed"
                    )));
                }
                // Refused as a whole: another node has, or will soon have, these keys.
                ErrorKind::Cluster | ErrorKind::ReadOnly
                    if topology.may_change() && moves < MOVES && !deadline.passed() =>
                {
                    moves += 1;
                    let node = lease.node_itself();
                    drop(lease);
                    if error.kind() == ErrorKind::ReadOnly {
                        node.purge();
                    }
                    if error.code() != Some("MOVED")
                        || topology.redirected(&node, &error)?.is_none()
                    {
                        let pause = clock::between(PAUSE, PAUSE * 10);
                        topology.fleet.closing.sleep(pause);
                        let _ = topology.look_again(deadline);
                    }
                    let left = deadline.remaining().unwrap_or_default();
                    lease = self.dedicated_for(key.as_deref(), left)?;
                }
                _ => return Err(error),
            }
        }
    }
}

/// The first of the keys, which must share a slot.
fn one_key(keys: &impl ToRedisArgs) -> Result<Option<Vec<u8>>> {
    let all = keys.to_redis_args();
    one_slot(b"WATCH", all.iter().map(Vec::as_slice))?;
    Ok(all.into_iter().next())
}

/// One try, on a connection that watches.
fn attempt<'l>(
    lease: &mut Lease,
    load: &'l mut Load,
    watched: Option<&[u8]>,
    body: &mut impl FnMut(&mut Transaction<'_>) -> Result<()>,
) -> Result<Replies<'l>> {
    load.clear();
    let built = body(&mut Transaction {
        lease: &mut *lease,
        load: &mut *load,
    });
    // An error on the way out must not leave the watch behind; nor must an empty transaction, which sends no EXEC.
    if built.is_err() || load.len() == 0 {
        lease.unwatch();
    }
    built?;
    if let Some(watched) = watched {
        // Refused here, before anything is sent; the lease's watch ends with it.
        load.stays_with(watched).inspect_err(|_| lease.unwatch())?;
    }
    load.set_atomic(true);
    lease.execute(load)
}
