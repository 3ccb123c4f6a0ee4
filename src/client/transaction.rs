//! Optimistic transactions: read, decide, and write only if nobody came in between.

use std::time::Duration;

use redis::{FromRedisValue, ToRedisArgs};

use crate::client::pipeline::{Load, Replies};
use crate::client::{Client, Lease, Scratch, inspect, pack_any, typed};
use crate::clock::{self, Deadline};
use crate::error::{ErrorKind, Result};
use crate::transport::Reply;

/// How often a transaction begins anew before it is given up.
const TRIES: u32 = 16;
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
        let deadline = Deadline::after(self.timeout()?);
        let mut lease = self.dedicated()?;
        let mut load = Load::default();
        let mut tries = 0;
        loop {
            tries += 1;
            if let Err(error) = lease.watch(keys) {
                // The server had closed it while it was idle: nothing was done yet, and another one will do.
                if error.kind() != ErrorKind::Io || tries > 1 {
                    return Err(error);
                }
                // Back first, for it may be the only one.
                drop(lease);
                lease = self.dedicated()?;
                lease.watch(keys)?;
            }
            let result = attempt(&mut lease, &mut load, &mut body).map(&read);
            let again = tries < TRIES && !deadline.passed();
            match result {
                Err(error) if error.kind() == ErrorKind::Watched && again => {
                    let pause = clock::between(Duration::ZERO, PAUSE);
                    self.dispatch()?.topology.fleet.closing.sleep(pause);
                }
                Err(error) if error.kind() == ErrorKind::Watched => {
                    return Err(error.with_message(format!(
                        "a watched key was changed by somebody else, {tries} times in a row; nothing was executed"
                    )));
                }
                Err(error) => return Err(error),
                Ok(value) => return value,
            }
        }
    }
}

/// One try, on a connection that watches.
fn attempt<'l>(
    lease: &mut Lease,
    load: &'l mut Load,
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
    load.set_atomic(true);
    lease.execute(load)
}
