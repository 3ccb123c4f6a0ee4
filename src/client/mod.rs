//! Typed commands over the configured node.

mod commands;
mod interop;
mod json;
mod lease;
mod lenient;
mod listening;
mod options;
mod own_writes;
mod packer;
mod pipeline;
mod scan;
mod scratch;
mod script;
mod spread;
mod transaction;
mod unpack;
mod walk;

use std::sync::Arc;
use std::time::Duration;

use redis::{FromRedisValue, ToRedisArgs};

use crate::clock::{Deadline, tell};
use crate::dispatch::{self, Answers, Class, Dispatch, Reading, Request};
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::fork;
use crate::transport::{Kind, Reply};

pub(crate) use json::parse;
pub use lease::Lease;
pub use lenient::Lenient;
pub use options::SetOptions;
pub(crate) use packer::Packer;
pub(crate) use pipeline::Load;
use pipeline::Road;
pub use pipeline::{Pipeline, Replies};
pub use scan::Scan;
pub(crate) use scratch::Scratch;
pub use script::Script;
pub(crate) use spread::Spread;
pub use transaction::Transaction;
pub(crate) use unpack::Args;
use unpack::unpack;

/// Sends commands. Cheap to clone, and used from any number of threads at once: a handle for those parts of a
/// program that need Redis but not the manager.
///
/// ```
/// # fn main() -> redkeep::Result<()> {
/// let keep = redkeep::Manager::open("embedded://")?;
/// let client = keep.client();
/// std::thread::spawn(move || client.set("from", "another thread")).join().unwrap()?;
/// assert_eq!(keep.get::<String>("from")?.as_deref(), Some("another thread"));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Client {
    way: Arc<Way>,
}

/// Where commands go. It lives behind an Arc, where the size of its smaller variant does not matter.
#[allow(clippy::large_enum_variant)]
enum Way {
    Open(Open),
    /// Nowhere: Redis is switched off, or could not be configured. Every call ends with this error.
    Refused(Error),
}

struct Open {
    dispatch: fork::Cell<Dispatch>,
    timeout: Duration,
    /// What must outlive the connections: the embedded server, if there is one.
    _guard: Option<Arc<dyn Send + Sync>>,
}

