//! The commands by name: how each is to be treated, and where its keys are.
//!
//! A name that is not here is taken for one that must not be repeated, which is never wrong.

use crate::dispatch::Class;

/// How a command is to be treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
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
pub(super) enum Patience {
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
pub(super) enum Keys {
    None,
    At(usize),
    /// The number of keys is at this position, and the keys follow.
    Counted(usize),
    /// Behind the word STREAMS.
    AfterStreams,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) way: Way,
    pub(super) keys: Keys,
}

pub(super) fn is(arg: &[u8], name: &str) -> bool {
    arg.eq_ignore_ascii_case(name.as_bytes())
}

pub(super) fn look_up(name: &[u8]) -> Option<&'static Entry> {
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

    #[test]
    fn the_table_is_sorted_and_found_in_any_case() {
        assert!(TABLE.is_sorted_by(|a, b| a.name < b.name));
        for entry in TABLE {
            assert!(look_up(entry.name.to_lowercase().as_bytes()).is_some());
        }
        assert!(look_up(b"NOSUCH").is_none());
        assert!(look_up(&[b'x'; 1000]).is_none());
    }
}
