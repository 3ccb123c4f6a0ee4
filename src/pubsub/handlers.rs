//! The handlers of one subscriber, and who is inside one.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, ThreadId};

use crate::error::{Error, ErrorKind, Result};
use crate::fork::lock;
use crate::pubsub::{Gap, Published};

/// What a handler may return: nothing, or a `Result` whose error is logged.
pub trait HandlerResult {
    /// The text of the error, if it is one.
    fn into_error(self) -> Option<String>;
}

impl HandlerResult for () {
    fn into_error(self) -> Option<String> {
        None
    }
}

impl<E: std::fmt::Display> HandlerResult for std::result::Result<(), E> {
    fn into_error(self) -> Option<String> {
        self.err().map(|error| error.to_string())
    }
}

type OnMessage = dyn Fn(&Published) -> Option<String> + Send + Sync;
type OnGap = dyn Fn(&Gap) -> Option<String> + Send + Sync;

#[derive(Default, Clone)]
pub(super) struct Both {
    pub(super) message: Option<Arc<OnMessage>>,
    pub(super) gap: Option<Arc<OnGap>>,
}

#[derive(Default)]
struct State {
    both: Both,
    /// The threads that are inside one.
    inside: Vec<ThreadId>,
    ended: bool,
}

#[derive(Default)]
pub(super) struct Handlers {
    state: Mutex<State>,
    left: Condvar,
}

impl Handlers {
    pub(super) fn set_message(&self, handler: Arc<OnMessage>) -> Result<()> {
        let mut state = lock(&self.state);
        match state.both.message {
            Some(_) => Err(set_before("on_message")),
            None => {
                state.both.message = Some(handler);
                Ok(())
            }
        }
    }

    pub(super) fn set_gap(&self, handler: Arc<OnGap>) -> Result<()> {
        let mut state = lock(&self.state);
        match state.both.gap {
            Some(_) => Err(set_before("on_gap")),
            None => {
                state.both.gap = Some(handler);
                Ok(())
            }
        }
    }

    /// Which of them are set: for messages, for gaps.
    pub(super) fn are_set(&self) -> (bool, bool) {
        let state = lock(&self.state);
        (state.both.message.is_some(), state.both.gap.is_some())
    }

    /// Access to them; none when all has ended.
    pub(super) fn enter(&self) -> Option<Inside<'_>> {
        let mut state = lock(&self.state);
        if state.ended {
            return None;
        }
        state.inside.push(thread::current().id());
        Some(Inside {
            handlers: self,
            both: state.both.clone(),
        })
    }

    /// Lets nobody in from now on, and waits until all have left; a thread that is inside does not wait. Whoever is
    /// last lets go of the handlers, and of what they own.
    pub(super) fn end(&self) {
        let mine = thread::current().id();
        let mut state = lock(&self.state);
        state.ended = true;
        let both = std::mem::take(&mut state.both);
        while !state.inside.is_empty() && !state.inside.contains(&mine) {
            state = self
                .left
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        drop(both);
    }
}

fn set_before(what: &str) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("{what}: it is set already, and stays"),
    )
}

/// A thread's stay inside the handlers.
pub(super) struct Inside<'a> {
    handlers: &'a Handlers,
    pub(super) both: Both,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        // Before this thread counts as gone: what the handlers own may end here, and is waited for.
        drop(std::mem::take(&mut self.both));
        let mine = thread::current().id();
        let mut state = lock(&self.handlers.state);
        if let Some(at) = state.inside.iter().position(|one| *one == mine) {
            state.inside.swap_remove(at);
        }
        drop(state);
        self.handlers.left.notify_all();
    }
}