impl Client {
    pub(crate) fn new<G: Send + Sync + 'static>(
        dispatch: fork::Cell<Dispatch>,
        timeout: Duration,
        guard: Option<Arc<G>>,
    ) -> Client {
        Client {
            way: Arc::new(Way::Open(Open {
                dispatch,
                timeout,
                _guard: guard.map(|guard| guard as Arc<dyn Send + Sync>),
            })),
        }
    }

    pub(crate) fn refusing(error: Error) -> Client {
        Client {
            way: Arc::new(Way::Refused(error)),
        }
    }

    fn open(&self) -> Result<&Open> {
        match &*self.way {
            Way::Open(open) => Ok(open),
            Way::Refused(error) => Err(error.clone()),
        }
    }

    pub(crate) fn dispatch(&self) -> Result<&Dispatch> {
        self.open()?.dispatch.get()
    }

    /// The dispatch of this process if there is one already: what only looks on makes none.
    pub(crate) fn dispatch_if_made(&self) -> Option<&Dispatch> {
        self.open().ok()?.dispatch.made()
    }

    pub(crate) fn timeout(&self) -> Result<Duration> {
        Ok(self.open()?.timeout)
    }

    /// Packs a command of a class known beforehand, sends it, and reads its reply.
    pub(crate) fn run<T>(
        &self,
        name: &str,
        class: Class,
        pack: impl FnOnce(&mut Packer<'_>) -> Result<()>,
        read: impl FnOnce(&mut Reply) -> Result<T>,
    ) -> Result<T> {
        self.run_within(name, class, self.timeout()?, pack, read)
    }

    /// The same within a time of its own.
    pub(crate) fn run_within<T>(
        &self,
        name: &str,
        class: Class,
        time: Duration,
        pack: impl FnOnce(&mut Packer<'_>) -> Result<()>,
        read: impl FnOnce(&mut Reply) -> Result<T>,
    ) -> Result<T> {
        let open = self.open()?;
        Scratch::with(|scratch| {
            let mut packer = Packer::begin(&mut scratch.request, name);
            pack(&mut packer)?;
            let many_keys = packer.has_many_keys();
            let (bytes, key) = packer.finish();
            let mut request = Request::new(bytes, class, key, time);
            request.apart = time > open.timeout;
            send(
                open.dispatch.get()?,
                &request,
                many_keys,
                &mut scratch.reply,
            )?;
            read(&mut scratch.reply)
        })
    }

    /// Sends a packed command of any kind, after looking at what it is.
    pub(crate) fn run_any<T>(
        &self,
        packed: &[u8],
        within: Option<Duration>,
        reply: &mut Reply,
        read: impl FnOnce(&mut Reply) -> Result<T>,
    ) -> Result<T> {
        let (args, mut reading) = inspect(packed, false)?;
        let open = self.open()?;
        let dispatch = open.dispatch.get()?;
        let time = within.unwrap_or_else(|| patience(open.timeout, &reading));
        let mut request = Request::new(packed, reading.class, None, time);
        request.apart = reading.blocks.is_some() || time > open.timeout;
        if reading.unknown && dispatch.topology.is_cluster() {
            spread::look_up(dispatch, &args, &mut reading, request.deadline);
            request.class = reading.class;
        }
        request.key = reading.key.map(|at| args[at]);
        send(dispatch, &request, reading.many_keys, reply)?;
        read(reply)
    }

    /// Any command, by its name and arguments: strings, numbers, bytes, or tuples, arrays and vectors of them.
    /// Its deadline is `command_timeout`; a command that blocks in the server (BLPOP, XREAD BLOCK, WAIT) has that
    /// beyond its own time. One that changes the state of its connection (MULTI, SELECT, SUBSCRIBE, …) is refused:
    /// those need a connection of one's own, [`get_client`](crate::Manager::get_client).
    ///
    /// On a cluster it goes to the node of its keys, and one without keys (PING, DBSIZE, FLUSHALL, SCRIPT LOAD) to any
    /// primary, for that one alone; [`get_client`](crate::Manager::get_client) reaches each of them. DEL, UNLINK, EXISTS, TOUCH,
    /// MGET and MSET are taken apart where their keys lie in several slots (and are then several commands, of which one
    /// may fail alone); others are refused in that case with an error of kind [`CrossSlot`](ErrorKind::CrossSlot),
    /// before anything is sent.
    ///
    /// ```
    /// # fn main() -> redkeep::Result<()> {
    /// # let keep = redkeep::Manager::open("embedded://")?;
    /// let _: i64 = keep.command(("ZADD", "scores", 3, "ann", 5, "bob"))?;
    /// let top: Vec<String> = keep.command(("ZREVRANGE", "scores", 0, 0))?;
    /// assert_eq!(top, ["bob"]);
    /// # Ok(()) }
    /// ```
    pub fn command<T: FromRedisValue>(&self, args: impl ToRedisArgs) -> Result<T> {
        self.any_command(args, None, typed)
    }

    /// As [`command`](Client::command), with a deadline of one's own for all of it.
    pub fn command_within<T: FromRedisValue>(
        &self,
        args: impl ToRedisArgs,
        time: Duration,
    ) -> Result<T> {
        self.any_command(args, Some(time), typed)
    }

    /// Any command, with the reply as it came.
    pub(crate) fn any_command<T>(
        &self,
        args: impl ToRedisArgs,
        within: Option<Duration>,
        read: impl FnOnce(&mut Reply) -> Result<T>,
    ) -> Result<T> {
        Scratch::with(|scratch| {
            let packed = pack_any(&mut scratch.request, &args);
            self.run_any(packed, within, &mut scratch.reply, read)
        })
    }

    /// A connection of one's own on the configured node, for what needs one: MULTI, WATCH, SELECT. It goes back to
    /// the pool when dropped. See [`Manager::get_client`](crate::Manager::get_client) for one on a named node.
    pub fn dedicated(&self) -> Result<Lease> {
        self.dedicated_for(None, self.timeout()?)
    }

    /// The same on the node of this key.
    pub(crate) fn dedicated_for(&self, key: Option<&[u8]>, time: Duration) -> Result<Lease> {
        let deadline = Deadline::after(time);
        let timeout = self.timeout()?;
        let dispatch = self.dispatch()?;
        dispatch.of_primary(key, deadline, |node| {
            let left = deadline.remaining().unwrap_or_default();
            Lease::take(dispatch, node, left, timeout)
        })
    }

    /// Many commands at once: see [`Pipeline`].
    pub fn pipeline(&self) -> Pipeline<'static> {
        Pipeline::on(Road::Shared(self.clone()))
    }

    /// Counts an error that the caller does not see, and says in the log what was done.
    pub(crate) fn swallow(&self, what: &str, error: &Error) {
        match self.dispatch_if_made() {
            Some(dispatch) => {
                dispatch.counters.swallowed.add();
                tell!(limit: dispatch.counters.told, Warn, "{what}: {error}");
            }
            // Switched off on purpose is no news.
            None if error.kind() == ErrorKind::Disabled => {}
            None => tell!(Warn, "{what}: {error}"),
        }
    }

    /// The seeds' manner: neutral values instead of errors.
    pub fn lenient(&self) -> Lenient {
        Lenient::new(self.clone())
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

fn send(
    dispatch: &Dispatch,
    request: &Request<'_>,
    many_keys: bool,
    reply: &mut Reply,
) -> Result<()> {
    let result = send_to_all(dispatch, request, many_keys, reply);
    if request.class != Class::Read {
        own_writes::tell(&dispatch.topology.fleet.witnesses, request.bytes);
    }
    result
}

/// On a cluster, keys in different slots are different servers' business.
fn send_to_all(
    dispatch: &Dispatch,
    request: &Request<'_>,
    many_keys: bool,
    reply: &mut Reply,
) -> Result<()> {
    if !(many_keys && dispatch.topology.is_cluster()) {
        return dispatch.call(request, reply);
    }
    let mut spread = Spread::default();
    spread.add(request.bytes, request.class)?;
    if spread.is_whole() {
        return dispatch.call(request, reply);
    }
    let (started, deadline) = (request.started, request.deadline);
    spread.run(dispatch, started, deadline, reply, &mut Vec::new())?;
    reply.root = reply.children(reply.root())[0];
    match reply.error_text() {
        None => Ok(()),
        // Another part may have been executed.
        Some(text) if request.class == Class::Read => Err(Error::from_server(text)),
        Some(text) => Err(Error::from_server(text).outcome_is(Outcome::Unknown)),
    }
}

fn pack_any<'a>(out: &'a mut Vec<u8>, args: &impl ToRedisArgs) -> &'a [u8] {
    let mut packer = Packer::empty(out);
    packer.any(args);
    packer.finish().0
}

