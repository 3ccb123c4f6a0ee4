//! What is known of each command by name: whether it may be repeated, where its keys are, how long it may block.
//!
//! A name that is not here is taken for one that must not be repeated, which is never wrong.

use std::time::Duration;

use crate::dispatch::Class;

/// How a command is to be treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Plain(Class),
    /// It waits in the server for as long as its own argument says.
    Blocks(Patience),
    /// It changes the state of its connection.
    Stateful,
    /// SET: its options decide.
    Set,
    /// EXPIRE: its time and its options decide.
    Expire,
    /// CLIENT: its subcommand decides.
    Client,
    /// SCRIPT: its subcommand decides.
    ScriptAdmin,
}

/// Where a blocking command says how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Seconds, in the last argument.
    LastArgument,
    /// Seconds, at this position.
    Seconds(usize),
    /// Milliseconds, at this position.
    Milliseconds(usize),
    /// Milliseconds, behind the word BLOCK; without it the command does not block.
    BlockOption,
}

/// Where the first key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keys {
    None,
    At(usize),
    /// The number of keys is at this position, and the keys follow.
    Counted(usize),
    /// Behind the word STREAMS.
    AfterStreams,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    name: &'static str,
    way: Way,
    keys: Keys,
}

/// What a whole command comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) class: Class,
    pub(crate) stateful: bool,
    /// How long it may block in the server, where it may: none is for ever.
    pub(crate) blocks: Option<Option<Duration>>,
    /// The position of its first key.
    pub(crate) key: Option<usize>,
    /// It has, or may have, more than one key.
    pub(crate) many_keys: bool,
    /// No command of this name is in the table.
    pub(crate) unknown: bool,
}

/// How the answers to the parts of a command become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Join {
    /// Numbers are added up.
    Sum,
    /// Each key's value goes to its key's place.
    Places,
    /// OK, if all of them are.
    AllOk,
}

/// Reads a command: its name and its arguments, as they would be sent.
pub(crate) fn read(args: &[&[u8]]) -> Reading {
    let mut reading = Reading {
        class: Class::Once,
        stateful: false,
        blocks: None,
        key: None,
        many_keys: false,
        unknown: true,
    };
    let Some(entry) = args.first().and_then(|name| look_up(name)) else {
        return reading;
    };
    reading.unknown = false;
    let sub = |names: &[&str]| {
        args.get(1)
            .is_some_and(|arg| names.iter().any(|name| is(arg, name)))
    };
    match entry.way {
        Way::Plain(class) => reading.class = class,
        Way::Blocks(patience) => match how_long(patience, args) {
            // XREAD without BLOCK is a plain read; XREADGROUP hands messages over, once.
            None if entry.name == "XREAD" => reading.class = Class::Read,
            blocks => reading.blocks = blocks,
        },
        Way::Stateful => reading.stateful = true,
        Way::Set => {
            let once = ["NX", "XX", "GET", "IFEQ", "IFNE"];
            let conditional = |arg: &&[u8]| once.iter().any(|name| is(arg, name));
            if !args.iter().skip(3).any(conditional) {
                reading.class = Class::Repeatable;
            }
        }
        Way::Expire => {
            // A condition may hold once only, and a time that is over deletes the key, which works once only.
            if args.len() == 3 && number::<i64>(args, 2).is_some_and(|time| time > 0) {
                reading.class = Class::Repeatable;
            }
        }
        Way::Client => {
            reading.stateful = sub(&[
                "REPLY", "TRACKING", "CACHING", "SETNAME", "SETINFO", "NO-EVICT", "NO-TOUCH",
            ]);
        }
        Way::ScriptAdmin => {
            reading.stateful = sub(&["DEBUG"]);
            if sub(&["LOAD", "EXISTS"]) {
                reading.class = Class::Repeatable;
            }
        }
    }
    reading.key = first_key(entry.keys, args);
    reading.many_keys = match entry.keys {
        Keys::None => false,
        Keys::At(_) => args.len() > 2 && several(entry.name).is_some(),
        Keys::Counted(at) => number::<usize>(args, at).is_some_and(|count| count > 1),
        Keys::AfterStreams => reading.key.is_some_and(|first| args.len() - first > 2),
    };
    reading
}

