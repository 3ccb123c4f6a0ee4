//! The redis crate's own commands on our connections: its traits, its `pipe()`, its scripts and iterators.

use redis::{ConnectionLike, RedisError, RedisResult, Value};

use crate::client::unpack::{unpack, unpack_all};
use crate::client::{Client, Lease, Load, Replies, Scratch, value_of};
use crate::error::{Error, ErrorKind, Result};

/// ```
/// # fn main() -> redkeep::redis::RedisResult<()> {
/// use redkeep::redis::{self, Commands};
///
/// # let keep = redkeep::Manager::open("embedded://").unwrap();
/// let mut client = keep.client();
/// let _: () = client.zadd("scores", "ann", 3)?;
/// let top: Vec<String> = client.zrevrange("scores", 0, 9)?;
/// let (n,): (i64,) = redis::pipe().atomic().incr("n", 1).query(&mut client)?;
/// # assert_eq!((top, n), (vec!["ann".into()], 1));
/// # Ok(()) }
/// ```
impl ConnectionLike for Client {
    fn req_packed_command(&mut self, cmd: &[u8]) -> RedisResult<Value> {
        Scratch::with(|scratch| self.run_any(cmd, None, &mut scratch.reply, value_of))
            .map_err(foreign)
    }

    fn req_packed_commands(
        &mut self,
        cmd: &[u8],
        offset: usize,
        count: usize,
    ) -> RedisResult<Vec<Value>> {
        batch(cmd, offset, count, false, |load| self.execute(load)).map_err(foreign)
    }

    fn get_db(&self) -> i64 {
        let dispatch = self.dispatch();
        let home = dispatch.ok().and_then(|it| it.topology.home_if_known());
        home.map_or(0, |node| i64::from(node.dialer.endpoint.db))
    }

    fn check_connection(&mut self) -> bool {
        self.ping().is_ok()
    }

    fn is_open(&self) -> bool {
        self.dispatch()
            .is_ok_and(|dispatch| !dispatch.topology.fleet.closing.is_open())
    }
}

impl ConnectionLike for Lease {
    fn req_packed_command(&mut self, cmd: &[u8]) -> RedisResult<Value> {
        Scratch::with(|scratch| self.run_any(cmd, None, &mut scratch.reply, value_of))
            .map_err(foreign)
    }

    fn req_packed_commands(
        &mut self,
        cmd: &[u8],
        offset: usize,
        count: usize,
    ) -> RedisResult<Vec<Value>> {
        batch(cmd, offset, count, true, |load| self.execute(load)).map_err(foreign)
    }

    fn get_db(&self) -> i64 {
        i64::from(self.endpoint().db)
    }

    fn check_connection(&mut self) -> bool {
        self.command::<Value>("PING").is_ok()
    }

    fn is_open(&self) -> bool {
        self.usable().is_ok()
    }
}

/// Commands that the redis crate packed, in one go; of their replies, `count` from `offset` on.
fn batch(
    packed: &[u8],
    offset: usize,
    count: usize,
    own_connection: bool,
    execute: impl for<'l> FnOnce(&'l mut Load) -> Result<Replies<'l>>,
) -> Result<Vec<Value>> {
    let commands =
        unpack_all(packed).ok_or_else(|| Error::argument("cmd: these are not packed commands"))?;
    let named = |command: Option<&&[u8]>, name: &[u8]| {
        command.is_some_and(|bytes| {
            unpack(bytes).is_some_and(|args| args.len() == 1 && args[0].eq_ignore_ascii_case(name))
        })
    };
    let mut load = Load::default();
    let whole = named(commands.first(), b"MULTI") && named(commands.last(), b"EXEC");
    let inner = match whole {
        true => &commands[1..commands.len() - 1],
        false => &commands[..],
    };
    for command in inner {
        load.add_packed(command, own_connection)?;
    }
    load.set_atomic(whole);
    let replies = match execute(&mut load) {
        // What the redis crate expects of a transaction that a WATCH prevented.
        Err(error) if whole && error.kind() == ErrorKind::Watched => return Ok(vec![Value::Nil]),
        other => other?,
    };
    if whole {
        return Ok(vec![Value::Array(replies.values()?)]);
    }
    Ok(replies
        .values()?
        .into_iter()
        .skip(offset)
        .take(count)
        .collect())
}

/// Our error as the redis crate's. What the server said stays what the server said.
fn foreign(error: Error) -> RedisError {
    let kind = match error.kind() {
        _ if error.code().is_some() => {
            let line = format!("-{}\r\n", error.message());
            let parsed = redis::parse_redis_value(line.as_bytes()).and_then(Value::extract_error);
            return match parsed {
                Err(server) => server,
                Ok(_) => RedisError::from((redis::ErrorKind::Extension, "", error.to_string())),
            };
        }
        ErrorKind::Timeout | ErrorKind::PoolTimeout => std::io::ErrorKind::TimedOut,
        ErrorKind::Connect | ErrorKind::NoHealthyPools => std::io::ErrorKind::ConnectionRefused,
        ErrorKind::Io => std::io::ErrorKind::ConnectionReset,
        ErrorKind::ReplyType => {
            return RedisError::from((
                redis::ErrorKind::UnexpectedReturnType,
                "redkeep",
                error.to_string(),
            ));
        }
        _ => return RedisError::from((redis::ErrorKind::Client, "redkeep", error.to_string())),
    };
    RedisError::from(std::io::Error::new(kind, error))
}