/// What a packed command is. One that changes the state of its connection is refused, unless that is the caller's own;
/// and even there if it is not answered by exactly one reply.
fn inspect(packed: &[u8], own_connection: bool) -> Result<(Args<'_>, Reading)> {
    let args = whole(packed)?;
    let reading = allowed(&args, own_connection)?;
    Ok((args, reading))
}

/// The same of its arguments.
fn allowed(args: &[&[u8]], own_connection: bool) -> Result<Reading> {
    let reading = known(args)?;
    match reading.stateful {
        true if !own_connection => Err(stateful(
            args,
            "changes the state of its connection, and this one is shared; lease one of your own with get_client() \
             (rk_connection_lease() in C)",
        )),
        true if !matches!(dispatch::answers(args), Answers::Reply) => Err(stateful(
            args,
            "is not answered by one reply alone; call it on the leased connection itself",
        )),
        _ => Ok(reading),
    }
}

/// The arguments of a packed command, and what is known of it.
fn look(packed: &[u8]) -> Result<(Args<'_>, Reading)> {
    let args = whole(packed)?;
    let reading = known(&args)?;
    Ok((args, reading))
}

fn whole(packed: &[u8]) -> Result<Args<'_>> {
    unpack(packed).ok_or_else(|| Error::argument("command: it is not one whole command in RESP"))
}

fn known(args: &[&[u8]]) -> Result<Reading> {
    match args.is_empty() {
        true => Err(Error::argument("command: it has no name")),
        false => Ok(dispatch::read(args)),
    }
}

fn stateful(args: &[&[u8]], why: &str) -> Error {
    let name = String::from_utf8_lossy(args[0]).to_ascii_uppercase();
    Error::new(ErrorKind::Stateful, format!("{name} {why}"))
}

/// How long a command may take that blocks for as long as it says itself.
fn patience(timeout: Duration, reading: &Reading) -> Duration {
    match reading.blocks {
        None => timeout,
        Some(Some(time)) => timeout.saturating_add(time),
        Some(None) => Duration::MAX,
    }
}

/// The reply as the type asked for.
fn typed<T: FromRedisValue>(reply: &mut Reply) -> Result<T> {
    convert(value_of(reply)?)
}

pub(crate) fn convert<T: FromRedisValue>(value: redis::Value) -> Result<T> {
    let kind = kind_of(&value);
    // The redis crate's own text quotes the value, which has no business in an error.
    T::from_redis_value(value).map_err(|_| unreadable(kind, std::any::type_name::<T>()))
}

#[cold]
fn unreadable(kind: &str, wanted: &str) -> Error {
    reply_type(format!(
        "the server sent {kind}, and it cannot be read as {wanted}"
    ))
}

fn kind_of(value: &redis::Value) -> &'static str {
    use redis::Value::*;
    match value {
        Nil => "a nil",
        Int(_) => "a whole number",
        Double(_) => "a number",
        Boolean(_) => "a truth value",
        BulkString(_) | VerbatimString { .. } => "bytes",
        SimpleString(_) | Okay => "a status",
        Array(_) => "an array",
        Map(_) => "a map",
        Set(_) => "a set",
        _ => "something else",
    }
}

fn reply_type(why: String) -> Error {
    // The command itself was executed; what is wrong is only what was expected of its answer.
    Error::new(ErrorKind::ReplyType, why).outcome_is(Outcome::Unknown)
}

fn integer(reply: &mut Reply) -> Result<i64> {
    reply.integer().ok_or_else(|| {
        reply_type(format!(
            "a whole number was expected, and the server sent {:?}",
            reply.kind()
        ))
    })
}

/// OK is true, a nil is false (SET with NX or XX), a number is true unless it is 0.
fn truth(reply: &mut Reply) -> Result<bool> {
    match reply.kind() {
        Kind::Nil => Ok(false),
        Kind::Status => Ok(true),
        _ => integer(reply).map(|n| n != 0),
    }
}

fn value_of(reply: &mut Reply) -> Result<redis::Value> {
    std::mem::take(reply).into_value()
}

fn nothing(_: &mut Reply) -> Result<()> {
    Ok(())
}