/// The positions of all its keys.
pub(crate) fn keys(args: &[&[u8]]) -> Vec<usize> {
    let entry = args.first().and_then(|name| look_up(name));
    let Some((entry, first)) = entry.and_then(|it| Some((it, first_key(it.keys, args)?))) else {
        return Vec::new();
    };
    let mut all = match (entry.keys, several(entry.name)) {
        (Keys::Counted(at), _) => {
            let count = number(args, at).unwrap_or(0);
            (first..args.len()).take(count).collect()
        }
        // Behind the streams stands an id for each of them.
        (Keys::AfterStreams, _) => (first..args.len()).take((args.len() - first) / 2).collect(),
        (_, Some((last, step))) => {
            let end = match last {
                ..0 => (args.len() + 1).saturating_sub(last.unsigned_abs()),
                last => (last as usize + 1).min(args.len()),
            };
            (first..end).step_by(step).collect()
        }
        _ => vec![first],
    };
    // A destination stands before the number of keys.
    if ["ZUNIONSTORE", "ZINTERSTORE", "ZDIFFSTORE"].contains(&entry.name) {
        let count = number(args, 2).unwrap_or(0);
        all.extend((3..args.len()).take(count));
    }
    all
}

/// The last key and the step from one key to the next, of those with more than one; a last below 0 is counted from
/// the end.
fn several(name: &str) -> Option<(isize, usize)> {
    Some(match name {
        "DEL" | "UNLINK" | "EXISTS" | "TOUCH" | "MGET" | "PFCOUNT" | "PFMERGE" | "SDIFF"
        | "SDIFFSTORE" | "SINTER" | "SINTERSTORE" | "SUNION" | "SUNIONSTORE" | "BITOP"
        | "WATCH" | "SSUBSCRIBE" | "SUNSUBSCRIBE" => (-1, 1),
        "BLPOP" | "BRPOP" | "BZPOPMIN" | "BZPOPMAX" => (-2, 1),
        "MSET" | "MSETNX" => (-1, 2),
        "RENAME" | "RENAMENX" | "COPY" | "SMOVE" | "LMOVE" | "BLMOVE" | "RPOPLPUSH"
        | "BRPOPLPUSH" | "LCS" | "ZRANGESTORE" | "GEOSEARCHSTORE" => (2, 1),
        // The destination is looked at; the keys behind it are counted.
        "ZUNIONSTORE" | "ZINTERSTORE" | "ZDIFFSTORE" => (1, 1),
        _ => return None,
    })
}

/// Whether the command may be taken apart by its keys, how its parts are put together again, and how many arguments
/// belong to each key.
pub(crate) fn join(name: &[u8]) -> Option<(Join, usize)> {
    Some(match look_up(name)?.name {
        "DEL" | "UNLINK" | "EXISTS" | "TOUCH" => (Join::Sum, 1),
        "MGET" => (Join::Places, 1),
        "MSET" => (Join::AllOk, 2),
        _ => return None,
    })
}

/// Whether a command of this name may block.
pub(crate) fn blocks(name: &[u8]) -> bool {
    look_up(name).is_some_and(|entry| matches!(entry.way, Way::Blocks(_)))
}

/// What comes back from a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    /// One reply.
    Reply,
    /// One reply, and from then on messages that nobody waits for.
    ReplyAndPushes,
    /// A confirmation for each channel, and from then on their messages.
    Confirmations,
    /// One reply, and from then on a line for each command that the server executes.
    Lines,
    /// What CLIENT REPLY turns them to.
    Mute(Mute),
    /// A stream of bytes that is no reply.
    Stream,
}

/// Which replies the server leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mute {
    None,
    Next,
    All,
}

pub(crate) fn answers(args: &[&[u8]]) -> Answers {
    let any = |at: usize, names: &[&str]| {
        args.get(at)
            .is_some_and(|arg| names.iter().any(|name| is(arg, name)))
    };
    let subscribes = [
        "SUBSCRIBE",
        "PSUBSCRIBE",
        "SSUBSCRIBE",
        "UNSUBSCRIBE",
        "PUNSUBSCRIBE",
        "SUNSUBSCRIBE",
    ];
    match () {
        _ if any(0, &subscribes) => Answers::Confirmations,
        _ if any(0, &["MONITOR"]) => Answers::Lines,
        _ if any(0, &["SYNC", "PSYNC"]) => Answers::Stream,
        _ if !any(0, &["CLIENT"]) => Answers::Reply,
        _ if any(1, &["TRACKING"]) => Answers::ReplyAndPushes,
        _ if !any(1, &["REPLY"]) || args.len() != 3 => Answers::Reply,
        _ if any(2, &["ON"]) => Answers::Mute(Mute::None),
        _ if any(2, &["SKIP"]) => Answers::Mute(Mute::Next),
        _ if any(2, &["OFF"]) => Answers::Mute(Mute::All),
        _ => Answers::Reply,
    }
}

fn is(arg: &[u8], name: &str) -> bool {
    arg.eq_ignore_ascii_case(name.as_bytes())
}

