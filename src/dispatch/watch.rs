//! Calls that somebody watches: a command hook, or whoever wants to know of slow ones. No other call comes here.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Moment, tell, times};
use crate::config::{CommandEnd, CommandStart, Settings};
use crate::dispatch::reading;
use crate::error::Error;
use crate::stats::Counters;

/// What goes out.
#[derive(Clone, Copy)]
pub(crate) struct Sent<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) commands: usize,
    pub(crate) atomic: bool,
    /// It may block in the server.
    pub(crate) apart: bool,
}

/// Where it went.
#[derive(Default)]
pub(crate) struct Way {
    pub(crate) node: Option<Arc<str>>,
    pub(crate) tries: u32,
}

/// Makes the call, and tells who watches. `error`: what of its result is one.
pub(crate) fn watched<T>(
    settings: &Settings,
    counters: &Counters,
    sent: Sent<'_>,
    call: impl FnOnce(&mut Way) -> T,
    error: impl Fn(&T) -> Option<&Error>,
) -> T {
    let (mut call, mut result) = (Some(call), None);
    watch(settings, counters, sent, &mut |way| {
        let call = call.take().expect("it is made once");
        error(result.insert(call(way))).cloned()
    });
    result.expect("the call was made, by the hook or here")
}

/// The same, whatever the result is: `call` returns what of it is an error.
fn watch(
    settings: &Settings,
    counters: &Counters,
    sent: Sent<'_>,
    call: &mut dyn FnMut(&mut Way) -> Option<Error>,
) {
    let name = name(&sent);
    let start = CommandStart {
        name: &name,
        commands: sent.commands,
    };
    let mut made = false;
    let mut run = |tell: &mut dyn FnMut(&CommandEnd<'_>)| {
        if std::mem::replace(&mut made, true) {
            return;
        }
        let mut way = Way::default();
        let started = Moment::now();
        let (error, mut times) = times::watch(|| call(&mut way));
        let duration = started.elapsed();
        times.wait = duration.saturating_sub(times.busy());
        let end = CommandEnd {
            name: &name,
            commands: sent.commands,
            node: way.node.as_deref(),
            error: error.as_ref(),
            tries: way.tries,
            duration,
            times,
        };
        let blocks = sent.apart && reading::blocks(name.as_bytes());
        if settings.slow_call.is_some_and(|limit| duration > limit) && !blocks {
            tell_of_slow(counters, &end);
        }
        tell(&end);
    };
    let told = (settings.command_hook.as_ref()).is_some_and(|hook| hook.around(&start, &mut run));
    if !told {
        run(&mut |_| {});
    }
}

#[cold]
fn tell_of_slow(counters: &Counters, end: &CommandEnd<'_>) {
    counters.slow.add();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let what = match end.commands {
        1 => end.name.to_owned(),
        n => format!("{} of {n} commands", end.name),
    };
    let node = end.node.map_or("several nodes, or none", |node| node);
    let how = match end.error {
        None => String::new(),
        Some(error) => format!(", and failed ({:?})", error.kind()),
    };
    let again = match end.tries {
        0 | 1 => String::new(),
        n => format!(" in {n} tries"),
    };
    let times = &end.times;
    tell!(
        limit: counters.slow_limit,
        Warn,
        "slow: {what} to {node} took {:.1} ms{again}{how}: wait {:.1}, connect {:.1}, write {:.1}, server {:.1}, \
         read {:.1} (property slow_call)",
        ms(end.duration),
        ms(times.wait),
        ms(times.connect),
        ms(times.write),
        ms(times.server),
        ms(times.read),
    );
}

/// The command's name, and nothing else that may be in its place.
fn name(sent: &Sent<'_>) -> String {
    if sent.atomic {
        return "MULTI".to_owned();
    }
    if sent.commands != 1 {
        return "PIPELINE".to_owned();
    }
    let name = first(sent.bytes).unwrap_or_default();
    let known = |b: &u8| b.is_ascii_alphanumeric() || b"._-".contains(b);
    match !name.is_empty() && name.len() <= 64 && name.iter().all(known) {
        true => String::from_utf8_lossy(name).to_ascii_uppercase(),
        false => "?".to_owned(),
    }
}

/// The first argument of a packed command: `*2\r\n$3\r\nGET\r\n...`.
fn first(packed: &[u8]) -> Option<&[u8]> {
    let line = |bytes: &[u8]| bytes.iter().position(|b| *b == b'\r');
    let rest = packed.strip_prefix(b"*")?;
    let rest = rest.get(line(rest)? + 2..)?.strip_prefix(b"$")?;
    let end = line(rest)?;
    let len: usize = std::str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
    rest.get(end + 2..)?.get(..len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::command;

    fn named(args: &[&[u8]], commands: usize, atomic: bool) -> String {
        let mut bytes = Vec::new();
        command(&mut bytes, args);
        name(&Sent {
            bytes: &bytes,
            commands,
            atomic,
            apart: false,
        })
    }

    #[test]
    fn a_command_is_named_and_nothing_else_of_it() {
        assert_eq!(named(&[b"get", b"secret"], 1, false), "GET");
        assert_eq!(named(&[b"JSON.GET", b"secret"], 1, false), "JSON.GET");
        assert_eq!(named(&[b"user secret"], 1, false), "?");
        assert_eq!(named(&[&[b'a'; 65]], 1, false), "?");
        assert_eq!(named(&[b""], 1, false), "?");
        assert_eq!(named(&[b"GET", b"secret"], 7, false), "PIPELINE");
        assert_eq!(named(&[b"MULTI"], 3, true), "MULTI");
        assert_eq!(first(b"*1\r\n$9\r\nGET"), None);
        assert_eq!(first(b""), None);
    }
}
