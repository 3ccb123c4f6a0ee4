//! What is known of a command as a whole: whether it may be repeated, where its keys are, how long it may block, and what
//! comes back from it.

use std::time::Duration;

use crate::dispatch::Class;
use crate::dispatch::table::{Keys, Patience, Way, is, look_up};

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

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(command: &str) -> Reading {
        let args: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        read(&args)
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