/// What stands behind this word among the options of XREAD and XREADGROUP; names of groups and streams are no words.
fn after(args: &[&[u8]], word: &str) -> Option<usize> {
    let mut at = 1;
    while let Some(option) = args.get(at) {
        if is(option, word) {
            return (at + 1 < args.len()).then_some(at + 1);
        }
        at += match () {
            _ if is(option, "STREAMS") => return None,
            _ if is(option, "GROUP") => 3,
            _ if is(option, "COUNT") || is(option, "BLOCK") => 2,
            _ => 1,
        };
    }
    None
}

fn number<T: std::str::FromStr>(args: &[&[u8]], at: usize) -> Option<T> {
    std::str::from_utf8(args.get(at)?).ok()?.parse().ok()
}

/// Some(None): for ever. What cannot be read is not waited for: the server will refuse it.
fn how_long(patience: Patience, args: &[&[u8]]) -> Option<Option<Duration>> {
    let milliseconds = |at| number::<u64>(args, at).map(Duration::from_millis);
    let seconds =
        |at| number::<f64>(args, at).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let time = match patience {
        Patience::LastArgument => seconds(args.len() - 1),
        Patience::Seconds(at) => seconds(at),
        Patience::Milliseconds(at) => milliseconds(at),
        Patience::BlockOption => milliseconds(after(args, "BLOCK")?),
    };
    time.map(|time| (!time.is_zero()).then_some(time))
}

fn first_key(keys: Keys, args: &[&[u8]]) -> Option<usize> {
    let at = match keys {
        Keys::None => return None,
        Keys::At(at) => at,
        Keys::Counted(at) => match number::<usize>(args, at)? {
            0 => return None,
            _ => at + 1,
        },
        Keys::AfterStreams => after(args, "STREAMS")?,
    };
    (at < args.len()).then_some(at)
}

pub(crate) fn look_up(name: &[u8]) -> Option<&'static Entry> {
    if name.is_empty() {
        return None;
    }
    let mut place = place_of(name);
    loop {
        // Some places are empty, so this ends.
        let entry = &TABLE[usize::from(PLACES[place].checked_sub(1)?)];
        if is(name, entry.name) {
            return Some(entry);
        }
        place = (place + 1) % SPACE;
    }
}

/// Where a name stands in `PLACES`, or behind that, whatever its case.
const fn place_of(name: &[u8]) -> usize {
    const fn letter(name: &[u8], at: usize) -> usize {
        (name[at] & !0x20) as usize
    }
    let length = name.len();
    let sum = length * 17
        + letter(name, 0) * 31
        + letter(name, length / 2) * 7
        + letter(name, length - 1) * 131;
    sum % SPACE
}

/// Twice as many as there are names, so that most are found at once.
const SPACE: usize = 512;

/// Numbers of entries, counted from 1, by what their names look like.
static PLACES: [u16; SPACE] = {
    let (mut places, mut at) = ([0; SPACE], 0);
    while at < TABLE.len() {
        let mut place = place_of(TABLE[at].name.as_bytes());
        while places[place] != 0 {
            place = (place + 1) % SPACE;
        }
        at += 1;
        places[place] = at as u16;
    }
    places
};

const fn row(name: &'static str, way: Way, keys: Keys) -> Entry {
    Entry { name, way, keys }
}

