//! How the time of a call was spent: noted by those who spend it, for calls that somebody watches.

use std::cell::Cell;
use std::time::Duration;

/// How the time of a command was spent. Together it is the whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommandTimes {
    /// Waiting for a connection, for one's turn on a shared line, or between two tries; and all that is none of the others.
    pub wait: Duration,
    /// Opening a connection: name lookup, connect, TLS, greeting.
    pub connect: Duration,
    /// Sending.
    pub write: Duration,
    /// From then until the first byte of the reply came: the way there, the server's work, and the way back.
    pub server: Duration,
    /// Reading the rest. On a shared line the replies that came first are part of it.
    pub read: Duration,
}

thread_local! {
    static NOTED: Cell<Option<CommandTimes>> = const { Cell::new(None) };
}

/// Runs `work`, and tells what was noted in this thread meanwhile.
pub(crate) fn watch<T>(work: impl FnOnce() -> T) -> (T, CommandTimes) {
    let replace = |new| NOTED.try_with(|noted| noted.replace(new)).ok().flatten();
    let before = replace(Some(CommandTimes::default()));
    let result = work();
    (result, replace(before).unwrap_or_default())
}

/// Adds these times to what is noted, if anybody watches.
pub(crate) fn note(more: CommandTimes) {
    let _ = NOTED.try_with(|noted| {
        if let Some(before) = noted.get() {
            noted.set(Some(CommandTimes {
                wait: before.wait + more.wait,
                connect: before.connect + more.connect,
                write: before.write + more.write,
                server: before.server + more.server,
                read: before.read + more.read,
            }));
        }
    });
}

impl CommandTimes {
    pub(crate) fn connecting(connect: Duration) -> CommandTimes {
        CommandTimes {
            connect,
            ..CommandTimes::default()
        }
    }

    pub(crate) fn exchanging(write: Duration, server: Duration, read: Duration) -> CommandTimes {
        CommandTimes {
            write,
            server,
            read,
            ..CommandTimes::default()
        }
    }

    /// All but the waiting.
    pub(crate) fn busy(&self) -> Duration {
        self.connect + self.write + self.server + self.read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_told_to_the_one_who_watches() {
        let ms = Duration::from_millis;
        note(CommandTimes::connecting(ms(9)));
        let (inner, times) = watch(|| {
            note(CommandTimes::connecting(ms(1)));
            note(CommandTimes::exchanging(ms(2), ms(3), ms(4)));
            note(CommandTimes::exchanging(ms(2), ms(3), ms(4)));
            watch(|| note(CommandTimes::connecting(ms(5)))).1
        });
        assert_eq!(inner.connect, ms(5));
        assert_eq!((times.connect, times.read), (ms(1), ms(8)));
        assert_eq!(times.busy(), ms(19));
    }
}
