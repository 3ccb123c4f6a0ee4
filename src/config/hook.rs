//! Who is told of each command, before and after: a hook for tracing.

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::property::Config;
use crate::clock::{CommandTimes, tell};
use crate::error::Error;

/// A command that is about to be sent: see [`Config::command_hook`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommandStart<'a> {
    /// Its name, in capitals; `PIPELINE` or `MULTI` where several are sent together. Never its keys or values.
    pub name: &'a str,
    /// How many commands are sent: 1, or those of the pipeline.
    pub commands: usize,
}

/// A command that is over: see [`Config::command_hook`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CommandEnd<'a> {
    /// As in [`CommandStart`].
    pub name: &'a str,
    /// As in [`CommandStart`].
    pub commands: usize,
    /// The node that it was sent to last, as `host:port` or the path of its socket; none if it came to no node, or was
    /// sent to several at once.
    pub node: Option<&'a str>,
    /// What the caller is told. None: it succeeded. Errors among the replies of a pipeline are no error here.
    pub error: Option<&'a Error>,
    /// How often it was sent, or tried to be; more than once after a retry or a redirection. 0 for a pipeline that went
    /// to several nodes at once.
    pub tries: u32,
    /// How long it took as a whole.
    pub duration: Duration,
    /// What it spent that time on.
    pub times: CommandTimes,
}

/// Runs the call, and hands what became of it to the function that it is given.
type Run<'r> = &'r mut dyn FnMut(&mut dyn FnMut(&CommandEnd<'_>));
type Around = dyn Fn(&CommandStart<'_>, Run<'_>) + Send + Sync;

#[derive(Clone)]
pub(crate) struct Hook(Arc<Around>);

thread_local! {
    /// Whether this thread is inside a hook. What it calls there is told to none.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

impl Config {
    /// Has every command told, before and after, to whoever traces or measures them. What `before` returns, a span
    /// say, is handed to `after`.
    ///
    /// Both are called in the thread that makes the call, one right before and one right after it: mostly a thread of
    /// the program's own; for what redkeep does by itself, such as renewing locks, one of redkeep's, and then a hook
    /// that dallies holds that up. Any number of threads call them at the same time. They may use the manager; what they
    /// call is not told. A panic in them is logged, and goes no further.
    ///
    /// Told are single commands, pipelines (as one) and those on leased connections; not the reading of consumers and
    /// subscribers, which wait on connections of their own, nor health checks. A hit in a near cache is no command.
    /// Without a hook, nothing is measured.
    ///
    /// ```
    /// # fn main() -> redkeep::Result<()> {
    /// use std::sync::{Arc, Mutex};
    /// use redkeep::{Config, Manager};
    ///
    /// let seen = Arc::new(Mutex::new(Vec::new()));
    /// let told = seen.clone();
    /// let config = Config::new().url("embedded://").command_hook(
    ///     |start| format!("span of {}", start.name),
    ///     move |span, end| {
    ///         let how = end.error.map_or("ok".to_owned(), |error| error.to_string());
    ///         println!("{span}: {how} after {:?}, of which {:?} in the server", end.duration, end.times.server);
    ///         told.lock().unwrap().push(end.name.to_owned());
    ///     },
    /// );
    /// let keep = Manager::open_config(&config)?;
    /// keep.set("greeting", "hello")?;
    /// assert_eq!(*seen.lock().unwrap(), ["SET"]);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn command_hook<S>(
        mut self,
        before: impl Fn(&CommandStart<'_>) -> S + Send + Sync + 'static,
        after: impl Fn(S, &CommandEnd<'_>) + Send + Sync + 'static,
    ) -> Config {
        self.command_hook = Some(Hook(Arc::new(move |start, run| {
            let mut state = guarded(|| before(start));
            run(&mut |end| {
                if let Some(state) = state.take() {
                    guarded(|| after(state, end));
                }
            });
        })));
        self
    }

    /// Nobody is told any more.
    #[must_use]
    pub(crate) fn no_command_hook(mut self) -> Config {
        self.command_hook = None;
        self
    }
}

impl Hook {
    /// Tells of the call that `run` makes. False, and it was not made, inside of a hook.
    pub(crate) fn around(&self, start: &CommandStart<'_>, run: Run<'_>) -> bool {
        let told = !INSIDE.try_with(Cell::get).unwrap_or(true);
        if told {
            (self.0)(start, run);
        }
        told
    }
}

/// Calls what the user gave; none if it panicked.
fn guarded<T>(call: impl FnOnce() -> T) -> Option<T> {
    let _ = INSIDE.try_with(|inside| inside.set(true));
    let result = catch_unwind(AssertUnwindSafe(call));
    let _ = INSIDE.try_with(|inside| inside.set(false));
    match result {
        Ok(value) => Some(value),
        Err(panic) => {
            tell!(Error, "a command hook panicked");
            // Dropping what was thrown could throw again.
            std::mem::forget(panic);
            None
        }
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a program")
    }
}