/// Sorted by name.
#[rustfmt::skip]
static TABLE: &[Entry] = &[
    row("ACL", Way::Plain(Class::Once), Keys::None),
    row("APPEND", Way::Plain(Class::Once), Keys::At(1)),
    row("ASKING", Way::Stateful, Keys::None),
    row("AUTH", Way::Stateful, Keys::None),
    row("BGREWRITEAOF", Way::Plain(Class::Once), Keys::None),
    row("BGSAVE", Way::Plain(Class::Once), Keys::None),
    row("BITCOUNT", Way::Plain(Class::Read), Keys::At(1)),
    row("BITFIELD", Way::Plain(Class::Once), Keys::At(1)),
    row("BITFIELD_RO", Way::Plain(Class::Read), Keys::At(1)),
    row("BITOP", Way::Plain(Class::Once), Keys::At(2)),
    row("BITPOS", Way::Plain(Class::Read), Keys::At(1)),
    row("BLMOVE", Way::Blocks(Patience::LastArgument), Keys::At(1)),
    row("BLMPOP", Way::Blocks(Patience::Seconds(1)), Keys::Counted(2)),
    row("BLPOP", Way::Blocks(Patience::LastArgument), Keys::At(1)),
    row("BRPOP", Way::Blocks(Patience::LastArgument), Keys::At(1)),
    row("BRPOPLPUSH", Way::Blocks(Patience::LastArgument), Keys::At(1)),
    row("BZMPOP", Way::Blocks(Patience::Seconds(1)), Keys::Counted(2)),
    row("BZPOPMAX", Way::Blocks(Patience::LastArgument), Keys::At(1)),
    row("BZPOPMIN", Way::Blocks(Patience::LastArgument), Keys::At(1)),
    row("CLIENT", Way::Client, Keys::None),
    row("CLUSTER", Way::Plain(Class::Once), Keys::None),
    row("COMMAND", Way::Plain(Class::Read), Keys::None),
    row("CONFIG", Way::Plain(Class::Repeatable), Keys::None),
    row("COPY", Way::Plain(Class::Once), Keys::At(1)),
    row("DBSIZE", Way::Plain(Class::Read), Keys::None),
    row("DEBUG", Way::Plain(Class::Once), Keys::None),
    row("DECR", Way::Plain(Class::Once), Keys::At(1)),
    row("DECRBY", Way::Plain(Class::Once), Keys::At(1)),
    row("DEL", Way::Plain(Class::Once), Keys::At(1)),
    row("DISCARD", Way::Stateful, Keys::None),
    row("DUMP", Way::Plain(Class::Read), Keys::At(1)),
    row("ECHO", Way::Plain(Class::Read), Keys::None),
    row("EVAL", Way::Plain(Class::Script), Keys::Counted(2)),
    row("EVALSHA", Way::Plain(Class::Script), Keys::Counted(2)),
    row("EVALSHA_RO", Way::Plain(Class::Read), Keys::Counted(2)),
    row("EVAL_RO", Way::Plain(Class::Read), Keys::Counted(2)),
    row("EXEC", Way::Stateful, Keys::None),
    row("EXISTS", Way::Plain(Class::Read), Keys::At(1)),
    row("EXPIRE", Way::Expire, Keys::At(1)),
    row("EXPIREAT", Way::Expire, Keys::At(1)),
    row("EXPIRETIME", Way::Plain(Class::Read), Keys::At(1)),
    row("FAILOVER", Way::Plain(Class::Once), Keys::None),
    row("FCALL", Way::Plain(Class::Script), Keys::Counted(2)),
    row("FCALL_RO", Way::Plain(Class::Read), Keys::Counted(2)),
    row("FLUSHALL", Way::Plain(Class::Repeatable), Keys::None),
    row("FLUSHDB", Way::Plain(Class::Repeatable), Keys::None),
    row("FUNCTION", Way::Plain(Class::Once), Keys::None),
    row("GEOADD", Way::Plain(Class::Once), Keys::At(1)),
    row("GEODIST", Way::Plain(Class::Read), Keys::At(1)),
    row("GEOHASH", Way::Plain(Class::Read), Keys::At(1)),
    row("GEOPOS", Way::Plain(Class::Read), Keys::At(1)),
    row("GEORADIUS", Way::Plain(Class::Once), Keys::At(1)),
    row("GEORADIUSBYMEMBER", Way::Plain(Class::Once), Keys::At(1)),
    row("GEORADIUSBYMEMBER_RO", Way::Plain(Class::Read), Keys::At(1)),
    row("GEORADIUS_RO", Way::Plain(Class::Read), Keys::At(1)),
    row("GEOSEARCH", Way::Plain(Class::Read), Keys::At(1)),
    row("GEOSEARCHSTORE", Way::Plain(Class::Once), Keys::At(1)),
    row("GET", Way::Plain(Class::Read), Keys::At(1)),
    row("GETBIT", Way::Plain(Class::Read), Keys::At(1)),
    row("GETDEL", Way::Plain(Class::Once), Keys::At(1)),
    row("GETEX", Way::Plain(Class::Once), Keys::At(1)),
    row("GETRANGE", Way::Plain(Class::Read), Keys::At(1)),
    row("GETSET", Way::Plain(Class::Once), Keys::At(1)),
    row("HDEL", Way::Plain(Class::Once), Keys::At(1)),
    row("HELLO", Way::Stateful, Keys::None),
    row("HEXISTS", Way::Plain(Class::Read), Keys::At(1)),
    row("HEXPIRETIME", Way::Plain(Class::Read), Keys::At(1)),
    row("HGET", Way::Plain(Class::Read), Keys::At(1)),
    row("HGETALL", Way::Plain(Class::Read), Keys::At(1)),
    row("HINCRBY", Way::Plain(Class::Once), Keys::At(1)),
    row("HINCRBYFLOAT", Way::Plain(Class::Once), Keys::At(1)),
    row("HKEYS", Way::Plain(Class::Read), Keys::At(1)),
    row("HLEN", Way::Plain(Class::Read), Keys::At(1)),
    row("HMGET", Way::Plain(Class::Read), Keys::At(1)),
    row("HMSET", Way::Plain(Class::Repeatable), Keys::At(1)),
    row("HPEXPIRETIME", Way::Plain(Class::Read), Keys::At(1)),
    row("HPTTL", Way::Plain(Class::Read), Keys::At(1)),
    row("HRANDFIELD", Way::Plain(Class::Read), Keys::At(1)),
    row("HSCAN", Way::Plain(Class::Read), Keys::At(1)),
    row("HSET", Way::Plain(Class::Once), Keys::At(1)),
    row("HSETNX", Way::Plain(Class::Once), Keys::At(1)),
    row("HSTRLEN", Way::Plain(Class::Read), Keys::At(1)),
    row("HTTL", Way::Plain(Class::Read), Keys::At(1)),
    row("HVALS", Way::Plain(Class::Read), Keys::At(1)),
    row("INCR", Way::Plain(Class::Once), Keys::At(1)),
    row("INCRBY", Way::Plain(Class::Once), Keys::At(1)),
    row("INCRBYFLOAT", Way::Plain(Class::Once), Keys::At(1)),
    row("INFO", Way::Plain(Class::Read), Keys::None),
    row("KEYS", Way::Plain(Class::Read), Keys::None),
    row("LASTSAVE", Way::Plain(Class::Read), Keys::None),
    row("LATENCY", Way::Plain(Class::Once), Keys::None),
    row("LCS", Way::Plain(Class::Read), Keys::At(1)),
    row("LINDEX", Way::Plain(Class::Read), Keys::At(1)),
    row("LINSERT", Way::Plain(Class::Once), Keys::At(1)),
    row("LLEN", Way::Plain(Class::Read), Keys::At(1)),
    row("LMOVE", Way::Plain(Class::Once), Keys::At(1)),
    row("LMPOP", Way::Plain(Class::Once), Keys::Counted(1)),
    row("LPOP", Way::Plain(Class::Once), Keys::At(1)),
    row("LPOS", Way::Plain(Class::Read), Keys::At(1)),
    row("LPUSH", Way::Plain(Class::Once), Keys::At(1)),
    row("LPUSHX", Way::Plain(Class::Once), Keys::At(1)),
    row("LRANGE", Way::Plain(Class::Read), Keys::At(1)),
    row("LREM", Way::Plain(Class::Once), Keys::At(1)),
    row("LSET", Way::Plain(Class::Repeatable), Keys::At(1)),
    row("LTRIM", Way::Plain(Class::Once), Keys::At(1)),
    row("MEMORY", Way::Plain(Class::Read), Keys::At(2)),
    row("MGET", Way::Plain(Class::Read), Keys::At(1)),
    row("MIGRATE", Way::Plain(Class::Once), Keys::None),
    row("MODULE", Way::Plain(Class::Once), Keys::None),
    row("MONITOR", Way::Stateful, Keys::None),
    row("MOVE", Way::Plain(Class::Once), Keys::At(1)),
    row("MSET", Way::Plain(Class::Repeatable), Keys::At(1)),
    row("MSETNX", Way::Plain(Class::Once), Keys::At(1)),
    row("MULTI", Way::Stateful, Keys::None),
    row("OBJECT", Way::Plain(Class::Read), Keys::At(2)),
    row("PERSIST", Way::Plain(Class::Once), Keys::At(1)),
    row("PEXPIRE", Way::Expire, Keys::At(1)),
    row("PEXPIREAT", Way::Expire, Keys::At(1)),
    row("PEXPIRETIME", Way::Plain(Class::Read), Keys::At(1)),
    row("PFADD", Way::Plain(Class::Once), Keys::At(1)),
    row("PFCOUNT", Way::Plain(Class::Read), Keys::At(1)),
    row("PFMERGE", Way::Plain(Class::Repeatable), Keys::At(1)),
    row("PING", Way::Plain(Class::Read), Keys::None),
    row("PSETEX", Way::Plain(Class::Repeatable), Keys::At(1)),
    row("PSUBSCRIBE", Way::Stateful, Keys::None),
    row("PSYNC", Way::Stateful, Keys::None),
    row("PTTL", Way::Plain(Class::Read), Keys::At(1)),
    row("PUBLISH", Way::Plain(Class::Once), Keys::None),
    row("PUNSUBSCRIBE", Way::Stateful, Keys::None),
    row("QUIT", Way::Stateful, Keys::None),
    row("RANDOMKEY", Way::Plain(Class::Read), Keys::None),
    row("READONLY", Way::Stateful, Keys::None),
    row("READWRITE", Way::Stateful, Keys::None),
    row("RENAME", Way::Plain(Class::Once), Keys::At(1)),
    row("RENAMENX", Way::Plain(Class::Once), Keys::At(1)),
    row("REPLCONF", Way::Stateful, Keys::None),
    row("REPLICAOF", Way::Plain(Class::Once), Keys::None),
    row("RESET", Way::Stateful, Keys::None),
    row("RESTORE", Way::Plain(Class::Once), Keys::At(1)),
    row("ROLE", Way::Plain(Class::Read), Keys::None),
    row("RPOP", Way::Plain(Class::Once), Keys::At(1)),
    row("RPOPLPUSH", Way::Plain(Class::Once), Keys::At(1)),
    row("RPUSH", Way::Plain(Class::Once), Keys::At(1)),
    row("RPUSHX", Way::Plain(Class::Once), Keys::At(1)),
    row("SADD", Way::Plain(Class::Once), Keys::At(1)),
    row("SAVE", Way::Plain(Class::Once), Keys::None),
    row("SCAN", Way::Plain(Class::Read), Keys::None),
    row("SCARD", Way::Plain(Class::Read), Keys::At(1)),
    row("SCRIPT", Way::ScriptAdmin, Keys::None),
    row("SDIFF", Way::Plain(Class::Read), Keys::At(1)),
    row("SDIFFSTORE", Way::Plain(Class::Once), Keys::At(1)),
    row("SELECT", Way::Stateful, Keys::None),
    row("SET", Way::Set, Keys::At(1)),
    row("SETBIT", Way::Plain(Class::Once), Keys::At(1)),
    row("SETEX", Way::Plain(Class::Repeatable), Keys::At(1)),
    row("SETNX", Way::Plain(Class::Once), Keys::At(1)),
    row("SETRANGE", Way::Plain(Class::Once), Keys::At(1)),
    row("SHUTDOWN", Way::Plain(Class::Once), Keys::None),
    row("SINTER", Way::Plain(Class::Read), Keys::At(1)),
    row("SINTERCARD", Way::Plain(Class::Read), Keys::Counted(1)),
    row("SINTERSTORE", Way::Plain(Class::Repeatable), Keys::At(1)),
    row("SISMEMBER", Way::Plain(Class::Read), Keys::At(1)),
    row("SLAVEOF", Way::Plain(Class::Once), Keys::None),
    row("SLOWLOG", Way::Plain(Class::Once), Keys::None),
    row("SMEMBERS", Way::Plain(Class::Read), Keys::At(1)),
    row("SMISMEMBER", Way::Plain(Class::Read), Keys::At(1)),
    row("SMOVE", Way::Plain(Class::Once), Keys::At(1)),
    row("SORT", Way::Plain(Class::Once), Keys::At(1)),
    row("SORT_RO", Way::Plain(Class::Read), Keys::At(1)),
    row("SPOP", Way::Plain(Class::Once), Keys::At(1)),
    row("SPUBLISH", Way::Plain(Class::Once), Keys::At(1)),
    row("SRANDMEMBER", Way::Plain(Class::Read), Keys::At(1)),
    row("SREM", Way::Plain(Class::Once), Keys::At(1)),
    row("SSCAN", Way::Plain(Class::Read), Keys::At(1)),
    row("SSUBSCRIBE", Way::Stateful, Keys::At(1)),
    row("STRLEN", Way::Plain(Class::Read), Keys::At(1)),
    row("SUBSCRIBE", Way::Stateful, Keys::None),
    row("SUBSTR", Way::Plain(Class::Read), Keys::At(1)),
    row("SUNION", Way::Plain(Class::Read), Keys::At(1)),
    row("SUNIONSTORE", Way::Plain(Class::Repeatable), Keys::At(1)),
    row("SUNSUBSCRIBE", Way::Stateful, Keys::At(1)),
    row("SWAPDB", Way::Plain(Class::Once), Keys::None),
    row("SYNC", Way::Stateful, Keys::None),
    row("TIME", Way::Plain(Class::Read), Keys::None),
    row("TOUCH", Way::Plain(Class::Read), Keys::At(1)),
    row("TTL", Way::Plain(Class::Read), Keys::At(1)),
    row("TYPE", Way::Plain(Class::Read), Keys::At(1)),
    row("UNLINK", Way::Plain(Class::Once), Keys::At(1)),
    row("UNSUBSCRIBE", Way::Stateful, Keys::None),
    row("UNWATCH", Way::Stateful, Keys::None),
    row("WAIT", Way::Blocks(Patience::Milliseconds(2)), Keys::None),
    row("WAITAOF", Way::Blocks(Patience::Milliseconds(3)), Keys::None),
    row("WATCH", Way::Stateful, Keys::At(1)),
    row("XACK", Way::Plain(Class::Once), Keys::At(1)),
    row("XADD", Way::Plain(Class::Once), Keys::At(1)),
    row("XAUTOCLAIM", Way::Plain(Class::Once), Keys::At(1)),
    row("XCLAIM", Way::Plain(Class::Once), Keys::At(1)),
    row("XDEL", Way::Plain(Class::Once), Keys::At(1)),
    row("XGROUP", Way::Plain(Class::Once), Keys::At(2)),
    row("XINFO", Way::Plain(Class::Read), Keys::At(2)),
    row("XLEN", Way::Plain(Class::Read), Keys::At(1)),
    row("XPENDING", Way::Plain(Class::Read), Keys::At(1)),
    row("XRANGE", Way::Plain(Class::Read), Keys::At(1)),
    row("XREAD", Way::Blocks(Patience::BlockOption), Keys::AfterStreams),
    row("XREADGROUP", Way::Blocks(Patience::BlockOption), Keys::AfterStreams),
    row("XREVRANGE", Way::Plain(Class::Read), Keys::At(1)),
    row("XSETID", Way::Plain(Class::Once), Keys::At(1)),
    row("XTRIM", Way::Plain(Class::Once), Keys::At(1)),
    row("ZADD", Way::Plain(Class::Once), Keys::At(1)),
    row("ZCARD", Way::Plain(Class::Read), Keys::At(1)),
    row("ZCOUNT", Way::Plain(Class::Read), Keys::At(1)),
    row("ZDIFF", Way::Plain(Class::Read), Keys::Counted(1)),
    row("ZDIFFSTORE", Way::Plain(Class::Once), Keys::At(1)),
    row("ZINCRBY", Way::Plain(Class::Once), Keys::At(1)),
    row("ZINTER", Way::Plain(Class::Read), Keys::Counted(1)),
    row("ZINTERCARD", Way::Plain(Class::Read), Keys::Counted(1)),
    row("ZINTERSTORE", Way::Plain(Class::Once), Keys::At(1)),
    row("ZLEXCOUNT", Way::Plain(Class::Read), Keys::At(1)),
    row("ZMPOP", Way::Plain(Class::Once), Keys::Counted(1)),
    row("ZMSCORE", Way::Plain(Class::Read), Keys::At(1)),
    row("ZPOPMAX", Way::Plain(Class::Once), Keys::At(1)),
    row("ZPOPMIN", Way::Plain(Class::Once), Keys::At(1)),
    row("ZRANDMEMBER", Way::Plain(Class::Read), Keys::At(1)),
    row("ZRANGE", Way::Plain(Class::Read), Keys::At(1)),
    row("ZRANGEBYLEX", Way::Plain(Class::Read), Keys::At(1)),
    row("ZRANGEBYSCORE", Way::Plain(Class::Read), Keys::At(1)),
    row("ZRANGESTORE", Way::Plain(Class::Once), Keys::At(1)),
    row("ZRANK", Way::Plain(Class::Read), Keys::At(1)),
    row("ZREM", Way::Plain(Class::Once), Keys::At(1)),
    row("ZREMRANGEBYLEX", Way::Plain(Class::Once), Keys::At(1)),
    row("ZREMRANGEBYRANK", Way::Plain(Class::Once), Keys::At(1)),
    row("ZREMRANGEBYSCORE", Way::Plain(Class::Once), Keys::At(1)),
    row("ZREVRANGE", Way::Plain(Class::Read), Keys::At(1)),
    row("ZREVRANGEBYLEX", Way::Plain(Class::Read), Keys::At(1)),
    row("ZREVRANGEBYSCORE", Way::Plain(Class::Read), Keys::At(1)),
    row("ZREVRANK", Way::Plain(Class::Read), Keys::At(1)),
    row("ZSCAN", Way::Plain(Class::Read), Keys::At(1)),
    row("ZSCORE", Way::Plain(Class::Read), Keys::At(1)),
    row("ZUNION", Way::Plain(Class::Read), Keys::Counted(1)),
    row("ZUNIONSTORE", Way::Plain(Class::Once), Keys::At(1)),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(command: &str) -> Reading {
        let args: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        read(&args)
    }

    #[test]
    fn the_table_is_sorted_and_found_in_any_case() {
        assert!(TABLE.is_sorted_by(|a, b| a.name < b.name));
        for entry in TABLE {
            assert!(look_up(entry.name.to_lowercase().as_bytes()).is_some());
        }
        assert!(look_up(b"NOSUCH").is_none());
        assert!(look_up(&[b'x'; 1000]).is_none());
    }

    #[test]
    fn what_may_be_repeated() {
        for once in [
            "INCR a",
            "DEL a",
            "SET a 1 NX",
            "set a 1 get",
            "HSET h f v",
            "NOSUCH",
            "XREADGROUP GROUP g c STREAMS s >",
            "LTRIM a 1 -1",
            "ZUNIONSTORE a 2 a b",
            "EXPIRE a 5 NX",
            "PEXPIRE a 0",
            "CLUSTER ADDSLOTS 1",
            "SDIFFSTORE a b a",
        ] {
            assert_eq!(reading(once).class, Class::Once, "{once}");
        }
        for again in [
            "SET a 1",
            "SET a 1 EX 5",
            "SET NX NX",
            "MSET a 1",
            "PEXPIREAT a 1",
            "EXPIRE a 5",
        ] {
            assert_eq!(reading(again).class, Class::Repeatable, "{again}");
        }
        assert_eq!(reading("get a").class, Class::Read);
        assert_eq!(reading("XREAD STREAMS s 0").class, Class::Read);
        assert_eq!(reading("EVAL x 0").class, Class::Script);
    }

    #[test]
    fn what_is_stateful() {
        for yes in [
            "MULTI",
            "client reply off",
            "SELECT 1",
            "CLIENT TRACKING ON",
            "script debug yes",
        ] {
            assert!(reading(yes).stateful, "{yes}");
        }
        for no in ["GET a", "CLIENT LIST", "SCRIPT LOAD x", "CLIENT"] {
            assert!(!reading(no).stateful, "{no}");
        }
    }

    #[test]
    fn how_long_a_command_blocks() {
        let ms = |n| Some(Some(Duration::from_millis(n)));
        assert_eq!(reading("BLPOP a b 1.5").blocks, ms(1500));
        assert_eq!(reading("BLPOP a 0").blocks, Some(None));
        assert_eq!(reading("XREAD COUNT 1 BLOCK 20 STREAMS s $").blocks, ms(20));
        assert_eq!(reading("XREAD STREAMS s 0").blocks, None);
        assert_eq!(reading("XREAD STREAMS block 0").blocks, None);
        assert_eq!(reading("XREADGROUP GROUP block 0 STREAMS s >").blocks, None);
        assert_eq!(
            reading("XREADGROUP GROUP g c BLOCK 20 NOACK STREAMS s >").blocks,
            ms(20)
        );
        assert_eq!(reading("WAIT 1 250").blocks, ms(250));
        assert_eq!(reading("BLMPOP 2 1 a LEFT").blocks, ms(2000));
        assert_eq!(reading("BLPOP a -1").blocks, None);
        assert_eq!(reading("BLPOP").blocks, None);
    }

    #[test]
    fn where_all_keys_are() {
        let of = |command: &str| {
            let args: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
            (keys(&args), read(&args).many_keys)
        };
        assert_eq!(of("GET a"), (vec![1], false));
        assert_eq!(of("DEL a"), (vec![1], false));
        assert_eq!(of("DEL a b c"), (vec![1, 2, 3], true));
        assert_eq!(of("MSET a 1 b 2"), (vec![1, 3], true));
        assert_eq!(of("BLPOP a b 0"), (vec![1, 2], true));
        assert_eq!(of("RENAME a b"), (vec![1, 2], true));
        assert_eq!(of("BITOP AND to a b"), (vec![2, 3, 4], true));
        assert_eq!(
            of("ZUNIONSTORE to 2 a b WEIGHTS 1 2"),
            (vec![1, 3, 4], true)
        );
        assert_eq!(of("EVAL x 2 a b c"), (vec![3, 4], true));
        assert_eq!(of("EVAL x 1 a b c"), (vec![3], false));
        assert_eq!(of("XREAD COUNT 1 STREAMS s t 0 0"), (vec![4, 5], true));
        assert_eq!(of("XREAD STREAMS s 0"), (vec![2], false));
        assert_eq!(of("PING"), (vec![], false));
        assert_eq!(of("NOSUCH a"), (vec![], false));
        assert_eq!(of("DEL"), (vec![], false));
        assert_eq!(of("EVAL x 99999999999999 a"), (vec![3], true));
    }

    #[test]
    fn where_the_first_key_is() {
        assert_eq!(reading("GET a").key, Some(1));
        assert_eq!(reading("EVAL x 1 a").key, Some(3));
        assert_eq!(reading("EVAL x 0 a").key, None);
        assert_eq!(reading("XREAD COUNT 1 STREAMS s 0").key, Some(4));
        assert_eq!(
            reading("XREADGROUP GROUP streams c STREAMS s >").key,
            Some(5)
        );
        assert_eq!(reading("GET").key, None);
        assert_eq!(reading("PING").key, None);
    }
}
